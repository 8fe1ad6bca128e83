import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { CausewayError } from '../../shared/errors/error.js'
import { DamageError } from './sqlite-values.js'
import { asStorageError, isRecoverable } from './storage-error.js'

const sqlite = (code: string): Error => new Database.SqliteError('injected', code)
const system = (code: string): Error => Object.assign(new Error('injected'), { code })

describe('what the disk reports', () => {
  test.each([
    // Certainly not stored, and a later one may succeed: …
    [sqlite('SQLITE_FULL'), 'storage/full', true],
    [system('ENOSPC'), 'storage/full', true],
    [sqlite('SQLITE_READONLY'), 'storage/read-only', true],
    [sqlite('SQLITE_READONLY_DIRECTORY'), 'storage/read-only', true],
    [system('EROFS'), 'storage/read-only', true],
    [sqlite('SQLITE_BUSY'), 'storage/busy', true],
    // … nobody knows, never again: …
    [sqlite('SQLITE_IOERR'), 'storage/failed', false],
    [sqlite('SQLITE_IOERR_FSYNC'), 'storage/failed', false],
    [sqlite('SQLITE_IOERR_WRITE'), 'storage/failed', false],
    [sqlite('SQLITE_IOERR_SHMSIZE'), 'storage/failed', false],
    [sqlite('SQLITE_NOMEM'), 'storage/failed', false],
    [sqlite('SQLITE_CONSTRAINT_UNIQUE'), 'storage/failed', false],
    [system('EIO'), 'storage/failed', false],
    [new Error('unknown'), 'storage/failed', false],
    ['not even an error', 'storage/failed', false],
    // … damage.
    [sqlite('SQLITE_CORRUPT'), 'storage/damaged', false],
    [sqlite('SQLITE_CORRUPT_INDEX'), 'storage/damaged', false],
    [sqlite('SQLITE_NOTADB'), 'storage/damaged', false],
    [new DamageError('found'), 'storage/damaged', false],
  ])('%s is %s; a later store may succeed: %s', (thrown, code, recoverable) => {
    const error = asStorageError(thrown, { path: '/data' })
    expect(error).toMatchObject({ code, cause: thrown, details: { path: '/data' } })
    expect(isRecoverable(error)).toBe(recoverable)
    expect(error.info.outcome).toBe(code === 'storage/failed' ? 'indefinite' : 'definite')
  })

  test('an error of ours stays as it is', () => {
    const error = new CausewayError('document/not-found')
    expect(asStorageError(error)).toBe(error)
  })
})
