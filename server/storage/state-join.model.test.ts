/**
 * Joining states against the union of what both logs were given: two logs with a common past, each with ops of its own
 * on top, restarted, snapshotted and pruned at will, take one another's states.
 */
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { dotKey, type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import { Lineages } from '../../shared/clock/lineages.js'
import { EMPTY_VECTOR } from '../../shared/clock/version-vector.js'
import { type Op, partsOf } from '../../shared/protocol/op.js'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import { incarnation, OpSource, part, temporaryDirectory, textOf } from '../../test/integration/storage/op-source.js'
import { giveState, takeState, textIn } from '../../test/integration/storage/whole-state.js'
import { SliceReader } from './log-slice.js'
import { LogStore } from './log-store.js'
import { computeChain } from './op-row.js'
import { unpackSlice } from './packed-slice.js'
import { openReadOnly } from './schema.js'

const DOCUMENTS = ['a', 'b', 'c', 'd'] as const
const REPLICAS = ['x', 'y', 'z'] as const
type Replica = (typeof REPLICAS)[number]

/** An op with its chain value. */
interface Given {
  readonly op: Op
  readonly chain: Uint8Array
}

/** All ops of the cell, by replica, each in the order in which it was made. */
class Cell {
  readonly ops: Record<Replica, Given[]> = { x: [], y: [], z: [] }
  private readonly sources: Record<Replica, OpSource>
  private readonly chains = new Map<OriginId, Uint8Array>()
  private starts = 100
  private words = 0
  private hlc = 1_800_000_000_000 * 1024

  constructor() {
    const source = (name: Replica): OpSource => new OpSource(name, incarnation(++this.starts))
    this.sources = { x: source('x'), y: source('y'), z: source('z') }
  }

  restart(name: Replica): void {
    const { origin, seq } = this.sources[name]
    const hasOps = this.ops[name].length > 0
    this.sources[name] = new OpSource(name, incarnation(++this.starts), hasOps ? { predecessor: { origin, seq } } : {})
  }

  make(name: Replica, kind: number, documents: readonly string[]): void {
    const source = this.sources[name]
    source.hlc = this.hlc
    const parts = documents.map((document) => part(document, `w${++this.words} `))
    const [document] = documents
    const owned = { document: document!, generation: 0, client: kind, user: `user of ${name}` }
    const ops =
      kind < 2
        ? source.owns(owned)
        : kind === 2
          ? source.reoriginates({ origin: source.origin, seq: 1_000 + this.words }, parts)
          : source.edit(parts)
    this.hlc = source.hlc
    for (const op of ops) {
      const chain = new Uint8Array(16)
      computeChain(this.chains.get(op.dot.origin) ?? new Uint8Array(16), op, chain)
      this.chains.set(op.dot.origin, chain)
      this.ops[name].push({ op, chain })
    }
  }
}

/** One replica's log, and what it was given. */
class Log {
  readonly directory: string
  store: LogStore
  readonly given: Given[] = []
  /** How many of each replica's ops it was given. */
  readonly counts: Record<Replica, number> = { x: 0, y: 0, z: 0 }
  private readonly name: string
  private starts = 0

  constructor(directory: string, name: string) {
    this.directory = directory
    this.name = name
    this.store = this.open()
  }

  restart(): void {
    this.store.close()
    this.store = this.open()
  }

  private open(): LogStore {
    const options = { directory: this.directory, replicaName: this.name, incarnation: incarnation(++this.starts) }
    return LogStore.open(options)
  }

  take(cell: Cell, replica: Replica, upTo: number): void {
    const ops = cell.ops[replica].slice(this.counts[replica], upTo)
    if (ops.length === 0) return
    this.store.commit([encodeOpBatch(ops.map(({ op }) => op))])
    this.counts[replica] += ops.length
    this.given.push(...ops)
  }

  /** Keeps snapshots of all documents and prunes what may go. */
  prune(common: readonly Given[]): void {
    for (const name of DOCUMENTS) {
      const document = this.store.load(name)
      if (!document) continue
      const update = new TextEncoder().encode(textIn(document))
      const empty = new Uint8Array()
      const { position } = document
      this.store.saveSnapshot({ document: name, generation: 0, position, update, known: empty, fingerprint: empty })
    }
    const ceiling = new Map<OriginId, number>()
    for (const { op } of common) ceiling.set(op.dot.origin, op.dot.seq)
    this.store.prune({ maxBytes: 0, maxAgeMs: 0, nowMs: 4e12, ceiling })
  }

  get recovered(): LogStore['recovered'] {
    this.restart()
    return this.store.recovered
  }

  /** Everything in the log that is not in `beyond`. */
  read(beyond: ReadonlyMap<OriginId, number>): { ops: Op[]; positions: number[]; isPruned: boolean } {
    const database = openReadOnly(join(this.directory, 'causeway.db'))
    try {
      const slice = unpackSlice(new SliceReader(database).read({ after: 0, beyond, limitCost: 1e9 }))
      return {
        ops: slice.ops.map(({ op }) => op),
        positions: slice.ops.map(({ position }) => position),
        isPruned: slice.isPruned,
      }
    } finally {
      database.close()
    }
  }
}

const words = (text: string): string[] => text.split(' ').filter(Boolean).sort()

/** What a log shows, wherever its ops came from. */
function shown({ store }: Log): unknown {
  return DOCUMENTS.map((name) => {
    const { stored, owned } = store.open(name)
    return {
      words: words(textIn(stored)),
      count: stored?.digest.count ?? 0,
      xor: Buffer.from(stored?.digest.xor ?? []).toString('hex'),
      clock: new Map(Object.entries(stored?.clock ?? {}).sort()),
      owned: [...owned].sort((left, right) => left.client - right.client),
    }
  })
}

/** What a log should show that was given these ops. */
function expected(given: readonly Given[]): unknown {
  return DOCUMENTS.map((name) => {
    const touching = given.filter(({ op }) => partsOf(op).some(({ document }) => document === name))
    const xor = Buffer.alloc(touching.length > 0 ? 16 : 0)
    const clock = new Map<string, number>()
    for (const { op, chain } of touching) {
      for (const [index, byte] of chain.entries()) xor[index]! ^= byte
      const replica = replicaNameOf(op.dot.origin)
      clock.set(replica, Math.max(clock.get(replica) ?? 0, op.dot.seq))
    }
    const texts = touching.flatMap(({ op }) => partsOf(op).filter(({ document }) => document === name))
    const owners = new Map<number, { client: number; user: string }>()
    for (const { op } of [...given].sort((left, right) => left.op.hlc - right.op.hlc)) {
      if (op.kind !== 'owned' || op.owned.document !== name || owners.has(op.owned.client)) continue
      owners.set(op.owned.client, { client: op.owned.client, user: op.owned.user })
    }
    return {
      words: words(texts.map(({ update }) => textOf(update)).join('')),
      count: touching.length,
      xor: xor.toString('hex'),
      clock: new Map([...clock].sort()),
      owned: [...owners.values()].sort((left, right) => left.client - right.client),
    }
  })
}

function headsOf(given: readonly Given[]): ReadonlyMap<OriginId, { seq: number; chain: Uint8Array }> {
  const heads = new Map<OriginId, { seq: number; chain: Uint8Array }>()
  for (const { op, chain } of given) {
    if (op.dot.seq > (heads.get(op.dot.origin)?.seq ?? 0)) heads.set(op.dot.origin, { seq: op.dot.seq, chain })
  }
  return heads
}

const seqsOf = (given: readonly Given[]): ReadonlyMap<OriginId, number> =>
  new Map([...headsOf(given)].map(([origin, { seq }]) => [origin, seq]))

const holds = (given: readonly Given[]): Set<string> => new Set(given.map(({ op }) => dotKey(op.dot)))

/** `receiver` takes the state of `donor`, and all that can be said of the outcome holds. */
function joinAndCheck(receiver: Log, donor: Log): void {
  const before = receiver.store.recovered.floor
  const inDonor = holds(donor.given)
  const surplus = receiver.given.filter(({ op }) => !inDonor.has(dotKey(op.dot)))
  const union = [...donor.given, ...surplus]
  const lineages = new Lineages()
  for (const { op } of union) {
    if (op.kind === 'open') lineages.learnOpening(op.dot, op.predecessor)
  }
  const state = takeState(donor.directory)
  expect(state.cut).toEqual(lineages.fold(seqsOf(donor.given)))
  if (!lineages.dominates(seqsOf(donor.given), receiver.recovered.floor)) {
    const shownBefore = shown(receiver)
    expect(() => giveState(receiver.store, state)).toThrow(expect.objectContaining({ code: 'request/invalid' }))
    expect(shown(receiver)).toEqual(shownBefore)
    return
  }
  expect(before).toBeDefined()
  const { position } = receiver.store.figures()
  const joined = giveState(receiver.store, state)
  const check = (heads: Omit<typeof joined, 'position'>): void => {
    expect(shown(receiver)).toEqual(expected(union))
    expect(heads.heads).toEqual(headsOf(union))
    expect(heads.vector).toEqual(lineages.fold(seqsOf(union)))
    expect(heads.floor).toEqual(state.cut)
    expect(new Set(heads.openings.map(({ dot }) => dotKey(dot)))).toEqual(
      new Set(union.filter(({ op }) => op.kind === 'open').map(({ op }) => dotKey(op.dot))),
    )
    const again = union.flatMap(({ op }) => (op.kind === 're-originated' ? [[dotKey(op.was), op.dot] as const] : []))
    expect(heads.reoriginated).toEqual(new Map(again))
    expect(heads.latestHlc).toBe(Math.max(0, ...union.map(({ op }) => op.hlc)))
    const log = receiver.read(state.cut)
    expect(log.ops).toEqual(surplus.map(({ op }) => op))
    expect(log.isPruned).toBe(false)
    for (const at of log.positions) expect(at).toBeGreaterThan(position + 1)
    expect(receiver.read(EMPTY_VECTOR).isPruned).toBe(donor.given.length > 0)
  }
  check(joined)
  expect(joined.position).toBe(position + 1 + surplus.length)
  const recovered = receiver.recovered
  check(recovered)
  expect(recovered).toMatchObject({ quarantined: [], damaged: [], position: joined.position })
  expect(recovered.rolledBack).toBeUndefined()
  receiver.given.splice(0, receiver.given.length, ...union)
  for (const name of REPLICAS) receiver.counts[name] = Math.max(receiver.counts[name], donor.counts[name])
}

const steps = fc.array(
  fc.oneof(
    fc.record({
      type: fc.constant('make' as const),
      replica: fc.constantFrom(...REPLICAS),
      kind: fc.nat({ max: 9 }),
      documents: fc.uniqueArray(fc.constantFrom(...DOCUMENTS), { minLength: 1, maxLength: 3 }),
    }),
    fc.record({ type: fc.constant('begin-anew' as const), replica: fc.constantFrom(...REPLICAS) }),
    fc.record({
      type: fc.constant('take' as const),
      log: fc.constantFrom('x' as const, 'y' as const),
      replica: fc.constantFrom(...REPLICAS),
      most: fc.integer({ min: 1, max: 5 }),
    }),
    fc.record({
      type: fc.constant('prune' as const),
      log: fc.constantFrom('x' as const, 'y' as const),
      all: fc.boolean(),
    }),
    fc.record({ type: fc.constant('restart' as const), log: fc.constantFrom('x' as const, 'y' as const) }),
    fc.record({ type: fc.constant('join' as const), to: fc.constantFrom('x' as const, 'y' as const) }),
  ),
  { minLength: 10, maxLength: 60, size: 'max' },
)

test('[CV] a joined state is the union of both logs, whatever either pruned; nothing is lost, no head is lowered', () => {
  fc.assert(
    fc.property(steps, (list) => {
      using first = temporaryDirectory()
      using second = temporaryDirectory()
      const cell = new Cell()
      const logs = { x: new Log(first.path, 'x'), y: new Log(second.path, 'y') }
      try {
        for (const step of [...list, { type: 'join', to: 'x' } as const, { type: 'join', to: 'y' } as const]) {
          if (step.type === 'make') {
            cell.make(step.replica, step.kind, step.documents)
            // A replica's own ops are on its own disk before anybody has them.
            if (step.replica !== 'z') logs[step.replica].take(cell, step.replica, Number.POSITIVE_INFINITY)
          } else if (step.type === 'begin-anew') cell.restart(step.replica)
          else if (step.type === 'take') {
            const log = logs[step.log]
            log.take(cell, step.replica, log.counts[step.replica] + step.most)
          } else if (step.type === 'prune') {
            const other = holds(logs[step.log === 'x' ? 'y' : 'x'].given)
            const { given } = logs[step.log]
            logs[step.log].prune(step.all ? given : given.filter(({ op }) => other.has(dotKey(op.dot))))
          } else if (step.type === 'restart') logs[step.log].restart()
          else joinAndCheck(logs[step.to], logs[step.to === 'x' ? 'y' : 'x'])
        }
      } finally {
        logs.x.store.close()
        logs.y.store.close()
      }
    }),
    { numRuns: 25 },
  )
}, 60_000)
