import Database from 'better-sqlite3'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { makeOrigin } from '../../shared/clock/dot.js'
import type { Op } from '../../shared/protocol/op.js'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import { incarnation, OpSource, part, temporaryDirectory, textOf } from '../../test/integration/storage/op-source.js'
import { LogStore, type LogStoreOptions } from './log-store.js'
import { CHECKPOINT_PAGES } from './schema.js'
import type { SnapshotToSave, StoredDocument } from './stored-document.js'

let directory: string
let starts: number
let aroundCommit: (commit: () => void) => void

beforeEach(() => {
  const temporary = temporaryDirectory()
  onTestFinished(() => temporary[Symbol.dispose]())
  directory = temporary.path
  starts = 0
  aroundCommit = (commit) => commit()
})

/** Opens the log as the next incarnation of replica `a`, with a source of its ops. */
function start(options: Partial<LogStoreOptions> = {}): { store: LogStore; source: OpSource } {
  const own = incarnation(++starts)
  const store = LogStore.open({
    directory,
    replicaName: 'a',
    incarnation: own,
    aroundCommit: (commit) => aroundCommit(commit),
    ...options,
  })
  onTestFinished(() => store.close())
  const { predecessor, latestHlc } = store.recovered
  return {
    store,
    source: new OpSource('a', own, { ...(predecessor && { predecessor }), ...(latestHlc > 0 && { hlc: latestHlc }) }),
  }
}

const commit = (store: LogStore, ...ops: Op[]) => store.commit([encodeOpBatch(ops)])
const tailOf = (document: StoredDocument | undefined): string[] =>
  document?.tail.map(({ update }) => textOf(update)) ?? []
const sqliteError = (code: string) => new Database.SqliteError(`injected ${code}`, code)

function snapshot(
  document: string,
  position: number,
  text: string,
  more: Partial<SnapshotToSave> = {},
): SnapshotToSave {
  const bytes = (name: string): Uint8Array => new TextEncoder().encode(name)
  return {
    document,
    generation: 0,
    position,
    update: bytes(text),
    known: bytes('sv'),
    fingerprint: bytes('fp'),
    ...more,
  }
}

describe('what was committed', () => {
  test('is loaded in delivery order, with dots and positions', () => {
    const { store, source } = start()
    commit(store, ...source.edits({ x: 'one' }, { y: 'two' }, { x: 'three' }))
    const document = store.load('x')!
    expect(document.tail.map(({ position, dot, update }) => [position, dot.seq, textOf(update)])).toEqual([
      [2, 2, 'one'],
      [4, 4, 'three'],
    ])
    expect(document).toMatchObject({ name: 'x', generation: 0, position: 4, clock: { a: 4 } })
    expect(store.load('z')).toBeUndefined()
  })

  test('is there after a restart, with the lineage that the next open op names', () => {
    const first = start()
    commit(first.store, ...first.source.edits({ x: 'one' }, { x: 'two', y: 'two' }))
    const before = [first.store.load('x'), first.store.load('y')]
    first.store.close()
    const { store } = start()
    const { origin } = first.source
    expect(store.recovered).toEqual({
      predecessor: { origin, seq: 3 },
      vector: new Map([[origin, 3]]),
      heads: new Map([[origin, { seq: 3, chain: expect.any(Uint8Array) }]]),
      openings: [{ dot: { origin, seq: 1 } }],
      floor: new Map(),
      reoriginated: new Map(),
      cell: { life: 0, configEpoch: 0, isRecovering: false, hasLost: false, claims: new Map() },
      latestHlc: first.source.hlc,
      position: 3,
      documents: 2,
      quarantined: [],
      verifiedOps: 3,
      damaged: [],
    })
    expect([store.load('x'), store.load('y')]).toEqual(before)
  })

  test('a start that accepts nothing leaves no trace', () => {
    const first = start()
    commit(first.store, ...first.source.edits({ x: 'one' }))
    first.store.close()
    const { recovered } = start().store
    expect(recovered.predecessor?.origin).toBe(first.source.origin)
  })

  test('the entry that an open op implies is folded away, and stays where the disk was rolled back', () => {
    const first = start()
    commit(first.store, ...first.source.edits({ x: 'one' }))
    first.store.close()
    const second = start()
    commit(second.store, ...second.source.edits({ x: 'two' }))
    second.store.close()
    const third = start()
    expect(third.store.recovered.vector).toEqual(new Map([[second.source.origin, 4]]))

    // Replica b lost its end: its second life follows op 1 of the first, of which peers still had op 2.
    const old = new OpSource('b', incarnation(90))
    const restored = new OpSource('b', incarnation(91), { predecessor: { origin: old.origin, seq: 1 } })
    commit(third.store, ...old.edits({ x: 'kept by peers' }), ...restored.edits({ x: 'new' }))
    third.store.close()
    expect(start().store.recovered.vector).toEqual(
      new Map([
        [second.source.origin, 4],
        [old.origin, 2],
        [restored.origin, 3],
      ]),
    )
  })

  test('several batches of one commit take consecutive positions', () => {
    const { store, source } = start()
    const result = store.commit([
      encodeOpBatch(source.edits({ x: 'one' })),
      encodeOpBatch([]),
      encodeOpBatch(source.edits({ x: 'two' })),
    ])
    expect(result).toMatchObject({ position: 1, counts: [2, 0, 1] })
    expect(commit(store, ...source.edits({ x: 'three' }))).toMatchObject({ position: 4, counts: [1] })
  })

  test('an op with several parts counts once in each document, also where it names one twice', () => {
    const { store, source } = start()
    commit(store, ...source.edit([part('x', '1'), part('y', '2'), part('x', '3')]))
    expect(tailOf(store.load('x'))).toEqual(['1', '3'])
    expect(tailOf(store.load('y'))).toEqual(['2'])
    expect(store.load('x')!.digest.count).toBe(1)
    expect(store.load('x')!.digest.xor).toEqual(store.load('y')!.digest.xor)
  })

  test('numbers up to 53 bits survive', () => {
    const { store } = start()
    const far = 2 ** 53 - 10
    const source = new OpSource('b', incarnation(77), {
      predecessor: { origin: makeOrigin('b', incarnation(76)), seq: far },
      hlc: far,
    })
    commit(store, ...source.edit([part('x', 'late', far)]))
    store.close()
    const { recovered, ...reopened } = start().store
    expect(recovered.vector.get(source.origin)).toBe(far + 2)
    expect(recovered.latestHlc).toBe(far + 2)
    expect(reopened).toBeDefined()
    expect(start).toThrow('Another process')
  })
})

describe('generations', () => {
  test('each life of a document has its own tail, digest and snapshots; the newest is served and listed', () => {
    const { store, source } = start()
    commit(
      store,
      ...source.edit([part('x', 'old')]),
      ...source.edit([part('x', 'new', 1)]),
      ...source.edit([part('x', 'late', 0)]),
    )
    expect(store.load('x')).toMatchObject({ generation: 1, digest: { count: 1 } })
    expect(tailOf(store.load('x'))).toEqual(['new'])
    expect(store.list({ prefix: '', limit: 10 }).documents).toMatchObject([{ name: 'x', generation: 1, bytes: 3 }])
    expect(store.recovered.documents).toBe(0)
  })
})

describe('a failed commit', () => {
  test.each(['SQLITE_FULL', 'SQLITE_READONLY', 'SQLITE_BUSY'])(
    '%s: nothing is stored, memory has not moved, and a later one succeeds',
    (code) => {
      const { store, source } = start()
      commit(store, ...source.edits({ x: 'one' }))
      const before = store.load('x')
      const back = source.mark()
      aroundCommit = () => {
        throw sqliteError(code)
      }
      expect(() => commit(store, ...source.edits({ x: 'lost' }, { new: 'lost' }))).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^storage\/(full|read-only|busy)$/) }),
      )
      expect(store.load('x')).toEqual(before)
      expect(store.load('new')).toBeUndefined()
      aroundCommit = (work) => work()
      back()
      // The same dots again, as none of them left the process.
      expect(commit(store, ...source.edits({ x: 'two' }))).toMatchObject({ position: 3 })
      expect(tailOf(store.load('x'))).toEqual(['one', 'two'])
      store.close()
      expect(tailOf(start().store.load('x'))).toEqual(['one', 'two'])
    },
  )

  test('an I/O error: the store refuses everything from then on, and the next start shows what the disk really holds', () => {
    const { store, source } = start()
    commit(store, ...source.edits({ x: 'one' }))
    aroundCommit = (work) => {
      work()
      throw sqliteError('SQLITE_IOERR_FSYNC')
    }
    const failed = expect.objectContaining({
      code: 'storage/failed',
      info: expect.objectContaining({ outcome: 'indefinite' }),
    })
    expect(() => commit(store, ...source.edits({ x: 'in doubt' }))).toThrow(failed)
    aroundCommit = (work) => work()
    for (const refused of [
      () => commit(store, ...source.edits({ x: 'more' })),
      () => store.load('x'),
      () => store.list({ prefix: '', limit: 1 }),
      () => store.saveSnapshot(snapshot('x', 2, 's')),
      () => store.prune({ maxAgeMs: 0, maxBytes: 0, nowMs: 0, ceiling: new Map() }),
    ]) {
      expect(refused).toThrow(failed)
    }
    store.close()
    expect(tailOf(start().store.load('x'))).toEqual(['one', 'in doubt'])
  })

  test('damage found by SQLite ends writing, not reading', () => {
    const { store, source } = start()
    commit(store, ...source.edits({ x: 'one' }))
    aroundCommit = () => {
      throw sqliteError('SQLITE_CORRUPT')
    }
    expect(() => commit(store, ...source.edits({ x: 'two' }))).toThrow(
      expect.objectContaining({ code: 'storage/damaged' }),
    )
    expect(tailOf(store.load('x'))).toEqual(['one'])
    aroundCommit = (work) => work()
    expect(() => commit(store, ...source.edits({ x: 'two' }))).toThrow(
      expect.objectContaining({ code: 'storage/damaged' }),
    )
  })

  test('a batch that cannot be read changes nothing', () => {
    const { store, source } = start()
    expect(() => store.commit([encodeOpBatch(source.edits({ x: 'one' })), new Uint8Array([9])])).toThrow(
      expect.objectContaining({ code: 'protocol/bad-message' }),
    )
    expect(store.load('x')).toBeUndefined()
  })

  test.each<[string, (source: OpSource) => Op[]]>([
    ['a gap in an origin', (source) => source.edits({ x: '2' }, { x: '3' }).slice(1)],
    ['a repeated op', (source) => source.edits({ x: '2' }).flatMap((op) => [op, op])],
    ['an origin without its open', () => new OpSource('b', incarnation(50)).edits({ x: '1' }).slice(1)],
  ])('%s is our own mistake: the store stops before it stores nonsense', (_, wrong) => {
    const { store, source } = start()
    commit(store, ...source.edits({ x: 'one' }))
    expect(() => commit(store, ...wrong(source))).toThrow(expect.objectContaining({ code: 'storage/failed' }))
    store.close()
    expect(start().store.recovered.position).toBe(2)
  })
})

describe('snapshots', () => {
  test('a load gives the head and the ops above it', () => {
    const { store, source } = start()
    commit(store, ...source.edits({ x: '1' }, { x: '2' }, { y: '-' }))
    const { position } = store.load('x')!
    commit(store, ...source.edits({ x: '3' }))
    store.saveSnapshot(snapshot('x', position, '12'))
    const loaded = store.load('x')!
    expect(loaded.snapshot).toMatchObject({ position: 4 })
    expect(textOf(loaded.snapshot!.update)).toBe('12')
    expect(tailOf(loaded)).toEqual(['3'])
    expect(loaded.digest.count).toBe(3)
    expect(store.list({ prefix: 'x', limit: 1 }).documents[0]).toMatchObject({ bytes: 3 })
  })

  test('never go backwards, nor beyond the log, nor to a document that is not there', () => {
    const { store, source } = start()
    commit(store, ...source.edits({ x: '1' }, { x: '2' }))
    store.saveSnapshot(snapshot('x', 3, 'new'))
    for (const position of [2, 4, 0, 2.5, Number.NaN]) {
      expect(() => store.saveSnapshot(snapshot('x', position, 'bad'))).toThrow(
        expect.objectContaining({ code: 'request/invalid' }),
      )
    }
    expect(() => store.saveSnapshot(snapshot('y', 1, 'bad'))).toThrow(
      expect.objectContaining({ code: 'document/not-found' }),
    )
    store.saveSnapshot(snapshot('x', 3, 'again'))
    expect(textOf(store.load('x')!.snapshot!.update)).toBe('again')
  })

  test('a failed save leaves the old one', () => {
    const { store, source } = start()
    commit(store, ...source.edits({ x: '1' }, { x: '2' }))
    store.saveSnapshot(snapshot('x', 2, 'old'))
    aroundCommit = () => {
      throw sqliteError('SQLITE_FULL')
    }
    expect(() => store.saveSnapshot(snapshot('x', 3, 'new'))).toThrow(expect.objectContaining({ code: 'storage/full' }))
    expect(textOf(store.load('x')!.snapshot!.update)).toBe('old')
    expect(tailOf(store.load('x'))).toEqual(['2'])
  })
})

describe('listing', () => {
  test('sorts by bytes, takes prefixes literally and goes on at the cursor', () => {
    const { store, source } = start()
    const names = ['a%b', 'a_b', 'a/b', 'axb', 'A/b', 'ä', 'a/c', '\u{ffee}', '🙂', 'a']
    commit(store, ...names.flatMap((name) => source.edits({ [name]: 'text' })))
    const byBytes = names.toSorted((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)))
    const all = (prefix: string, limit: number): string[] => {
      const found: string[] = []
      let cursor: string | undefined
      do {
        const page = store.list({ prefix, limit, ...(cursor !== undefined && { cursor }) })
        expect(page.documents.length).toBeLessThanOrEqual(limit)
        found.push(...page.documents.map(({ name }) => name))
        cursor = page.cursor
      } while (cursor !== undefined)
      return found
    }
    for (const limit of [1, 2, 3, 100]) {
      expect(all('', limit)).toEqual(byBytes)
      expect(all('a', limit)).toEqual(byBytes.filter((name) => name.startsWith('a')))
      expect(all('a/', limit)).toEqual(['a/b', 'a/c'])
      expect(all('a%', limit)).toEqual(['a%b'])
      expect(all('a_', limit)).toEqual(['a_b'])
      expect(all('nothing', limit)).toEqual([])
    }
  })

  test.each([0, -1, 1.5, 1_001])('a limit of %s is refused', (limit) => {
    const { store } = start()
    expect(() => store.list({ prefix: '', limit })).toThrow(expect.objectContaining({ code: 'request/invalid' }))
  })
})

describe('the directory', () => {
  test('of another replica is refused', () => {
    const { store, source } = start()
    commit(store, ...source.edits({ x: '1' }))
    store.close()
    expect(() => LogStore.open({ directory, replicaName: 'b', incarnation: incarnation(9) })).toThrow(
      expect.objectContaining({ code: 'config/invalid', message: expect.stringContaining('belongs to replica a') }),
    )
  })

  test('is locked against a second store, and free after close', () => {
    const { store } = start()
    expect(() => start()).toThrow(expect.objectContaining({ code: 'storage/in-use' }))
    store.close()
    expect(start().store.recovered.position).toBe(0)
  })
})

test.each([
  ['small commits', 1_200, 1],
  ['large ones', 60, 400],
])('the write-ahead log stays near its bound under %s', (_what, commits, ops) => {
  const { store, source } = start()
  const boundBytes = 1.25 * CHECKPOINT_PAGES * 4_120
  for (let n = 0; n < commits; n++) {
    commit(store, ...source.edits(...Array.from({ length: ops }, () => ({ x: 'y'.repeat(400) }))))
    store.checkpointWhenDue()
  }
  expect(store.figures().databaseBytes).toBeGreaterThan(200_000)
  expect(store.figures().walBytes).toBeLessThan(boundBytes)
})
