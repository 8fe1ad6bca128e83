import { hash } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { Random } from '../../shared/base/random.js'
import { CONVERGENCE_LIMITS, TREE } from '../../shared/protocol/convergence.js'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import { incarnation, OpSource, part, temporaryDirectory } from '../../test/integration/storage/op-source.js'
import { DigestReader } from './digest-reader.js'
import type { DigestTree } from './digest-tree.js'
import { LogReader } from './log-reader.js'
import { LogStore } from './log-store.js'
import { openReadOnly } from './schema.js'

let path: string
let store: LogStore
let source: OpSource
let database: Database.Database
let nowMs: number

beforeEach(() => {
  const temporary = temporaryDirectory()
  onTestFinished(() => temporary[Symbol.dispose]())
  path = `${temporary.path}/causeway.db`
  store = LogStore.open({ directory: temporary.path, replicaName: 'a', incarnation: incarnation(1) })
  source = new OpSource('a', incarnation(1))
  database = openReadOnly(path)
  nowMs = 0
  onTestFinished(() => {
    database.close()
    store.close()
  })
})

const write = (document: string, generation = 0): void => {
  store.commit([encodeOpBatch(source.edit([part(document, 'text', generation)]))])
}
const reader = (): DigestReader => new DigestReader(database, () => nowMs)
const everyBucket = new Set(Array.from({ length: TREE.buckets }, (_, bucket) => bucket))

async function namesIn(digests: DigestReader, prefix = '', buckets: ReadonlySet<number> = everyBucket) {
  const names: string[] = []
  for (let cursor = 0; ; ) {
    const page = await digests.leaves({ prefix, buckets, cursor })
    names.push(...page.leaves.map(({ name }) => name))
    if (page.cursor === 0) return names.sort()
    cursor = page.cursor
  }
}

/** Short, since comparing arrays of 65,536 numbers is slow. */
const shown = ({ documents, hashes, counts }: DigestTree) => [
  documents,
  hash('sha256', hashes, 'hex'),
  hash('sha256', new Uint8Array(counts.buffer), 'hex'),
]

const bucketsOf = ({ counts }: DigestTree): number[] => [...everyBucket].filter((bucket) => counts[bucket]! > 0)

test('a tree that follows the log is the tree that is made anew, whatever was written', async () => {
  const random = new Random(7)
  const following = reader()
  for (let round = 0; round < 20; round++) {
    for (let edit = random.below(30); edit > 0; edit--) write(`doc-${random.below(40)}`, random.below(2))
    expect(shown(await following.tree(''))).toEqual(shown(await reader().tree('')))
  }
  expect((await following.tree('')).documents).toBe(new Set(await namesIn(following)).size)
})

test('what is written while the tree is made is in it', async () => {
  for (let index = 0; index < 2_500; index += 100) {
    const parts = Array.from({ length: 100 }, (_, at) => part(`doc-${index + at}`, ''))
    store.commit([encodeOpBatch(source.edit(parts))])
  }
  const following = reader()
  const made = following.tree('')
  await nextTurn() // Its first slice has been read.
  write('doc-0')
  write('doc-2499')
  write('new')
  await made
  expect(shown(await following.tree(''))).toEqual(shown(await reader().tree('')))
  expect((await following.tree('')).documents).toBe(2_501)
})

test('equal ops give an equal tree, in whatever order; one op more changes one bucket', async () => {
  const other = temporaryDirectory()
  onTestFinished(() => other[Symbol.dispose]())
  const second = LogStore.open({ directory: other.path, replicaName: 'b', incarnation: incarnation(2) })
  onTestFinished(() => second.close())
  const fromB = new OpSource('b', incarnation(2)).edits({ x: '1' }, { y: '2' }, { x: '3' })
  const fromA = source.edits({ x: '4' }, { z: '5' })
  store.commit([encodeOpBatch([...fromA, ...fromB])])
  second.commit([encodeOpBatch([...fromB, ...fromA])])
  const beside = openReadOnly(`${other.path}/causeway.db`)
  onTestFinished(() => void beside.close())
  const tree = await reader().tree('')
  expect(shown(await new DigestReader(beside).tree(''))).toEqual(shown(tree))

  write('x')
  const { hashes } = await reader().tree('')
  const changed = [...everyBucket].filter((bucket) => {
    const at = bucket * TREE.hashBytes
    return Buffer.compare(hashes.subarray(at, at + TREE.hashBytes), tree.hashes.subarray(at, at + TREE.hashBytes)) !== 0
  })
  expect(changed).toHaveLength(1)
  expect(await namesIn(reader(), '', new Set(changed))).toContain('x')
})

test('only the newest life of a name counts', async () => {
  write('x')
  const following = reader()
  expect((await following.tree('')).documents).toBe(1)
  write('x', 1)
  expect((await following.tree('')).documents).toBe(1)
  expect((await following.leaves({ prefix: '', buckets: everyBucket, cursor: 0 })).leaves).toMatchObject([
    { name: 'x', generation: 1, count: 1 },
  ])
  // An op that came late for the life before.
  const before = shown(await following.tree(''))
  write('x', 0)
  expect(shown(await following.tree(''))).toEqual(before)
})

test('a prefix takes only the documents under it', async () => {
  for (const name of ['team', 'team/a', 'team/b', 'teams', 'other']) write(name)
  const digests = reader()
  const tree = await digests.tree('team/')
  expect(tree.documents).toBe(2)
  expect(await namesIn(digests, 'team/', new Set(bucketsOf(tree)))).toEqual(['team/a', 'team/b'])
  expect(await namesIn(digests, 'team/')).toEqual(['team/a', 'team/b'])
  expect((await digests.tree('none')).documents).toBe(0)
  expect(await digests.tree('')).toMatchObject({ documents: 5 })
})

test('leaves come in pages that together are all, each once', async () => {
  const count = 2 * CONVERGENCE_LIMITS.leaves + 3
  for (let index = 0; index < count; index += 50) {
    const parts = Array.from({ length: Math.min(50, count - index) }, (_, at) => part(`doc-${index + at}`, ''))
    store.commit([encodeOpBatch(source.edit(parts))])
  }
  const names = await namesIn(reader())
  expect(names).toHaveLength(count)
  expect(new Set(names).size).toBe(count)
})

test('digests are those that a load gives', async () => {
  write('x')
  write('y', 3)
  write('x')
  const load = new LogReader(database)
  const digests = reader().digests(['y', 'none', 'x'])
  expect(digests).toEqual(
    ['y', 'none', 'x'].map((name) => {
      const stored = load.load(name)
      if (stored === undefined) return undefined
      const { generation, digest, clock } = stored
      return { generation, count: digest.count, xor: Buffer.from(digest.xor).toString('hex'), clock }
    }),
  )
})

test('digests of too many names are refused', () => {
  const names = Array.from({ length: CONVERGENCE_LIMITS.names + 1 }, (_, index) => `doc-${index}`)
  expect(() => reader().digests(names)).toThrow(expect.objectContaining({ code: 'request/invalid' }))
})

describe('a tree is made anew', () => {
  const change = (sql: string): void => {
    const writer = new Database(path)
    writer.exec(sql)
    writer.close()
  }

  test('after a while, for rows that no op has changed', async () => {
    write('x')
    const digests = reader()
    await digests.tree('')
    change("INSERT INTO documents SELECT 77, 'y', 0, first, last, count, digest, clock, bytes, updated FROM documents")
    expect((await digests.tree('')).documents).toBe(1)
    nowMs += 10 * 60_000
    expect((await digests.tree('')).documents).toBe(2)
  })

  test('where ops are gone before they were looked at', async () => {
    write('x')
    const digests = reader()
    await digests.tree('')
    write('y')
    write('z')
    const { position } = store.figures()
    store.saveSnapshot({
      document: 'x',
      generation: 0,
      position,
      update: Uint8Array.of(1),
      known: Uint8Array.of(),
      fingerprint: Uint8Array.of(),
    })
    for (const document of ['y', 'z']) {
      const bytes = { update: Uint8Array.of(1), known: Uint8Array.of(), fingerprint: Uint8Array.of() }
      store.saveSnapshot({ document, generation: 0, position, ...bytes })
      store.saveSnapshot({ document, generation: 0, position, ...bytes, kind: 'base' })
    }
    const ceiling = new Map([[source.origin, source.seq]])
    const { deletedOps } = store.prune({ maxBytes: 0, maxAgeMs: 0, nowMs: 2_000_000_000_000, ceiling })
    expect(deletedOps).toBeGreaterThan(2)
    expect((await digests.tree('')).documents).toBe(3)
  })
})
