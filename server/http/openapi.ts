/** The OpenAPI 3.1 document, drawn from the endpoints and their schemas. */
import * as z from 'zod'
import type { AnswerShape, EndpointShape } from './endpoint.js'
import { errorAnswer } from './schemas.js'
import { DEGRADED_HEADER, SESSION_HEADER } from './session.js'

type Json = Record<string, unknown>

export function describeApi(endpoints: readonly EndpointShape[], version: string): Json {
  const paths: Record<string, Json> = {}
  for (const endpoint of endpoints) {
    const path = endpoint.path.replace(/:(\w+)/g, '{$1}')
    paths[path] = { ...paths[path], [endpoint.method]: describeEndpoint(endpoint) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Causeway',
      version,
      description:
        'Documents over HTTP. Names are single URL-encoded path segments. Every answer under /v1 carries a session token; ' +
        'who sends it with the next request, to whichever replica, is shown at least what it has seen and written.',
    },
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
      parameters: { session: { name: SESSION_HEADER, in: 'header', required: false, ...SESSION } },
      headers: {
        session: SESSION,
        degraded: {
          description:
            'Why the answer lacks something that the session has seen: lost-updates, it died with a disk. Else absent.',
          schema: { type: 'string' },
        },
      },
    },
  }
}

const SESSION = {
  description: 'An opaque token of what the session has seen. That of an answer replaces the one that was sent.',
  schema: { type: 'string' },
}

function describeEndpoint(endpoint: EndpointShape): Json {
  const hasSession = endpoint.path.startsWith('/v1/')
  const names = [...endpoint.path.matchAll(/:(\w+)/g)].map(([, name]) => name!)
  const headers = hasSession
    ? {
        [SESSION_HEADER]: { $ref: '#/components/headers/session' },
        [DEGRADED_HEADER]: { $ref: '#/components/headers/degraded' },
      }
    : undefined
  const answers = Object.entries(endpoint.answers).map(([status, shape]) => [status, describeAnswer(shape, headers)])
  return {
    summary: endpoint.summary,
    ...(endpoint.open ? { security: [] } : {}),
    parameters: [
      ...names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
      ...queryParameters(endpoint.query),
      ...(hasSession ? [{ $ref: '#/components/parameters/session' }] : []),
    ],
    ...requestBody(endpoint),
    responses: {
      ...Object.fromEntries(answers),
      default: describeAnswer({ describes: 'A refusal.', content: { 'application/json': errorAnswer } }, headers),
    },
  }
}

function queryParameters(query: z.ZodObject): readonly Json[] {
  const { properties = {}, required = [] } = schemaOf(query, 'input') as {
    properties?: Record<string, Json>
    required?: readonly string[]
  }
  return Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema,
  }))
}

function requestBody(endpoint: EndpointShape): Json {
  if (endpoint.body === 'none') return {}
  const content: Record<string, z.ZodType | null> =
    endpoint.body === 'bytes' ? { 'application/octet-stream': null } : { 'application/json': endpoint.body }
  return { requestBody: { required: true, content: describeContent(content, 'input') } }
}

function describeAnswer({ describes, content }: AnswerShape, headers: Json | undefined): Json {
  return {
    description: describes,
    ...(headers === undefined ? {} : { headers }),
    content: describeContent(content, 'output'),
  }
}

function describeContent(content: AnswerShape['content'], io: 'input' | 'output'): Json {
  const entries = Object.entries(content).map(([type, schema]) => [
    type,
    { schema: schema === null ? { type: 'string', format: 'binary' } : schemaOf(schema, io) },
  ])
  return Object.fromEntries(entries)
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...bare } = z.toJSONSchema(schema, { io, unrepresentable: 'any' })
  return bare
}
