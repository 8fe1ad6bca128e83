/**
 * The log: one JSON object a line, to standard output, with a stable event name that programs match on. Fields are flat.
 * No secret gets in: fields named like one are hidden, and whatever looks like a token, a bearer header or the query of
 * an address is cut out of every text, errors and their causes included.
 */
import { lineWriter } from './log-lines.js'

const LOG_EVENTS = {
  'access/open': 'Access is open: whoever reaches this machine from itself may do everything.',
  'cell/alarm': 'Something about this cell needs to be looked at.',
  'cell/failed': 'Work for the cell failed; it is tried again, or its link is begun anew.',
  'cell/even-size':
    'The cell has an even number of replicas: it bears the loss of no more of them than with one fewer.',
  'cell/comparison-failed': 'A comparison with a peer failed; it is tried again.',
  'cell/diverged': 'Two replicas made different documents of the same ops: somebody has to look.',
  'cell/divergence-ended': 'A document that had diverged is equal again.',
  'cell/loss-accepted': 'An operator accepted that what died is lost.',
  'cell/member-removed': 'An operator took a member out of this cell.',
  'cell/member-ignored': 'A configured member was taken out of this cell: it is left out.',
  'document/compaction-failed': 'A document could not be compacted; its snapshot and tail stay as they are.',
  'document/content-check-failed': 'A comparison of content failed; the update was refused.',
  'document/contested': 'Two replicas accepted different content under the same ids; the earlier one holds.',
  'document/load-failed': 'A document could not be loaded.',
  'document/owners-unknown': 'Whose a client id is could not be read again.',
  'document/unfit': "Another replica's edit does not fit into a document: it was stored, and is not shown here.",
  'hook/on-change-failed': 'The onChange hook threw.',
  'hook/on-load-failed': 'The onLoad hook failed; the document was not served.',
  'http/failed': 'A request failed inside the replica.',
  'http/request': 'A request was answered.',
  'peer/linked': 'A peer is linked.',
  'peer/lost': 'The link to a peer was lost; it is made again.',
  'peer/refused': 'A link was refused, by us or by a peer, or could not be made; it is tried again.',
  'replica/drain-failed': 'Draining failed; the process ends.',
  'replica/drain-late': 'Draining took too long; the process ends without having finished.',
  'replica/stopped': 'The replica has stopped; everything is on disk.',
  'replica/stopped-by-disk': 'The disk reported an error; the process ends, and its next start verifies what is there.',
  'replica/stopping': 'The replica stops: clients are sent away and everything goes to disk.',
  'storage/damage-found': 'Damage was found in what is stored.',
  'storage/document-quarantined': 'The stored bytes of a document are damaged; it is not served.',
  'storage/rolled-back': 'The log is shorter than it once was: edits that were acknowledged are missing.',
  'storage/maintenance-failed': 'Verifying or pruning the log failed; it is tried again.',
  'storage/commit-failed': 'A commit failed; nothing of it was shown or acknowledged.',
  'transport/connection-failed': 'A connection failed inside the replica; it alone was closed.',
  'transport/connection-refused': 'A connection was closed with an error code.',
  'transport/upgrade-failed': 'An upgrade to a WebSocket failed inside the replica.',
  'transport/upgrade-refused': 'An upgrade to a WebSocket was refused.',
  'transport/subscriber-failed': 'A connection failed while it was told of changes; it was closed.',
} as const

export type LogEvent = keyof typeof LOG_EVENTS
/** Flat: what is nested could hide a secret under any name. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>

export interface Log {
  debug(event: LogEvent, fields?: LogFields, error?: unknown): void
  info(event: LogEvent, fields?: LogFields, error?: unknown): void
  warn(event: LogEvent, fields?: LogFields, error?: unknown): void
  error(event: LogEvent, fields?: LogFields, error?: unknown): void
}

export interface LogOptions {
  /** The least that is written. */
  readonly level: (typeof LEVELS)[number]
  /** Stand in every line: the replica's name and the cell's. */
  readonly base?: Readonly<Record<string, string>>
  readonly destination?: { write(line: string): void }
}

const LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const
const HIDDEN_FIELDS = new Set(['token', 'authorization', 'secret', 'cookie', 'password', 'session', 'update', 'query'])
const TEXT_LIMIT_CHARACTERS = 8192
const CAUSE_LIMIT_DEPTH = 5

/** Its lines go to standard output, unless `destination` says otherwise. */
export function createLog({ level: least, base, destination = { write: lineWriter() } }: LogOptions): Log {
  const at = (level: Exclude<LogOptions['level'], 'silent'>): Log['info'] => {
    if (LEVELS.indexOf(level) < LEVELS.indexOf(least)) return () => {}
    return (event, fields = {}, error) => {
      const time = new Date().toISOString()
      const cause = error === undefined ? {} : { error: cleanError(error, CAUSE_LIMIT_DEPTH) }
      const line = { level, time, ...base, event, ...cleanFields(fields), ...cause, msg: LOG_EVENTS[event] }
      destination.write(`${JSON.stringify(line)}\n`)
    }
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function cleanFields(fields: LogFields): Record<string, unknown> {
  const clean: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields)) {
    if (HIDDEN_FIELDS.has(name)) clean[name] = '***'
    else clean[name] = typeof value === 'string' ? cleanText(value) : value
  }
  return clean
}

function cleanError(error: unknown, depth: number): unknown {
  if (!(error instanceof Error)) return cleanText(String(error))
  const { code } = error as { code?: unknown }
  return {
    name: error.name,
    ...(typeof code === 'string' ? { code } : {}),
    message: cleanText(error.message),
    stack: cleanText(error.stack ?? ''),
    ...(error.cause !== undefined && depth > 1 ? { cause: cleanError(error.cause, depth - 1) } : {}),
  }
}

/** `text` without what looks like a token, and without the queries of addresses. */
export function cleanText(text: string): string {
  return text
    .slice(0, TEXT_LIMIT_CHARACTERS)
    .replace(/\beyJ[\w-]*(?:\.[\w-]*)+/g, '***')
    .replace(/\bbearer\s+[^\s"']+/gi, 'Bearer ***')
    .replace(/\?[^\s"'?=]*=[^\s"']*/g, '?***')
}
