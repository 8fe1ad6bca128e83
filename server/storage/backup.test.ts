import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import { incarnation, OpSource, temporaryDirectory } from '../../test/integration/storage/op-source.js'
import { backUp } from './backup.js'
import { LogStore } from './log-store.js'

let directory: string
let source: string
let target: string
let store: LogStore

beforeEach(() => {
  const temporary = temporaryDirectory()
  directory = temporary.path
  store = LogStore.open({ directory: join(directory, 'data'), replicaName: 'a', incarnation: incarnation(1) })
  store.commit([encodeOpBatch(new OpSource('a', incarnation(1)).edits({ x: 'x'.repeat(2_000_000) }))])
  source = join(directory, 'data', 'causeway.db')
  target = join(directory, 'backup')
  onTestFinished(() => {
    store.close()
    temporary[Symbol.dispose]()
  })
})

test('gets its name once it is whole, and nothing stands beside it', async () => {
  await backUp(source, target, new AbortController().signal)
  expect(readdirSync(directory).sort()).toEqual(['backup', 'data'])
  const copy = new Database(target, { readonly: true })
  expect(copy.prepare('SELECT COUNT(*) FROM ops').pluck().get()).toBe(2)
  copy.close()
})

test('leaves nothing when it is given up', async () => {
  const stop = new AbortController()
  const backup = backUp(source, target, stop.signal)
  stop.abort()
  await expect(backup).rejects.toMatchObject({ code: 'cell/draining' })
  expect(readdirSync(directory)).toEqual(['data'])
})

test('a damaged database is copied to nothing that looks like a backup', async () => {
  const database = new Database(source)
  database.exec('DELETE FROM ops WHERE position = 2')
  database.close()
  await expect(backUp(source, target, new AbortController().signal)).rejects.toMatchObject({ code: 'storage/damaged' })
  expect(readdirSync(directory)).toEqual(['data'])
})
