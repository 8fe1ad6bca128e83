import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { temporaryDirectory } from '../../test/integration/storage/op-source.js'
import { isOlder, openDatabase, openReadOnly, SCHEMA_VERSION } from './schema.js'

let path: string

beforeEach(() => {
  const temporary = temporaryDirectory()
  onTestFinished(() => temporary[Symbol.dispose]())
  path = join(mkdtempSync(join(temporary.path, 'd-')), 'causeway.db')
})

const pragma = (database: Database.Database, name: string): unknown => database.pragma(name, { simple: true })

describe('[DU1] durability', () => {
  test('is set at every open, since a file that is in WAL mode already opens with less', () => {
    for (let start = 1; start <= 3; start++) {
      const database = openDatabase(path)
      expect([pragma(database, 'journal_mode'), pragma(database, 'synchronous')]).toEqual(['wal', 2])
      expect(pragma(database, 'foreign_keys')).toBe(1)
      expect(pragma(database, 'wal_autocheckpoint')).toBe(0)
      database.close()
    }
    const plain = new Database(path)
    plain.prepare('SELECT * FROM log').get()
    expect(pragma(plain, 'synchronous'), 'the trap that this guards against').toBe(1)
    plain.close()
  })

  test('the schema does not live in the write-ahead log alone', () => {
    const database = openDatabase(path)
    writeFileSync(`${path}-copy`, readFileSync(path))
    database.close()
    const copy = openReadOnly(`${path}-copy`)
    expect(pragma(copy, 'user_version')).toBe(SCHEMA_VERSION)
    copy.close()
  })
})

describe('files that are not ours to write', () => {
  test('a newer schema is refused, and stays as it is', () => {
    openDatabase(path).close()
    const newer = new Database(path)
    newer.pragma(`user_version = ${SCHEMA_VERSION + 1}`)
    newer.close()
    const before = readFileSync(path)
    for (const open of [openDatabase, openReadOnly]) {
      expect(() => open(path)).toThrow(
        expect.objectContaining({
          code: 'storage/too-new',
          details: expect.objectContaining({ version: SCHEMA_VERSION + 1, newest: SCHEMA_VERSION }),
        }),
      )
    }
    expect(readFileSync(path).equals(before)).toBe(true)
  })

  test('a database of another program is refused, and stays as it is', () => {
    const other = new Database(path)
    other.exec('CREATE TABLE notes (text)')
    other.close()
    const before = readFileSync(path)
    expect(() => openDatabase(path)).toThrow(expect.objectContaining({ code: 'config/invalid' }))
    expect(readFileSync(path).equals(before)).toBe(true)
  })

  test('what is no database is damaged', () => {
    writeFileSync(path, 'a text file that somebody put here, long enough to have a header of sorts'.repeat(20))
    expect(() => openDatabase(path)).toThrow(expect.objectContaining({ code: 'storage/damaged' }))
  })

  test('a reader writes nothing', () => {
    openDatabase(path).close()
    const reader = openReadOnly(path)
    expect(() => reader.exec('DELETE FROM log')).toThrow(/readonly/)
    reader.close()
  })
})

test.each([
  ['3.51.2', '3.51.3', true],
  ['3.51.3', '3.51.3', false],
  ['3.9.9', '3.51.3', true],
  ['3.53', '3.51.3', false],
  ['3.51', '3.51.3', true],
  ['4.0.0', '3.51.3', false],
])('SQLite %s is older than %s: %s', (left, right, expected) => {
  expect(isOlder(left, right)).toBe(expected)
})
