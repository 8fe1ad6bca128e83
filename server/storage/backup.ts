/**
 * A consistent copy of the database while it is being written. It is read inside one read transaction, so commits that
 * happen meanwhile neither enter it nor make it start again; until it ends, the write-ahead log can only grow. It gets
 * its name once it is whole, verified and on disk.
 */
import { existsSync, renameSync, rmSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import Database from 'better-sqlite3'
import { CausewayError } from '../../shared/errors/error.js'
import { syncDirectory } from './data-directory.js'
import { logRowReader } from './log-row.js'
import { readOrigins } from './origin-table.js'
import { openReadOnly } from './schema.js'
import { asStorageError } from './storage-error.js'
import { checkHeads, checkPages } from './verification.js'

/** Copied per turn of the event loop: about a millisecond. */
const PAGES_PER_STEP = 250

/** Copies the database at `source` to `target`, which must not exist. Throws `request/invalid`, `storage/full`, `storage/damaged`, `storage/failed`; `cell/draining` when `signal` aborts it. */
export async function backUp(source: string, target: string, signal: AbortSignal): Promise<void> {
  const path = resolve(target)
  const partial = `${path}.partial`
  if (existsSync(path)) throw new CausewayError('request/invalid', { path, reason: 'exists already' })
  try {
    rmSync(partial, { force: true })
    await copy(source, partial, signal)
    verify(partial)
    renameSync(partial, path)
    syncDirectory(dirname(path))
  } catch (thrown) {
    rmSync(partial, { force: true })
    throw asStorageError(thrown, { path })
  }
}

async function copy(source: string, target: string, signal: AbortSignal): Promise<void> {
  const database = openReadOnly(source)
  try {
    database.exec('BEGIN')
    database.prepare('SELECT position FROM log').get() // A transaction begins with its first read.
    await database.backup(target, {
      progress: () => {
        if (signal.aborted) throw new CausewayError('cell/draining')
        return PAGES_PER_STEP
      },
    })
  } finally {
    database.close()
  }
}

function verify(path: string): void {
  const database = new Database(path, { fileMustExist: true })
  try {
    database.pragma('journal_mode = DELETE') // One file, with nothing beside it.
    checkPages(database, path, ['quick_check'])
    checkHeads(database, path, readOrigins(database), logRowReader(database)())
  } finally {
    database.close()
  }
}
