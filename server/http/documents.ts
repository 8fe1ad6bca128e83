/** Documents over HTTP: list, read, update, patch, and several at once (API.md, Documents). */
import type { Request, Response } from 'express'
import { formatDot } from '../../shared/clock/dot.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { checkDocumentName } from '../../shared/protocol/document-name.js'
import { requireRight } from '../access/identity.js'
import type { DocumentBytes, Documents, Submitted } from '../replica/documents.js'
import { clockOf, sendBytes, sendJson } from './answer.js'
import { type Endpoint, endpoint } from './endpoint.js'
import { withDetails } from './errors.js'
import { HeldAnswers } from './held-answers.js'
import { invalid } from './invalid.js'
import { listReadable } from './list.js'
import {
  CELL_SIZE,
  LIST_USUAL,
  listAnswer,
  listQuery,
  patchBody,
  readAnswer,
  readQueryParameters,
  transactionBody,
  type ViewKind,
  type WriteConcern,
  writeAnswer,
  writeQuery,
} from './schemas.js'

/** Bytes that a document is made of: apply `snapshot`, then `tail`. Both empty for one that was never written. */
export type DocumentState = Pick<DocumentBytes, 'snapshot' | 'tail'>

/** Work on documents that is done elsewhere, in workers. */
export interface DocumentWork {
  /** The JSON text of `{root: plain JSON}`; `types` names kinds of roots where their content does not show them. */
  view(document: DocumentState, types: Readonly<Record<string, ViewKind>>): Promise<string>
  /** What the document holds beyond `stateVector`, as one Yjs v1 update. Rejects with `protocol/bad-message`. */
  diff(document: DocumentState, stateVector: Uint8Array): Promise<Uint8Array>
  /**
   * The update that carries out `operations` (JSON, checked only as far as `patchBody` does). Rejects with `request/invalid`,
   * `details.path` (`operations[2].index`) and `details.reason`.
   */
  patch(document: DocumentState, operations: unknown): Promise<Uint8Array>
}

const OCTETS = 'application/octet-stream'
const EMPTY_STATE_VECTOR = new Uint8Array([0])

const written = {
  200: { describes: 'As many replicas as asked for have it on disk.', content: { 'application/json': writeAnswer } },
  202: {
    describes: 'It is on disk here, and not yet on as many replicas.',
    content: { 'application/json': writeAnswer },
  },
}

export function documentEndpoints(documents: Documents, work: DocumentWork): readonly Endpoint[] {
  const held = new HeldAnswers()
  return [
    endpoint({
      method: 'get',
      path: '/v1/documents',
      summary: 'Lists the documents that the caller may read, by name.',
      query: listQuery,
      body: 'none',
      answers: { 200: { describes: 'One page.', content: { 'application/json': listAnswer } } },
      async handle({ response, identity, query }) {
        const { prefix = '', limit = LIST_USUAL, cursor } = query
        sendJson(response, 200, await listReadable(documents, identity, { prefix, limit, cursor }))
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/documents/:name',
      summary: 'Reads a document, as JSON or as a Yjs update.',
      right: 'read',
      query: readQueryParameters,
      body: 'none',
      answers: {
        200: { describes: 'The document.', content: { 'application/json': readAnswer, [OCTETS]: null } },
      },
      async handle({ request, response, query, name }) {
        const { sv, types = new Map<string, ViewKind>() } = query
        if (query.r !== undefined && query.level !== 'fresh') throw invalid('r', 'goes with level=fresh')
        // One replica: all that it shows is on its own disk, which is the majority, and nobody can be ahead of it.
        response.vary('Accept')
        if (wantsBytes(request)) {
          if (query.types !== undefined) throw invalid('types', 'goes with Accept: application/json')
          const update = await updateOf(await documents.read(name), sv, work)
          held.hold(response, update.length)
          sendBytes(response, update)
          return
        }
        if (sv !== undefined) throw invalid('sv', `goes with Accept: ${OCTETS}`)
        const document = await documents.read(name)
        const roots = await work.view(stateOf(document), Object.fromEntries(types))
        held.hold(response, roots.length)
        const head = JSON.stringify({ name, clock: document.clock })
        sendJson(response, 200, `${head.slice(0, -1)},"types":${roots}}`)
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/documents/:name/updates',
      summary: 'Stores a Yjs v1 update.',
      right: 'write',
      query: writeQuery,
      body: 'bytes',
      answers: written,
      async handle({ response, identity, query, name, body }) {
        sendSubmitted(response, await documents.submit([{ document: name, update: body }], identity.userId), query.w)
      },
    }),
    endpoint({
      method: 'patch',
      path: '/v1/documents/:name',
      summary: 'Changes a document by operations, in one Yjs transaction.',
      right: 'write',
      query: writeQuery,
      body: patchBody,
      answers: written,
      async handle({ request, response, identity, query, name, body }) {
        refuseIdempotencyKey(request)
        const update = await work.patch(await readOrEmpty(documents, name), body.operations)
        sendSubmitted(response, await documents.submit([{ document: name, update }], identity.userId), query.w)
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/transactions',
      summary: 'Changes several documents at once, all or none.',
      query: writeQuery,
      body: transactionBody,
      answers: written,
      async handle({ request, response, identity, query, body }) {
        const names = body.parts.map((part) => part.document)
        for (const [index, { document, operations }] of body.parts.entries()) {
          await namingPart(index, async () => requireRight(identity, checkDocumentName(document), 'write'))
          if (names.indexOf(document) !== index) throw invalid(`parts[${index}].document`, 'must not be named twice')
          if (operations !== undefined) refuseIdempotencyKey(request)
        }
        const parts = await Promise.all(
          body.parts.map(async ({ document, update, operations }, index) => ({
            document,
            update:
              update ??
              (await namingPart(index, async () => work.patch(await readOrEmpty(documents, document), operations))),
          })),
        )
        sendSubmitted(response, await submitNamingPart(documents, parts, identity.userId), query.w)
      },
    }),
  ]
}

/** JSON is what one gets without asking. */
function wantsBytes(request: Request): boolean {
  return request.accepts(['application/json', OCTETS]) === OCTETS
}

function stateOf({ snapshot, tail }: DocumentState): DocumentState {
  return { snapshot, tail }
}

/** One update; a worker is asked only where there is none at hand. */
async function updateOf(document: DocumentState, sv: Uint8Array | undefined, work: DocumentWork): Promise<Uint8Array> {
  const pieces = document.snapshot === undefined ? document.tail : [document.snapshot, ...document.tail]
  const [only] = pieces
  if (sv === undefined && only !== undefined && pieces.length === 1) return only
  return await work.diff(stateOf(document), sv ?? EMPTY_STATE_VECTOR)
}

/** A document is created by its first write: what was never written is empty. */
async function readOrEmpty(documents: Documents, name: string): Promise<DocumentState> {
  try {
    return stateOf(await documents.read(name))
  } catch (error) {
    if (error instanceof CausewayError && error.code === 'document/not-found') return { snapshot: undefined, tail: [] }
    throw error
  }
}

/** Exactly once needs a store of results that survives us; to take the key and forget it would be a lie. */
function refuseIdempotencyKey(request: Request): void {
  if (request.headers['idempotency-key'] === undefined) return
  throw invalid('Idempotency-Key', 'is not offered for operations by this version; updates may be repeated without it')
}

function sendSubmitted(response: Response, submitted: Submitted, w: WriteConcern = 'majority'): void {
  const { dot, acknowledged, replicas, clock } = submitted
  sendJson(response, hasReached(submitted, w) ? 200 : 202, {
    dot: dot === undefined ? null : formatDot(dot),
    acknowledged,
    replicas,
    clock: clockOf(clock),
  })
}

function hasReached({ acknowledged, replicas }: Submitted, w: WriteConcern): boolean {
  switch (w) {
    case 'local':
      return true
    case 'majority':
      return acknowledged !== 'local'
    case 'all':
      return acknowledged === 'all' || replicas >= CELL_SIZE
    default:
      return replicas >= w
  }
}

/** Errors of one part name it: its index, and paths that begin at the request. */
async function namingPart<Result>(index: number, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run()
  } catch (thrown) {
    throw partError(asCausewayError(thrown), index)
  }
}

async function submitNamingPart(
  documents: Documents,
  parts: readonly { readonly document: string; readonly update: Uint8Array }[],
  userId: string | undefined,
): Promise<Submitted> {
  try {
    return await documents.submit(parts, userId)
  } catch (thrown) {
    const error = asCausewayError(thrown)
    const index = parts.findIndex((part) => part.document === error.details['document'])
    throw index < 0 ? thrown : partError(error, index)
  }
}

function partError(error: CausewayError, part: number): CausewayError {
  const { path, reason } = error.details
  if (typeof path !== 'string') return withDetails(error, { part })
  return withDetails(invalid(`parts[${part}].${path}`, String(reason)), { part })
}
