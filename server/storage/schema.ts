/**
 * The database of a replica: how it is opened, and its tables.
 *
 *   ops        one row per op, in delivery order (`position`). Per document that the op touches it holds the document's
 *              id and the position of the op that touched it before: a list through the log, newest first.
 *   documents  one row per life (generation) of a document: where its list begins, how many ops touched it and the
 *              XOR of their chain values, and what a listing shows.
 *   snapshots  the states that the lists end at: `head`, and `base` where the history begins.
 *   owned      Yjs client ids with their owners: what the ops that say so come to (owned-row.ts).
 *   origins    interned origins, each with its head: last seq and chain value.
 *   log        one row: the head of the whole log; none before the first commit.
 *   cell       what a member keeps of its cell, by name of the field; `claims`: one row a member (cell-rows.ts).
 *   reoriginated  ops that were accepted anew, by the dot that each had first (reoriginated-row.ts).
 *   state_chunks  a peer's state, set aside until it is whole; garbage after a restart (state-import.ts).
 *
 * The list replaces an index over (document, position): such an index spreads the entries of 1,000 documents over 1,000
 * pages, and every batch would write one page per document (measured: two to six times the pages per commit). The
 * documents row is written once per batch anyway, and a tail is read by following the ops since the last snapshot.
 *
 * Every migration runs once, in a transaction together with the version number it leads to.
 */
import Database from 'better-sqlite3'
import { assert } from '../../shared/base/assert.js'
import { CausewayError } from '../../shared/errors/error.js'
import { asStorageError } from './storage-error.js'

const MIGRATIONS: readonly string[] = [
  // 1: ops, documents, snapshots.
  `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE log (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL, -- of the newest op
    hlc INTEGER NOT NULL,      -- greatest of all ops
    total INTEGER NOT NULL,    -- bytes of all records ever written
    floor INTEGER NOT NULL,    -- ops up to this position were pruned
    floor_total INTEGER NOT NULL,
    checksum INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE origins (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    own INTEGER NOT NULL,      -- 1: an incarnation of this disk
    seq INTEGER NOT NULL,      -- last one here; 0 where only its name is known
    position INTEGER NOT NULL, -- of that op
    chain BLOB NOT NULL,       -- of that op; empty before the first
    predecessor INTEGER,       -- number of the origin that its open op names
    predecessor_seq INTEGER,
    checksum INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE ops (
    position INTEGER PRIMARY KEY,
    origin INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    hlc INTEGER NOT NULL,
    chain BLOB NOT NULL,
    document INTEGER,          -- that the op touches; NULL where it touches none
    previous INTEGER,          -- position of the op that touched it before; 0: none
    more BLOB,                 -- further such pairs
    checksum INTEGER NOT NULL,
    total INTEGER NOT NULL,    -- bytes of all records up to this one
    record BLOB NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX ops_by_dot ON ops (origin, seq);
  CREATE TABLE documents (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    first INTEGER NOT NULL,    -- position of the first op that touched it
    last INTEGER NOT NULL,     -- and of the last
    count INTEGER NOT NULL,
    digest BLOB NOT NULL,
    clock BLOB NOT NULL,       -- highest seq per replica name
    bytes INTEGER NOT NULL,    -- head snapshot and tail
    updated INTEGER NOT NULL   -- hlc of the last op
  ) STRICT;
  CREATE UNIQUE INDEX documents_by_name ON documents (name, generation);
  CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES documents,
    kind TEXT NOT NULL CHECK (kind IN ('head', 'base')),
    position INTEGER NOT NULL,
    count INTEGER NOT NULL,    -- the document's digest at that position
    digest BLOB NOT NULL,
    checksum BLOB NOT NULL,
    known BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    content BLOB NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX snapshots_by_document ON snapshots (document, kind);
  CREATE TABLE quarantine (
    document INTEGER PRIMARY KEY REFERENCES documents,
    reason TEXT NOT NULL
  ) STRICT;
  `,
  // 2: owned client ids. By name, since an id may be owned before its document is written.
  `
  CREATE TABLE owned (
    document TEXT NOT NULL,
    generation INTEGER NOT NULL,
    client INTEGER NOT NULL,
    user TEXT NOT NULL,
    hlc INTEGER NOT NULL,      -- of the op that named the owner
    origin TEXT NOT NULL,
    seq INTEGER NOT NULL,
    relayed_from INTEGER,      -- first clock that somebody else brought
    checksum INTEGER NOT NULL,
    PRIMARY KEY (document, generation, client)
  ) STRICT, WITHOUT ROWID;
  `,
  // 3: the cell, ops that were accepted anew, and state on its way from a peer.
  `
  CREATE TABLE cell (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE claims (
    member TEXT PRIMARY KEY,
    life INTEGER NOT NULL,
    vector TEXT NOT NULL,
    checksum INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE reoriginated (
    id INTEGER PRIMARY KEY,    -- in the order of the log
    was INTEGER NOT NULL,      -- number of the origin that it had first
    was_seq INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    checksum INTEGER NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX reoriginated_by_first ON reoriginated (was, was_seq);
  CREATE TABLE state_chunks (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
  `,
]

export const SCHEMA_VERSION = MIGRATIONS.length

/** The file of the database inside a data directory. */
export const DATABASE_FILE = 'causeway.db'

/** In the file's header: tells our files from other SQLite files. */
const APPLICATION_ID = 0x43575931

const OLDEST_SQLITE = '3.51.3'

/** The write-ahead log is copied into the database beyond this. Below 4,062 pages its index stays in one memory page. */
export const CHECKPOINT_PAGES = 2_000
const WAL_KEPT_BYTES = 16 * 1024 * 1024
/** Only foreign programs ever hold the database's own lock. */
const LOCK_WAIT_MS = 1_000

/**
 * Opens a replica's database for writing, creating and migrating it as needed. `synchronous=FULL` is set and checked at
 * every open: it belongs to the connection, not to the file, and the default for a file that is in WAL mode already is
 * NORMAL, with which power loss takes acknowledged commits. Throws `storage/too-new`, `storage/damaged`, `storage/read-only`, `storage/full`, `config/invalid`.
 */
export function openDatabase(path: string): Database.Database {
  let database: Database.Database | undefined
  try {
    database = new Database(path, { timeout: LOCK_WAIT_MS })
    checkSqlite(database)
    const version = checkOwner(database, path)
    setPragmas(database)
    migrate(database, version)
    return database
  } catch (thrown) {
    database?.close()
    throw asStorageError(thrown, { path })
  }
}

/** Opens the same database for reading only, beside its writer. Throws as `openDatabase`. */
export function openReadOnly(path: string): Database.Database {
  try {
    const database = new Database(path, { readonly: true, fileMustExist: true, timeout: LOCK_WAIT_MS })
    checkOwner(database, path)
    setReaderPragmas(database)
    return database
  } catch (thrown) {
    throw asStorageError(thrown, { path })
  }
}

function checkSqlite(database: Database.Database): void {
  const version = database.prepare('SELECT sqlite_version()').pluck().get() as string
  if (isOlder(version, OLDEST_SQLITE)) {
    // From this version on, a checkpoint beside a second connection resets the write-ahead log safely.
    throw new CausewayError(
      'config/invalid',
      { sqlite: version },
      { message: `SQLite ${OLDEST_SQLITE} or newer is needed, this is ${version}.` },
    )
  }
}

/** Whether dotted version `left` comes before `right`. */
export function isOlder(left: string, right: string): boolean {
  const [leftParts, rightParts] = [left, right].map((version) => version.split('.').map(Number))
  for (const [index, part] of rightParts!.entries()) {
    const other = leftParts![index] ?? 0
    if (other !== part) return other < part
  }
  return false
}

/** Looks before anything is written: a file of a newer version or of another program stays as it is. Returns the schema version. */
function checkOwner(database: Database.Database, path: string): number {
  const version = database.pragma('user_version', { simple: true }) as number
  const owner = database.pragma('application_id', { simple: true }) as number
  const isEmpty = database.prepare('SELECT COUNT(*) FROM sqlite_schema').pluck().get() === 0
  if (owner !== APPLICATION_ID && !(isEmpty && owner === 0)) {
    throw new CausewayError('config/invalid', { path }, { message: `${path} is a database of another program.` })
  }
  if (version > SCHEMA_VERSION) {
    throw new CausewayError(
      'storage/too-new',
      { path, version, newest: SCHEMA_VERSION },
      { message: `The data has schema version ${version}; this program knows versions up to ${SCHEMA_VERSION}.` },
    )
  }
  return version
}

function setPragmas(database: Database.Database): void {
  const mode = database.pragma('journal_mode = WAL', { simple: true })
  assert(mode === 'wal', `journal_mode is ${mode}`)
  database.pragma('synchronous = FULL')
  assert(database.pragma('synchronous', { simple: true }) === 2, 'synchronous is not FULL')
  database.pragma('fullfsync = ON') // macOS: fsync alone does not reach the platter
  database.pragma('foreign_keys = ON')
  database.pragma('wal_autocheckpoint = 0') // SQLite would swallow the errors of its own checkpoints
  database.pragma(`journal_size_limit = ${WAL_KEPT_BYTES}`)
  setReaderPragmas(database)
}

function setReaderPragmas(database: Database.Database): void {
  database.pragma('trusted_schema = OFF')
  database.pragma('cell_size_check = ON')
  database.pragma('temp_store = MEMORY')
}

function migrate(database: Database.Database, version: number): void {
  for (let next = version; next < SCHEMA_VERSION; next++) {
    database.transaction(() => {
      database.exec(MIGRATIONS[next]!)
      database.pragma(`user_version = ${next + 1}`)
      database.pragma(`application_id = ${APPLICATION_ID}`)
    })()
  }
  // The schema must not live in the write-ahead log alone: losing that file would then look like an empty disk.
  if (version < SCHEMA_VERSION) database.pragma('wal_checkpoint(TRUNCATE)')
}
