/** The OpenAPI 3.1 document, drawn from the endpoints and their schemas. */
import * as z from 'zod'
import type { AnswerShape, EndpointShape } from './endpoint.js'
import { errorAnswer } from './schemas.js'

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
      description: 'Documents over HTTP. Names are single URL-encoded path segments.',
    },
    security: [{ token: [] }],
    paths,
    components: { securitySchemes: { token: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } },
  }
}

function describeEndpoint(endpoint: EndpointShape): Json {
  const names = [...endpoint.path.matchAll(/:(\w+)/g)].map(([, name]) => name!)
  const answers = Object.entries(endpoint.answers).map(([status, shape]) => [status, describeAnswer(shape, 'output')])
  return {
    summary: endpoint.summary,
    ...(endpoint.open ? { security: [] } : {}),
    parameters: [
      ...names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
      ...queryParameters(endpoint.query),
    ],
    ...requestBody(endpoint),
    responses: {
      ...Object.fromEntries(answers),
      default: describeAnswer({ describes: 'A refusal.', content: { 'application/json': errorAnswer } }, 'output'),
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

function describeAnswer({ describes, content }: AnswerShape, io: 'input' | 'output'): Json {
  return { description: describes, content: describeContent(content, io) }
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
