/**
 * What SQLite reports, as our codes. Three kinds matter to whoever waits for an answer: what certainly was not stored
 * and may succeed later (full, read-only, busy), what nobody knows (an I/O or fsync error: a commit reported as failed
 * may come back after a restart, so it is answered `indefinite` and never retried), and damage.
 */
import type { ErrorCodeName } from '../../shared/errors/codes.js'
import { CausewayError, type ErrorDetails } from '../../shared/errors/error.js'
import { DamageError } from './sqlite-values.js'

const BY_SQLITE_CODE: readonly (readonly [prefix: string, code: ErrorCodeName])[] = [
  ['SQLITE_FULL', 'storage/full'],
  ['SQLITE_READONLY', 'storage/read-only'],
  ['SQLITE_PERM', 'storage/read-only'],
  ['SQLITE_BUSY', 'storage/busy'],
  ['SQLITE_LOCKED', 'storage/busy'],
  ['SQLITE_CORRUPT', 'storage/damaged'],
  ['SQLITE_NOTADB', 'storage/damaged'],
  ['SQLITE_IOERR_CORRUPTFS', 'storage/damaged'],
]

const BY_SYSTEM_CODE: Readonly<Record<string, ErrorCodeName>> = {
  ENOSPC: 'storage/full',
  EDQUOT: 'storage/full',
  EROFS: 'storage/read-only',
  EACCES: 'storage/read-only',
  EPERM: 'storage/read-only',
}

/** What was thrown by SQLite or the file system as an error of ours; an error of ours as it is. Unknown: `storage/failed`. */
export function asStorageError(thrown: unknown, details: ErrorDetails = {}): CausewayError {
  if (thrown instanceof CausewayError) return thrown
  const code = codeOf(thrown)
  const reason = thrown instanceof Error ? thrown.message : String(thrown)
  return new CausewayError(code, { ...details, reason, ...systemCodeOf(thrown) }, { cause: thrown })
}

/** Whether nothing was stored for certain and the same store may succeed later. */
export function isRecoverable(error: CausewayError): boolean {
  return error.code === 'storage/full' || error.code === 'storage/read-only' || error.code === 'storage/busy'
}

/** Whether the disk is well, and what was asked of it could not be done: nothing was stored. */
export function isRefusal(error: CausewayError): boolean {
  return !error.code.startsWith('storage/')
}

function codeOf(thrown: unknown): ErrorCodeName {
  if (thrown instanceof DamageError) return 'storage/damaged'
  const { code } = systemCodeOf(thrown)
  if (code === undefined) return 'storage/failed'
  // By name: the main thread, which reads such errors too, never loads SQLite.
  if (thrown instanceof Error && thrown.name === 'SqliteError') {
    return BY_SQLITE_CODE.find(([prefix]) => code.startsWith(prefix))?.[1] ?? 'storage/failed'
  }
  return BY_SYSTEM_CODE[code] ?? 'storage/failed'
}

function systemCodeOf(thrown: unknown): { code?: string } {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? { code: thrown.code } : {}
}
