import { join } from 'node:path'
import Database from 'better-sqlite3'
import fc from 'fast-check'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { makeOrigin } from '../../shared/clock/dot.js'
import type { Op, OwnedId } from '../../shared/protocol/op.js'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import { incarnation, OpSource, temporaryDirectory } from '../../test/integration/storage/op-source.js'
import { LogReader } from './log-reader.js'
import { LogStore, type LogStoreOptions } from './log-store.js'
import { joinOwned, type OwnedRow } from './owned-row.js'
import { DATABASE_FILE, openReadOnly } from './schema.js'
import type { Opening } from './stored-document.js'

let directory: string
let starts: number

beforeEach(() => {
  const temporary = temporaryDirectory()
  onTestFinished(() => temporary[Symbol.dispose]())
  directory = temporary.path
  starts = 0
})

function start(options: Partial<LogStoreOptions> = {}): { store: LogStore; source: OpSource } {
  const own = incarnation(++starts)
  const store = LogStore.open({ directory, replicaName: 'a', incarnation: own, ...options })
  onTestFinished(() => store.close())
  const { predecessor, latestHlc } = store.recovered
  return {
    store,
    source: new OpSource('a', own, { ...(predecessor && { predecessor }), ...(latestHlc > 0 && { hlc: latestHlc }) }),
  }
}

const commit = (store: LogStore, ops: readonly Op[]) => store.commit([encodeOpBatch(ops)])

function opened(document = 'x'): Opening {
  const database = openReadOnly(join(directory, DATABASE_FILE))
  try {
    return new LogReader(database).open(document)
  } finally {
    database.close()
  }
}

const owned = (client: number, user: string, more: Partial<OwnedId> = {}): OwnedId => ({
  document: 'x',
  generation: 0,
  client,
  user,
  ...more,
})

describe('[DU1] owned client ids', () => {
  test('are there after a restart, oldest first, before their document is written and after', () => {
    const first = start()
    commit(first.store, first.source.owns(owned(7, 'ada')))
    commit(first.store, first.source.owns(owned(3, 'bob')))
    expect(opened()).toEqual({
      owned: [
        { client: 7, user: 'ada' },
        { client: 3, user: 'bob' },
      ],
    })
    first.store.close()
    const { store, source } = start()
    commit(store, source.edits({ x: 'text' }))
    expect(opened()).toMatchObject({ stored: { name: 'x' }, owned: [{ client: 7 }, { client: 3 }] })
    expect(opened('y')).toEqual({ owned: [] })
  })

  test('touch no document: it is neither listed nor counted', () => {
    const { store, source } = start()
    commit(store, source.owns(owned(7, 'ada')))
    expect(store.load('x')).toBeUndefined()
    expect(store.list({ prefix: '', limit: 10 }).documents).toEqual([])
    commit(store, source.edits({ x: 'text' }))
    commit(store, source.owns(owned(8, 'ada')))
    expect(store.load('x')).toMatchObject({ digest: { count: 1 }, clock: { a: 3 } })
  })

  test('go with a commit that fails', () => {
    let fails = true
    const { store, source } = start({
      aroundCommit: (run) => {
        if (fails) throw new Database.SqliteError('injected', 'SQLITE_FULL')
        run()
      },
    })
    expect(() => commit(store, source.owns(owned(7, 'ada')))).toThrow()
    fails = false
    expect(opened().owned).toEqual([])
  })

  test('a second user does not take an id; what was relayed is noted, and only the user itself evicts', () => {
    const { store, source } = start()
    commit(store, [...source.owns(owned(7, 'ada')), ...source.owns(owned(8, 'bob'))])
    commit(store, source.owns(owned(7, 'eve', { evicts: 8 })))
    commit(store, source.owns(owned(7, 'ada', { relayedFrom: 5 })))
    commit(store, source.owns(owned(7, 'ada', { relayedFrom: 9 })))
    expect(opened().owned).toEqual([
      { client: 7, user: 'ada', relayedFrom: 5 },
      { client: 8, user: 'bob' },
    ])
    commit(store, source.owns(owned(9, 'ada', { evicts: 7 })))
    expect(opened().owned.map(({ client }) => client)).toEqual([8, 9])
  })

  test('ids of 53 bits are kept', () => {
    const { store, source } = start()
    commit(store, source.owns(owned(Number.MAX_SAFE_INTEGER, 'ada')))
    expect(opened().owned).toEqual([{ client: Number.MAX_SAFE_INTEGER, user: 'ada' }])
  })

  test('a row that is not what was written is not handed out, and does not stop the log', () => {
    const { store, source } = start()
    commit(store, [...source.edits({ x: 'text' }), ...source.owns(owned(7, 'ada'))])
    store.close()
    const database = new Database(join(directory, DATABASE_FILE))
    database.exec("UPDATE owned SET user = 'eve'")
    database.close()
    expect(() => opened()).toThrow(expect.objectContaining({ code: 'document/unavailable' }))
    const second = start()
    commit(second.store, second.source.owns(owned(7, 'ada')))
    expect(opened().owned).toEqual([{ client: 7, user: 'ada' }])
  })
})

describe('[CV] records of one id', () => {
  const row: fc.Arbitrary<OwnedRow> = fc.record(
    {
      document: fc.constant('x'),
      generation: fc.constant(0),
      client: fc.constant(7),
      user: fc.constantFrom('ada', 'bob', 'eve'),
      hlc: fc.integer({ min: 1, max: 3 }),
      origin: fc.constantFrom(makeOrigin('a', incarnation(1)), makeOrigin('b', incarnation(1))),
      seq: fc.integer({ min: 1, max: 3 }),
      relayedFrom: fc.nat({ max: 3 }),
    },
    { requiredKeys: ['document', 'generation', 'client', 'user', 'hlc', 'origin', 'seq'] },
  )
  /** One dot is one op, which names one user. */
  const rows = fc.uniqueArray(row, {
    minLength: 1,
    maxLength: 6,
    selector: ({ hlc, origin, seq }) => `${hlc} ${origin} ${seq}`,
  })

  test('come to the same in any order, however often', () => {
    fc.assert(
      fc.property(rows, fc.infiniteStream(fc.nat()), (records, random) => {
        const byTime = (left: OwnedRow, right: OwnedRow): number =>
          left.hlc - right.hlc ||
          Buffer.compare(Buffer.from(left.origin), Buffer.from(right.origin)) ||
          left.seq - right.seq
        const shuffled = [...records, ...records]
          .map((record) => ({ record, at: random.next().value as number }))
          .sort((left, right) => left.at - right.at)
          .map(({ record }) => record)
        const smallest = [...records].sort(byTime)[0]!
        const joined = shuffled.reduce(joinOwned)
        expect(joined).toEqual(records.reduce(joinOwned))
        expect(joined.user).toBe(smallest.user)
      }),
    )
  })
})
