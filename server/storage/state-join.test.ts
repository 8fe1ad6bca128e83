import { join } from 'node:path'
import Database from 'better-sqlite3'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { OriginId } from '../../shared/clock/dot.js'
import type { Op } from '../../shared/protocol/op.js'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import { PEER_LIMITS } from '../../shared/protocol/peer.js'
import { incarnation, OpSource, part, temporaryDirectory, textOf } from '../../test/integration/storage/op-source.js'
import { giveState, openState, takeState, textIn } from '../../test/integration/storage/whole-state.js'
import { LogStore, type LogStoreOptions } from './log-store.js'
import { OpenCuts } from './open-cuts.js'
import { REORIGINATED_LIMIT } from './reoriginated-row.js'

interface Side {
  readonly directory: string
  store: LogStore
}

let donor: Side
let receiver: Side
let starts: number
let source: OpSource

beforeEach(() => {
  starts = 0
  donor = side('d')
  receiver = side('r')
  source = new OpSource('s', incarnation(50))
})

function side(name: string): Side {
  const temporary = temporaryDirectory()
  const opened: Side = { directory: temporary.path, store: open(temporary.path, name) }
  onTestFinished(() => {
    opened.store.close()
    temporary[Symbol.dispose]()
  })
  return opened
}

function open(directory: string, name: string, more: Partial<LogStoreOptions> = {}): LogStore {
  return LogStore.open({ directory, replicaName: name, incarnation: incarnation(++starts), ...more })
}

function reopen(side: Side, name: string, more: Partial<LogStoreOptions> = {}): LogStore {
  side.store.close()
  side.store = open(side.directory, name, more)
  return side.store
}

const commit = ({ store }: Side, ops: readonly Op[]): unknown => store.commit([encodeOpBatch(ops)])
const refused = expect.objectContaining({ code: 'request/invalid' })

/** Ops that both hold, then one that only the receiver does, and one that only the donor does. */
function apart(): { ours: OpSource; theirs: OpSource } {
  const [ours, theirs] = [new OpSource('o', incarnation(60)), new OpSource('t', incarnation(61))]
  const common = source.edits({ x: 'one ' }, { y: 'two ' })
  for (const side of [donor, receiver]) commit(side, common)
  commit(receiver, ours.edits({ x: 'ours ', z: 'only ours ' }))
  commit(donor, theirs.edits({ x: 'theirs ' }))
  return { ours, theirs }
}

describe('a join', () => {
  test('that crashes at any point leaves the old state whole, and what was set aside is gone after the restart', () => {
    apart()
    const state = takeState(donor.directory)
    const before = ['x', 'y', 'z'].map((name) => receiver.store.load(name))
    const { position } = receiver.store.figures()
    let failsAt = Number.POSITIVE_INFINITY
    let commits = 0
    const aroundCommit = (work: () => void): void => {
      if (++commits === failsAt) throw new Database.SqliteError('injected', 'SQLITE_IOERR_FSYNC')
      work()
    }
    for (let failing = 1; ; failing++) {
      const store = reopen(receiver, 'r', { aroundCommit })
      const count = (): unknown => {
        const database = new Database(join(receiver.directory, 'causeway.db'), { readonly: true })
        const found = database.prepare('SELECT COUNT(*) FROM state_chunks').pluck().get()
        database.close()
        return found
      }
      expect(count(), 'garbage of the run before').toBe(0)
      expect(['x', 'y', 'z'].map((name) => store.load(name))).toEqual(before)
      expect(store.figures().position).toBe(position)
      commits = 0
      failsAt = failing
      try {
        giveState(store, state)
        break
      } catch (thrown) {
        expect(thrown).toMatchObject({ code: 'storage/failed' })
        expect(failing, 'a join is few commits').toBeLessThan(10)
        failsAt = Number.POSITIVE_INFINITY
      }
    }
    const { store } = receiver
    expect(textIn(store.load('x'))).toBe('one theirs ours ')
    expect(textIn(store.load('z'))).toBe('only ours ')
  })

  test.each(['SQLITE_FULL', 'SQLITE_BUSY'])(
    '%s: nothing is stored, memory has not moved, and a later one succeeds',
    (code) => {
      const { ours } = apart()
      const state = takeState(donor.directory)
      let isFull = false
      const store = reopen(receiver, 'r', {
        aroundCommit: (work) => {
          if (isFull) throw new Database.SqliteError('injected', code)
          work()
        },
      })
      for (const [index, chunk] of state.chunks.entries()) store.storeChunk(index, chunk)
      isFull = true
      expect(() => store.joinState(state.cut)).toThrow(
        expect.objectContaining({ info: expect.objectContaining({ retry: 'later' }) }),
      )
      isFull = false
      commit(receiver, ours.edits({ x: 'more ' }))
      expect(textIn(store.load('x'))).toBe('one ours more ')
      store.joinState(state.cut)
      expect(textIn(store.load('x'))).toBe('one theirs ours more ')
    },
  )

  test('goes on as any log: commits, history, pruning, and a peer that takes its state in turn', () => {
    const { ours } = apart()
    const { position } = giveState(receiver.store, takeState(donor.directory))
    commit(receiver, [...ours.edits({ x: 'later ' }), ...source.edits({ x: 'late ' })])
    const { store } = receiver
    expect(textIn(store.load('x'))).toBe('one theirs ours later late ')
    expect(textIn(store.load('x', { upTo: position + 1 }))).toBe('one theirs ours later ')
    expect(() => store.load('x', { upTo: 2 })).toThrow(expect.objectContaining({ code: 'history/compacted' }))
    expect(store.list({ prefix: '', limit: 5 }).documents.map(({ name, bytes }) => [name, bytes])).toEqual([
      ['x', 27],
      ['y', 4],
      ['z', 10],
    ])
    const third = side('q')
    giveState(third.store, takeState(receiver.directory))
    for (const name of ['x', 'y', 'z']) {
      expect(textIn(third.store.load(name))).toBe(textIn(store.load(name)))
      expect(third.store.load(name)!.digest).toEqual(store.load(name)!.digest)
    }
    expect(reopen(receiver, 'r').recovered).toMatchObject({ damaged: [], quarantined: [] })
  })

  test('keeps what this disk wrote under as its own, and takes what it lost of an older life', () => {
    const own = new OpSource('r', incarnation(2))
    const mine = own.edits({ x: 'mine ' })
    commit(receiver, mine)
    commit(donor, mine)
    giveState(receiver.store, takeState(donor.directory))
    expect(reopen(receiver, 'r').recovered.predecessor).toEqual({ origin: own.origin, seq: 2 })
    // On an empty disk the same state names no life of it: that disk is gone.
    const empty = side('r')
    giveState(empty.store, takeState(donor.directory))
    const { recovered } = reopen(empty, 'r')
    expect(recovered.predecessor).toBeUndefined()
    expect(recovered.vector).toEqual(new Map([[own.origin, 2]]))
  })

  test('makes quarantined documents whole again', () => {
    apart()
    receiver.store.quarantine('x', 'damaged')
    giveState(receiver.store, takeState(donor.directory))
    expect(textIn(receiver.store.load('x'))).toBe('one theirs ours ')
    expect(receiver.store.figures().quarantined).toEqual([])
  })

  test('of two owners the smaller (hlc, origin, seq) holds, whoever brought it', () => {
    const early = new OpSource('e', incarnation(70), { hlc: 100 })
    const late = new OpSource('l', incarnation(71), { hlc: 200 })
    const by = (user: string) => ({ document: 'x', generation: 0, client: 7, user })
    commit(receiver, early.owns(by('ada')))
    commit(donor, late.owns(by('bob')))
    const [ofReceiver, ofDonor] = [takeState(receiver.directory), takeState(donor.directory)]
    giveState(receiver.store, ofDonor)
    giveState(donor.store, ofReceiver)
    for (const { store } of [receiver, donor]) expect(store.open('x').owned).toEqual([{ client: 7, user: 'ada' }])
  })
})

test('an id that the state has given up is not owned again', () => {
  const owner = new OpSource('e', incarnation(70))
  const first = owner.owns({ document: 'x', generation: 0, client: 7, user: 'ada' })
  commit(receiver, first)
  commit(donor, first)
  commit(donor, owner.owns({ document: 'x', generation: 0, client: 8, user: 'ada', evicts: 7 }))
  giveState(receiver.store, takeState(donor.directory))
  expect(receiver.store.open('x').owned).toEqual([{ client: 8, user: 'ada' }])
})

describe('refused, with nothing changed:', () => {
  const unchanged = (attempt: () => unknown, error: unknown = refused): void => {
    const shown = (): unknown => {
      const { position, logBytes } = receiver.store.figures()
      return [receiver.store.open('x'), receiver.store.open('z'), position, logBytes]
    }
    const before = shown()
    expect(attempt).toThrow(error)
    expect(shown()).toEqual(before)
  }

  test('a state without what was pruned here, also where ops stand above that', () => {
    const { ours } = apart()
    const stored = receiver.store.load('x')!
    const empty = new Uint8Array()
    for (const document of ['x', 'y', 'z']) {
      const update = new TextEncoder().encode(textIn(receiver.store.load(document)))
      const { position } = stored
      receiver.store.saveSnapshot({ document, generation: 0, position, update, known: empty, fingerprint: empty })
    }
    commit(receiver, ours.edits({ x: 'above ' }))
    const ceiling = new Map<OriginId, number>([
      [source.origin, 9],
      [ours.origin, 2],
    ])
    receiver.store.prune({ maxBytes: 0, maxAgeMs: 0, nowMs: 4e12, ceiling })
    unchanged(() => giveState(receiver.store, takeState(donor.directory)))
    commit(receiver, ours.edits({ x: 'still in use ' }))
  })

  test.each<[string, (chunk: Uint8Array) => Uint8Array | undefined]>([
    ['a damaged chunk', (chunk) => chunk.map((byte, index) => (index === 40 ? byte ^ 1 : byte))],
    ['a chunk that is cut off', (chunk) => chunk.subarray(0, -5)],
    ['an empty chunk', () => new Uint8Array()],
    ['a missing chunk', () => undefined],
  ])('%s', (_, spoil) => {
    apart()
    const { cut, chunks } = takeState(donor.directory)
    unchanged(() => giveState(receiver.store, { cut, chunks: chunks.flatMap((chunk) => spoil(chunk) ?? []) }))
  })

  test('the state of another cut', () => {
    const { theirs } = apart()
    const { chunks } = takeState(donor.directory)
    commit(donor, theirs.edits({ x: 'after ' }))
    unchanged(() => giveState(receiver.store, { cut: takeState(donor.directory).cut, chunks }))
  })

  test('a chunk out of order, or larger than any may be', () => {
    unchanged(() => receiver.store.storeChunk(1, new Uint8Array(9)))
    unchanged(() => receiver.store.storeChunk(0, new Uint8Array(PEER_LIMITS.chunkBytes + 1)))
  })

  test.each([0, 1])('a fork: other ops under one dot, of which the receiver holds %i more', (more) => {
    const [ours, theirs] = [new OpSource('f', incarnation(80)), new OpSource('f', incarnation(80))]
    commit(receiver, ours.edits({ x: 'this ' }))
    commit(donor, theirs.edits({ x: 'that ' }))
    if (more) commit(receiver, ours.edits({ x: 'more ' }))
    unchanged(
      () => giveState(receiver.store, takeState(donor.directory)),
      expect.objectContaining({ code: 'cell/forked' }),
    )
  })

  test('where the last op of an origin should be here, and is neither here nor in the state', () => {
    const { ours } = apart()
    commit(receiver, ours.edits({ y: 'lost ' }))
    const writable = new Database(join(receiver.directory, 'causeway.db'))
    writable.exec('DELETE FROM ops WHERE position = 6')
    writable.close()
    expect(() => giveState(receiver.store, takeState(donor.directory))).toThrow(refused)
  })

  test('where an op that has to be kept is damaged', () => {
    apart()
    const writable = new Database(join(receiver.directory, 'causeway.db'))
    writable.exec('UPDATE ops SET record = zeroblob(10) WHERE position = 5')
    writable.close()
    expect(() => giveState(receiver.store, takeState(donor.directory))).toThrow(
      expect.objectContaining({ code: 'document/unavailable', details: expect.objectContaining({ position: 5 }) }),
    )
    expect(receiver.store.figures().position).toBe(5)
  })
})

describe('a state that is given', () => {
  test('stands at one cut, whatever is committed meanwhile, and each chunk is the same as often as it is asked for', () => {
    const large = 'large '.repeat(1_000_000)
    commit(donor, source.edits({ small: 'one ' }, { large }, { other: 'two ' }, { more: 'x'.repeat(3_000_000) }))
    const opened = openState(donor.directory)
    onTestFinished(() => opened.close())
    expect(() => opened.chunk(1), 'in order').toThrow(refused)
    const chunks: Uint8Array[] = []
    for (let isLast = false; !isLast; ) {
      commit(donor, source.edits({ small: 'later ', new: 'later ' }))
      const chunk = opened.chunk(chunks.length)
      isLast = chunk.isLast
      chunks.push(chunk.bytes)
      expect(chunk.bytes.length).toBeLessThanOrEqual(PEER_LIMITS.chunkBytes)
    }
    expect(chunks.length, 'a large document goes through several').toBeGreaterThan(5)
    for (const index of [4, 1, 2, 7, 0])
      expect(Buffer.from(opened.chunk(index).bytes).equals(chunks[index]!)).toBe(true)
    giveState(receiver.store, { cut: opened.cut, chunks })
    expect(textIn(receiver.store.load('large'))).toBe(large)
    expect(textIn(receiver.store.load('small'))).toBe('one ')
    expect(receiver.store.load('new')).toBeUndefined()
    expect(textOf(receiver.store.load('large')!.snapshot!.known)).toBe('known')
  })

  test('is refused where a document is damaged: without it, it would be taken for whole', () => {
    commit(donor, source.edits({ x: 'one ' }))
    donor.store.quarantine('x', 'damaged')
    expect(() => takeState(donor.directory)).toThrow(expect.objectContaining({ code: 'document/unavailable' }))
  })

  test('the cuts that are open are few, and closing one makes room', () => {
    const cuts = new OpenCuts(join(donor.directory, 'causeway.db'))
    const first = cuts.open()
    cuts.open()
    expect(() => cuts.open()).toThrow(expect.objectContaining({ code: 'storage/busy' }))
    cuts.close(first.cut)
    expect(() => cuts.chunk(first.cut, 0)).toThrow(refused)
    expect(cuts.chunk(cuts.open().cut, 0)).toMatchObject({ isLast: true })
    cuts.closeAll()
  })
})

test('of ops that were accepted anew the newest are kept, and of two for one first dot the first', () => {
  const first = { origin: source.origin, seq: 1_000_000 }
  const edit = [part('x', '')]
  const ops = Array.from({ length: REORIGINATED_LIMIT + 2 }, (_, at) =>
    source.reoriginates({ ...first, seq: first.seq + at }, edit),
  ).flat()
  commit(donor, ops)
  commit(donor, source.reoriginates({ ...first, seq: first.seq + 5 }, edit))
  const { reoriginated } = reopen(donor, 'd').recovered
  expect(reoriginated.size).toBe(REORIGINATED_LIMIT)
  expect([...reoriginated.keys()][0]).toBe(`${first.origin}:${first.seq + 2}`)
  expect(reoriginated.get(`${first.origin}:${first.seq + 5}`)).toEqual({ origin: first.origin, seq: 7 })
})
