/**
 * A data directory belongs to one process at a time. The lock is SQLite's exclusive lock on a small file of its own: the
 * kernel drops it with the process, also after kill -9, it holds between threads of one process too, and the database
 * itself stays open to a second, reading connection.
 */
import { accessSync, closeSync, constants, fsyncSync, mkdirSync, openSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import Database from 'better-sqlite3'
import { CausewayError } from '../../shared/errors/error.js'
import { asStorageError } from './storage-error.js'

/** A directory that is ours until `release`. */
export interface DataDirectory {
  readonly path: string
  release(): void
}

const LOCK_FILE = 'lock'

/**
 * Makes the directory if need be and locks it. Throws `storage/in-use`, `storage/read-only`, `storage/full`,
 * `storage/failed`.
 */
export function lockDataDirectory(directory: string): DataDirectory {
  const path = resolve(directory)
  try {
    if (mkdirSync(path, { recursive: true }) !== undefined) syncDirectory(dirname(path))
    // SQLite would report a directory that cannot be written as "unable to open".
    accessSync(path, constants.W_OK)
    const lock = takeLock(join(path, LOCK_FILE), path)
    return { path, release: () => lock.close() }
  } catch (thrown) {
    throw asStorageError(thrown, { directory: path })
  }
}

/** Makes what was created or renamed in a directory durable. */
export function syncDirectory(path: string): void {
  const handle = openSync(path, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

function takeLock(file: string, directory: string): Database.Database {
  // Only SQLite may open this file: closing any other handle on it would drop the lock of the whole process.
  const lock = new Database(file, { timeout: 0 })
  try {
    lock.pragma('journal_mode = MEMORY')
    lock.exec('BEGIN EXCLUSIVE')
    return lock
  } catch (thrown) {
    lock.close()
    const error = asStorageError(thrown, { directory })
    throw error.code === 'storage/busy' ? new CausewayError('storage/in-use', { directory }, { cause: thrown }) : error
  }
}
