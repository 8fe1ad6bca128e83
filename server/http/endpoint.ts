/**
 * An endpoint as data: what it takes, whom it admits, what it answers. Requests are checked by it before the handler runs,
 * in the order that costs least and tells least: form, name, right, and only then the body; and the OpenAPI document is
 * drawn from the same description, so the two cannot differ.
 */
import type { Request, Response } from 'express'
import type { z } from 'zod'
import { CausewayError } from '../../shared/errors/error.js'
import { checkDocumentName } from '../../shared/protocol/document-name.js'
import { type Identity, requireRight } from '../access/identity.js'
import type { Right } from '../access/scope.js'
import { readBytes, readJson } from './body.js'
import { validate } from './invalid.js'
import { type HttpSession, sessionOf } from './session.js'
import { readQuery } from './target.js'

/** `bytes`: application/octet-stream. A schema: JSON. */
export type BodyKind = z.ZodType | 'bytes' | 'none'
type BodyOf<Body extends BodyKind> = Body extends z.ZodType
  ? z.output<Body>
  : Body extends 'bytes'
    ? Uint8Array
    : undefined

interface Call<Query extends z.ZodObject, Body extends BodyKind> {
  readonly request: Request
  readonly response: Response
  readonly identity: Identity
  readonly session: HttpSession
  readonly query: z.output<Query>
  /** The document of the path; empty where the path names none. */
  readonly name: string
  readonly body: BodyOf<Body>
}

export interface AnswerShape {
  readonly describes: string
  /** By content type; null for bytes. */
  readonly content: Readonly<Record<string, z.ZodType | null>>
}

interface EndpointOf<Query extends z.ZodObject, Body extends BodyKind> {
  readonly method: 'get' | 'post' | 'patch' | 'delete'
  /** With `:name` where a document is named. */
  readonly path: string
  readonly summary: string
  /** The right on the document that the path names. */
  readonly right?: Right
  /** The right over every document there is or will be. */
  readonly rightOverAll?: Right
  readonly query: Query
  readonly body: Body
  readonly answers: Readonly<Record<number, AnswerShape>>
  handle(call: Call<Query, Body>): Promise<void>
}

export type Endpoint = EndpointOf<z.ZodObject, BodyKind>
/** What there is to say about an endpoint. `open`: it asks for no token. */
export type EndpointShape = Omit<Endpoint, 'handle'> & { readonly open?: true }

/** Checks the handler against its own query and body. */
export function endpoint<Query extends z.ZodObject, Body extends BodyKind>(of: EndpointOf<Query, Body>): Endpoint {
  return of as unknown as Endpoint
}

export interface BodyLimits {
  /** Of a body of bytes. */
  readonly updateBytes: number
  /** Of a JSON body. */
  readonly requestBytes: number
}

export async function callEndpoint(
  called: Endpoint,
  request: Request,
  response: Response,
  identity: Identity,
  limits: BodyLimits,
): Promise<void> {
  const query = validate(called.query, readQuery(request.url), 'query')
  const { name: segment } = request.params
  const name = typeof segment === 'string' ? checkDocumentName(segment) : ''
  if (called.right !== undefined) requireRight(identity, name, called.right)
  const { rightOverAll } = called
  if (rightOverAll !== undefined && !identity.canAll(rightOverAll)) {
    throw new CausewayError('access/forbidden', { right: rightOverAll })
  }
  const body = await readBody(called.body, request, limits)
  const session = sessionOf(response)
  await called.handle({ request, response, identity, session, query, name, body: body as BodyOf<BodyKind> })
}

async function readBody(kind: BodyKind, request: Request, limits: BodyLimits): Promise<unknown> {
  if (kind === 'none') return undefined
  if (kind === 'bytes') return await readBytes(request, limits.updateBytes)
  return validate(kind, await readJson(request, limits.requestBytes), 'body')
}
