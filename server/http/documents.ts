/** Documents over HTTP: list, read, update, patch, and several at once (API.md, Documents). */
import type { Request, Response } from 'express'
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import { formatDot } from '../../shared/clock/dot.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { checkDocumentName } from '../../shared/protocol/document-name.js'
import { freshQuorum } from '../../shared/session/check.js'
import { requireRight } from '../access/identity.js'
import type { Cell, Progress, Wish } from '../replica/cell.js'
import type { DocumentBytes, Documents, Submitted } from '../replica/documents.js'
import { clockOf, sendBytes, sendJson } from './answer.js'
import { type Endpoint, endpoint } from './endpoint.js'
import { withDetails } from './errors.js'
import { HeldAnswers } from './held-answers.js'
import { invalid } from './invalid.js'
import { listReadable } from './list.js'
import {
  LIST_USUAL,
  listAnswer,
  listQuery,
  patchBody,
  type ReadLevel,
  readAnswer,
  readQueryParameters,
  transactionBody,
  type ViewKind,
  writeAnswer,
  writeQuery,
} from './schemas.js'
import type { HttpSession } from './session.js'

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

const WRITE: Wish = { type: 'write' }
const OCTETS = 'application/octet-stream'
const EMPTY_STATE_VECTOR = new Uint8Array([0])

const written = {
  200: { describes: 'As many replicas as asked for have it on disk.', content: { 'application/json': writeAnswer } },
  202: {
    describes: 'It is on disk here, and not yet on as many replicas.',
    content: { 'application/json': writeAnswer },
  },
}

export function documentEndpoints(documents: Documents, work: DocumentWork, cell: Cell): readonly Endpoint[] {
  const held = new HeldAnswers()
  return [
    endpoint({
      method: 'get',
      path: '/v1/documents',
      summary: 'Lists the documents that the caller may read, by name.',
      query: listQuery,
      body: 'none',
      answers: { 200: { describes: 'One page.', content: { 'application/json': listAnswer } } },
      async handle({ response, identity, session, query }) {
        const { prefix = '', limit = LIST_USUAL, cursor, timeoutMs } = query
        await session.admit({ type: 'read', level: 'session' }, timeoutMs)
        const { page, seen } = await listReadable(documents, identity, { prefix, limit, cursor })
        session.show(seen)
        sendJson(response, 200, { ...page, ...degradedOf(session) })
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
      async handle({ request, response, session, query, name }) {
        const { level = 'session', timeoutMs, sv, types = new Map<string, ViewKind>() } = query
        const wish = readWish(level, query.r, cell.size)
        response.vary('Accept')
        const isBytes = wantsBytes(request)
        if (isBytes && query.types !== undefined) throw invalid('types', 'goes with Accept: application/json')
        if (!isBytes && sv !== undefined) throw invalid('sv', `goes with Accept: ${OCTETS}`)
        await session.admit(wish, timeoutMs)
        const document = await documents.read(name)
        if (level === 'majority' || level === 'fresh') await session.release(document.seen)
        if (isBytes) {
          const update = await updateOf(document, sv, work)
          held.hold(response, update.length)
          session.show(document.seen)
          sendBytes(response, update)
          return
        }
        const roots = await work.view(stateOf(document), Object.fromEntries(types))
        held.hold(response, roots.length)
        const head = JSON.stringify({ name, clock: document.clock, ...degradedOf(session) })
        session.show(document.seen)
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
      async handle({ response, identity, session, query, name, body }) {
        const concern = concernOf(query.w, cell.size)
        await session.admit(WRITE, query.timeoutMs)
        const submitted = await documents.submit([{ document: name, update: body }], identity.userId)
        await sendSubmitted(response, session, submitted, concern)
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
      async handle({ request, response, identity, session, query, name, body }) {
        refuseIdempotencyKey(request)
        const concern = concernOf(query.w, cell.size)
        // The document is read for this session: before it is admitted, the operations would see too little.
        await session.admit(WRITE, query.timeoutMs)
        const update = await work.patch(await readOrEmpty(documents, name), body.operations)
        const submitted = await documents.submit([{ document: name, update }], identity.userId)
        await sendSubmitted(response, session, submitted, concern)
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/transactions',
      summary: 'Changes several documents at once, all or none.',
      query: writeQuery,
      body: transactionBody,
      answers: written,
      async handle({ request, response, identity, session, query, body }) {
        const concern = concernOf(query.w, cell.size)
        const names = body.parts.map((part) => part.document)
        for (const [index, { document, operations }] of body.parts.entries()) {
          await namingPart(index, async () => requireRight(identity, checkDocumentName(document), 'write'))
          if (names.indexOf(document) !== index) throw invalid(`parts[${index}].document`, 'must not be named twice')
          if (operations !== undefined) refuseIdempotencyKey(request)
        }
        await session.admit(WRITE, query.timeoutMs)
        const parts = await Promise.all(
          body.parts.map(async ({ document, update, operations }, index) => ({
            document,
            update:
              update ??
              (await namingPart(index, async () => work.patch(await readOrEmpty(documents, document), operations))),
          })),
        )
        const submitted = await submitNamingPart(documents, parts, identity.userId)
        await sendSubmitted(response, session, submitted, concern)
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

/** `r` is checked here, where it can be named. Throws `request/invalid`. */
function readWish(level: ReadLevel, r: number | undefined, members: number): Wish {
  if (level !== 'fresh') {
    if (r !== undefined) throw invalid('r', 'goes with level=fresh')
    return { type: 'read', level }
  }
  const quorum = freshQuorum(members, r)
  if (typeof quorum === 'number') return { type: 'read', level, r: quorum }
  const { least, most } = quorum.details
  throw invalid('r', `must be a whole number from ${least} to ${most}, of the replicas of this cell`)
}

/** Throws `request/invalid` for more replicas than there are. */
function concernOf(w: WriteConcern = 'majority', members: number): WriteConcern {
  if (typeof w !== 'number' || w <= members) return w
  throw invalid('w', `must not be a number other than 1 to ${members}, the replicas of this cell`)
}

async function sendSubmitted(
  response: Response,
  session: HttpSession,
  { dot, seen, clock }: Submitted,
  concern: WriteConcern,
): Promise<void> {
  const progress = await session.reached(seen, concern)
  session.show(seen)
  sendJson(response, hasReached(progress, concern) ? 200 : 202, {
    dot: dot === undefined ? null : formatDot(dot),
    acknowledged: progress.acknowledged,
    replicas: progress.replicas,
    clock: clockOf(clock),
    ...degradedOf(session),
  })
}

function hasReached({ acknowledged, replicas }: Progress, concern: WriteConcern): boolean {
  switch (concern) {
    case 'local':
      return true
    case 'majority':
      return acknowledged !== 'local'
    case 'all':
      return acknowledged === 'all'
    default:
      return acknowledged === 'all' || replicas >= concern
  }
}

function degradedOf(session: HttpSession): { degraded?: true } {
  return session.isDegraded ? { degraded: true } : {}
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
