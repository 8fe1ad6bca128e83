/**
 * Shapes of requests and answers, once: they check what comes in, and describe both in the OpenAPI document. Parameters
 * of a query arrive as texts; `integer` reads those that are numbers.
 */
import * as z from 'zod'
import { DOCUMENT_NAME_LIMIT_BYTES } from '../../shared/protocol/document-name.js'

/** Replicas of a cell, of which `w` and `r` may name a number. */
export const CELL_SIZE = 1

const TIMEOUT_MOST_MS = 60_000
export const LIST_USUAL = 100
export const LIST_MOST = 1_000
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
  .describe('How long the answer may wait for other replicas, in ms. Without any, nothing is waited for.')

const level = z
  .string()
  .superRefine((text, context) => {
    if (['eventual', 'session', 'majority', 'fresh'].includes(text)) return
    const message =
      text === 'linearizable'
        ? 'must not be linearizable: documents have no such level, coordination has'
        : 'must be eventual, session, majority or fresh'
    context.addIssue({ code: 'custom', message })
  })
  .meta({ enum: ['eventual', 'session', 'majority', 'fresh'] })
  .exactOptional()
  .describe('What the answer must at least contain. Default session.')

export type WriteConcern = 'local' | 'majority' | 'all' | number

const w = z
  .string()
  .refine((text) => ['local', 'majority', 'all'].includes(text) || /^\d{1,3}$/.test(text), {
    error: 'must be local, majority, all or a number of replicas',
  })
  .refine((text) => !/^\d/.test(text) || (Number(text) >= 1 && Number(text) <= CELL_SIZE), {
    error: `must not be a number other than 1 to ${CELL_SIZE}, the replicas of this cell`,
  })
  .transform((text): WriteConcern => (/^\d/.test(text) ? Number(text) : (text as WriteConcern)))
  .exactOptional()
  .describe('How many replicas must have it on disk before the answer is 200. Default majority.')

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

export const listQuery = z.strictObject({
  prefix: z
    .string()
    .refine((text) => Buffer.byteLength(text) <= DOCUMENT_NAME_LIMIT_BYTES, {
      error: `must have at most ${DOCUMENT_NAME_LIMIT_BYTES} bytes`,
    })
    .exactOptional()
    .describe('Only documents whose name starts so.'),
  limit: integer(1, LIST_MOST).exactOptional().describe(`Documents in one answer. Default ${LIST_USUAL}.`),
  cursor: z.string().exactOptional().describe('The cursor of the answer before.'),
})

export const readQueryParameters = z.strictObject({
  level,
  timeoutMs,
  r: integer(1, CELL_SIZE).exactOptional().describe('Replicas that level fresh asks. Default a majority.'),
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

export const listAnswer = z.object({
  documents: z.array(z.object({ name: z.string(), bytes: z.int(), clock, updatedAt: z.iso.datetime() })),
  cursor: z.string().exactOptional(),
})

export const readAnswer = z.object({ name: z.string(), clock, types: z.record(z.string(), z.unknown()) })

export const writeAnswer = z.object({
  dot: z.string().nullable().describe('The name of the op; null where nothing was new.'),
  acknowledged: z.enum(['local', 'majority', 'all']),
  replicas: z.int().describe('How many replicas have it on disk.'),
  clock,
})

export const errorAnswer = z.object({
  error: z.object({
    code: z.string().describe('Match on this. docs/ERRORS.md lists them.'),
    message: z.string(),
    outcome: z.enum(['definite', 'indefinite']),
    retry: z.enum(['never', 'later', 'elsewhere']),
    details: z.record(z.string(), z.unknown()),
  }),
})

export const healthAnswer = z.object({ ok: z.literal(true) })
export const readinessAnswer = z.object({ ready: z.boolean(), quorum: z.boolean(), state: z.string() })
