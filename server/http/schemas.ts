/**
 * Shapes of requests and answers, once: they check what comes in, and describe both in the OpenAPI document. Parameters
 * of a query arrive as texts; `integer` reads those that are numbers.
 */
import * as z from 'zod'
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import { DOCUMENT_NAME_LIMIT_BYTES } from '../../shared/protocol/document-name.js'

/** What an answer waits for other replicas where nothing is said, and what it waits at most. */
export const TIMEOUT_USUAL_MS = 5_000
const TIMEOUT_MOST_MS = 60_000
/** More than any cell has members: the true bound is the cell's size of the moment. */
const MEMBERS_MOST = 999
export const LIST_USUAL = 100
export const LIST_MOST = 1_000
export const CONVERGENCE_USUAL = 1_000
const CONVERGENCE_MOST = 100_000
const PARTS_MOST = 256
const OPERATIONS_MOST = 1_000
const ROOTS_MOST = 256

function integer(least: number, most: number) {
  return z
    .string()
    .refine((text) => /^\d{1,15}$/.test(text) && Number(text) >= least && Number(text) <= most, {
      error: `must be a whole number from ${least} to ${most}`,
    })
    .transform(Number)
    .meta({ type: 'integer', minimum: least, maximum: most })
}

/**
 * Bytes as base64 or base64url text, checked strictly: what Buffer would skip is refused. By encoding them again; a
 * pattern for it runs out of stack within some megabytes.
 */
function bytes(encoding: 'base64' | 'base64url') {
  return z.string().transform((text, context): Uint8Array => {
    const decoded = Buffer.from(text, encoding)
    if (decoded.toString(encoding) === text) return decoded
    context.addIssue({ code: 'custom', message: `must be ${encoding}` })
    return z.NEVER
  })
}

const base64 = bytes('base64')
const base64url = bytes('base64url')

const timeoutMs = integer(0, TIMEOUT_MOST_MS)
  .exactOptional()
  .describe(`How long the answer may wait for other replicas, in ms. Default ${TIMEOUT_USUAL_MS}.`)

const READ_LEVELS = ['eventual', 'session', 'majority', 'fresh'] as const
export type ReadLevel = (typeof READ_LEVELS)[number]

const level = z
  .string()
  .transform((text, context): ReadLevel => {
    if (isReadLevel(text)) return text
    const message =
      text === 'linearizable'
        ? 'must not be linearizable: documents have no such level, coordination has'
        : 'must be eventual, session, majority or fresh'
    context.addIssue({ code: 'custom', message })
    return z.NEVER
  })
  .meta({ enum: READ_LEVELS })
  .exactOptional()
  .describe(
    'What the answer must at least contain: eventual, what this replica has; session, all that this session has seen; ' +
      'majority, the same, and nothing that is not on disk at a majority; fresh, as majority, and all that was ' +
      'acknowledged by a majority before the request. Default session.',
  )

function isReadLevel(text: string): text is ReadLevel {
  return (READ_LEVELS as readonly string[]).includes(text)
}

const w = z
  .string()
  .refine((text) => ['local', 'majority', 'all'].includes(text) || /^\d{1,3}$/.test(text), {
    error: 'must be local, majority, all or a number of replicas',
  })
  .refine((text) => text !== '0' && !/^0/.test(text), { error: 'must be at least 1' })
  .transform((text): WriteConcern => (/^\d/.test(text) ? Number(text) : (text as WriteConcern)))
  .exactOptional()
  .describe('How many replicas must have it on disk before the answer is 200: at most all there are. Default majority.')

export type ViewKind = 'text' | 'map' | 'array' | 'xml' | 'prosemirror'
const VIEW_KINDS: readonly string[] = ['text', 'map', 'array', 'xml', 'prosemirror'] satisfies ViewKind[]

const types = z
  .string()
  .refine((text) => text.split(',').length <= ROOTS_MOST, { error: `must name at most ${ROOTS_MOST} roots` })
  .refine((text) => text.split(',').every(isRootKind), {
    error: `must be root:kind, with commas between; kinds are ${VIEW_KINDS.join(', ')}`,
  })
  .transform((text) => new Map(text.split(',').map((entry) => splitRootKind(entry))))
  .exactOptional()
  .describe('Kinds of roots, where their content does not show them: title:text,default:prosemirror.')

function splitRootKind(entry: string): [root: string, kind: ViewKind] {
  const colon = entry.lastIndexOf(':')
  return [entry.slice(0, Math.max(colon, 0)), entry.slice(colon + 1) as ViewKind]
}

function isRootKind(entry: string): boolean {
  const [root, kind] = splitRootKind(entry)
  return root !== '' && VIEW_KINDS.includes(kind)
}

const prefix = z
  .string()
  .refine((text) => Buffer.byteLength(text) <= DOCUMENT_NAME_LIMIT_BYTES, {
    error: `must have at most ${DOCUMENT_NAME_LIMIT_BYTES} bytes`,
  })
  .exactOptional()
  .describe('Only documents whose name starts so.')

export const listQuery = z.strictObject({
  prefix,
  limit: integer(1, LIST_MOST).exactOptional().describe(`Documents in one answer. Default ${LIST_USUAL}.`),
  cursor: z.string().exactOptional().describe('The cursor of the answer before.'),
  timeoutMs,
})

export const readQueryParameters = z.strictObject({
  level,
  timeoutMs,
  r: integer(1, MEMBERS_MOST)
    .exactOptional()
    .describe('Replicas that level fresh asks, this one included. Default, and about the least, a majority.'),
  at: z
    .string()
    .refine(() => false, { error: 'is not offered by this version' })
    .exactOptional()
    .describe('A moment in the past. Not offered by this version.'),
  sv: base64url
    .exactOptional()
    .describe('A Yjs state vector in base64url: the answer is what it lacks. Only for application/octet-stream.'),
  types,
})

export const writeQuery = z.strictObject({ w, timeoutMs })
export const noQuery = z.strictObject({})

export const convergenceQuery = z.strictObject({
  prefix,
  limit: integer(1, CONVERGENCE_MOST)
    .exactOptional()
    .describe(`Documents that are compared. Default ${CONVERGENCE_USUAL}.`),
  all: z.enum(['1']).exactOptional().describe('Documents that are equal are listed too.'),
})

const OPERATIONS = [
  'set',
  'delete',
  'increment',
  'insert',
  'push',
  'remove',
  'insertText',
  'deleteText',
  'format',
  'insertXml',
  'setAttribute',
  'removeXml',
] as const

/** What all operations have in common; the rest is checked by who carries them out. */
const operations = z
  .array(
    z.looseObject({
      op: z.enum(OPERATIONS),
      path: z.array(z.union([z.string(), z.int().min(0)])).min(1),
    }),
  )
  .min(1)
  .max(OPERATIONS_MOST)

export const patchBody = z.strictObject({ operations })

export const transactionBody = z.strictObject({
  parts: z
    .array(
      z
        .strictObject({
          document: z.string(),
          update: base64.exactOptional().describe('A Yjs v1 update in base64.'),
          operations: operations.exactOptional(),
        })
        .refine((part) => (part.update === undefined) !== (part.operations === undefined), {
          error: 'must have either update or operations',
        }),
    )
    .min(1)
    .max(PARTS_MOST),
})

const clock = z.record(z.string(), z.int()).describe('Highest seq by replica name: for people.')

const degraded = z
  .literal(true)
  .exactOptional()
  .describe('Something that this session has seen was lost with a disk, and cannot be part of this answer.')

export const listAnswer = z.object({
  documents: z.array(z.object({ name: z.string(), bytes: z.int(), clock, updatedAt: z.iso.datetime() })),
  cursor: z.string().exactOptional(),
  degraded,
})

export const readAnswer = z.object({ name: z.string(), clock, degraded, types: z.record(z.string(), z.unknown()) })

export const writeAnswer = z.object({
  dot: z.string().nullable().describe('The name of the op; null where nothing was new.'),
  acknowledged: z.enum(['local', 'majority', 'all']),
  replicas: z.int().describe('How many replicas have it on disk.'),
  clock,
  degraded,
})

const vector = z
  .record(z.string(), z.int())
  .describe(
    'Highest seq by origin: under the name of its replica where it is the newest of that name, or the only one in this ' +
      'vector, and else under its full name, which ends in its incarnation.',
  )
const lastDot = z.string().describe('Origin and seq.')

export const cellAnswer = z.object({
  cell: z.string().describe('The name of the cell.'),
  id: z.string().nullable().describe('The id that the cell was born with; null before.'),
  epoch: z.int(),
  configEpoch: z.int(),
  self: z.string().describe('The replica that answers.'),
  state: z.string().describe('Of the replica that answers.'),
  members: z.array(
    z.object({
      name: z.string(),
      url: z.string().nullable().describe('Where peers reach it; null where only the member itself knows.'),
      role: z
        .enum(['leader', 'follower', 'learner'])
        .describe('In coordination. This version has none: every member is a follower.'),
      state: z.enum(['active', 'recovering', 'retiring']),
      reachable: z.boolean(),
      vector: vector.describe('What it shows: what it has on disk.'),
      durable: vector.describe('What it was last heard to have on disk.'),
      lagOps: z.int().describe('Ops of all members that it lacks.'),
      lagMs: z.number().describe('Age of the oldest of them.'),
    }),
  ),
  raft: z.null().describe('The state of coordination. This version has none.'),
  majorityDurable: vector.describe('What a majority of members has on disk.'),
  heldBack: z.array(
    z.object({
      replica: z.string(),
      dot: lastDot,
      waitsFor: vector,
      waitedMs: z.number(),
    }),
  ),
  alarms: z.array(z.object({ alarm: z.string(), details: z.string(), sinceMs: z.number() })),
})

export const convergenceAnswer = z.object({
  verdict: z.enum(['equal', 'lagging', 'diverged']),
  checked: z.int().describe('How many documents were compared.'),
  diverged: z.array(z.string()).describe('Documents that differ although the same was delivered to them.'),
  documents: z
    .array(
      z.object({
        document: z.string(),
        state: z.enum(['equal', 'lagging', 'diverged', 'unknown']),
        replicas: z
          .record(z.string(), z.object({ clock, fingerprint: z.string() }).nullable())
          .describe('By name; null where the replica does not have the document.'),
      }),
    )
    .describe('Those that are not equal; with all=1, every one.'),
  heldBack: z
    .array(z.object({ replica: z.string(), dot: lastDot, waitsFor: z.record(z.string(), z.int()) }))
    .describe('First ops of origins that wait at a replica for what they depend on.'),
  unreachable: z.array(z.string()).describe('Replicas that were not asked.'),
})

export const errorAnswer = z.object({
  error: z.object({
    code: z.string().describe('Match on this. docs/ERRORS.md lists them.'),
    message: z.string(),
    outcome: z.enum(['definite', 'indefinite']),
    retry: z.enum(['never', 'later', 'elsewhere']),
    details: z.record(z.string(), z.unknown()),
  }),
  degraded,
})

export const forceRecoverBody = z.strictObject({
  acceptLoss: z.literal(true).describe('That somebody has read what is lost by it.'),
})
export const acceptedAnswer = z.object({ accepted: z.literal(true) })

export const healthAnswer = z.object({ ok: z.literal(true) })
export const readinessAnswer = z.object({ ready: z.boolean(), quorum: z.boolean(), state: z.string() })
