/** Slices of the log against a list of ops, read through to the end as a peer does. */
import { join } from 'node:path'
import type Database from 'better-sqlite3'
import fc from 'fast-check'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { type Dot, type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import { Lineages } from '../../shared/clock/lineages.js'
import { EMPTY_VECTOR, type VersionVector } from '../../shared/clock/version-vector.js'
import type { Op } from '../../shared/protocol/op.js'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import type { LogRange } from '../../shared/protocol/op-log.js'
import { opCost } from '../../shared/protocol/peer.js'
import { incarnation, OpSource, part, temporaryDirectory } from '../../test/integration/storage/op-source.js'
import type { LogSlice } from './log.js'
import { SliceReader } from './log-slice.js'
import { LogStore } from './log-store.js'
import { unpackSlice } from './packed-slice.js'
import { openDatabase, openReadOnly } from './schema.js'

const REPLICAS = ['a', 'b', 'c-d'] as const

class World {
  readonly directory: string
  readonly store: LogStore
  /** In the order of the log: the op at position p is `ops[p - 1]`. */
  readonly ops: Op[] = []
  readonly lineages = new Lineages()
  readonly reader: SliceReader
  private readonly database: Database.Database
  private readonly sources = new Map(REPLICAS.map((name, at) => [name, new OpSource(name, incarnation(10 + at))]))
  private starts = 0
  floor = 0

  constructor(directory: string) {
    this.directory = directory
    this.store = LogStore.open({ directory, replicaName: 'a', incarnation: incarnation(1) })
    this.database = openReadOnly(join(directory, 'causeway.db'))
    this.reader = new SliceReader(this.database)
  }

  write(name: (typeof REPLICAS)[number], bytes: number): void {
    const ops = this.sources.get(name)!.edit([part('x', 'w'.repeat(bytes))])
    for (const op of ops) if (op.kind === 'open') this.lineages.learnOpening(op.dot, op.predecessor)
    this.store.commit([encodeOpBatch(ops)])
    this.ops.push(...ops)
  }

  /** `behind`: the disk was rolled back by so much, peers still have it. */
  restart(name: (typeof REPLICAS)[number], behind: number): void {
    const { origin, seq } = this.sources.get(name)!
    if (!this.ops.some(({ dot }) => dot.origin === origin)) return
    const first = this.ops.find(({ dot }) => dot.origin === origin)!.dot.seq
    const predecessor = { origin, seq: Math.max(first, seq - behind) }
    this.sources.set(name, new OpSource(name, incarnation(100 + ++this.starts), { predecessor }))
  }

  /** Everything up to a position. */
  prune(position: number): void {
    const stored = this.store.load('x')
    if (!stored) return
    const empty = new Uint8Array()
    const snapshot = { position: stored.position, update: empty, known: empty, fingerprint: empty }
    this.store.saveSnapshot({ document: 'x', generation: 0, ...snapshot })
    const ceiling = new Map<OriginId, number>()
    for (const { dot } of this.ops.slice(0, position)) ceiling.set(dot.origin, dot.seq)
    this.floor = this.store.prune({ maxBytes: 0, maxAgeMs: 0, nowMs: 4e12, ceiling }).floor
  }

  isInRange({ dot }: Op, { beyond, upTo, names }: LogRange): boolean {
    const isAsked = names === undefined || names.has(replicaNameOf(dot.origin))
    return isAsked && !this.lineages.includes(beyond, dot) && (!upTo || this.lineages.includes(upTo, dot))
  }

  read(range: LogRange): LogSlice {
    return unpackSlice(this.reader.read(range))
  }

  close(): void {
    this.database.close()
    this.store.close()
  }

  /** What a replica would tell of itself that has delivered the log up to a position, without what is implied. */
  vectorAt(position: number): VersionVector {
    const vector = new Map<OriginId, number>()
    for (const { dot } of this.ops.slice(0, position)) vector.set(dot.origin, dot.seq)
    return this.lineages.fold(vector)
  }
}

const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.tuple(fc.constant('write'), fc.constantFrom(...REPLICAS), fc.nat({ max: 600 })) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('restart'), fc.constantFrom(...REPLICAS), fc.nat({ max: 1 })) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('prune'), fc.constant('a' as const), fc.nat({ max: 60 })) },
  ),
  { minLength: 5, maxLength: 60, size: 'max' },
)

const cut = fc.tuple(fc.nat({ max: 60 }), fc.nat({ max: 60 }), fc.nat({ max: 255 }))
const ranges = fc.array(
  fc.record({
    after: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat({ max: 60 })),
    beyond: fc.option(cut),
    upTo: fc.option(cut),
    names: fc.option(fc.subarray([...REPLICAS])),
    limitCost: fc.integer({ min: 1, max: 5_000 }),
  }),
  { minLength: 10, maxLength: 10 },
)

/** What some tell of one moment, and others of another or nothing. */
function mixed(world: World, [left, right, mask]: readonly [number, number, number]): VersionVector {
  const isOf = (index: number): boolean => ((mask >> (index % 8)) & 1) === 1
  const [early, late] = [world.vectorAt(left), world.vectorAt(right)]
  return new Map([...early].filter((_, index) => isOf(index)).concat([...late].filter((_, index) => !isOf(index + 1))))
}

test('[CD] slices are exactly the ops that are asked for, in the order of the log; what is pruned is said to be', () => {
  fc.assert(
    fc.property(steps, ranges, (list, asked) => {
      using temporary = temporaryDirectory()
      const world = new World(temporary.path)
      try {
        for (const [step, name, number] of list) {
          if (step === 'write') world.write(name, number)
          else if (step === 'restart') world.restart(name, number)
          else world.prune(number)
        }
        for (const { after, beyond, upTo, names, limitCost } of asked) {
          const range: LogRange = {
            after,
            beyond: beyond === null ? EMPTY_VECTOR : mixed(world, beyond),
            ...(upTo !== null && { upTo: mixed(world, upTo) }),
            ...(names && { names: new Set(names) }),
            limitCost,
          }
          check(world, range)
        }
      } finally {
        world.close()
      }
    }),
    { numRuns: 60 },
  )
}, 60_000)

function check(world: World, range: LogRange): void {
  const { ops, floor } = world
  const behind = (position: number): Op[] => ops.filter((op, index) => index >= position && world.isInRange(op, range))
  const isGone = (position: number): boolean =>
    ops.some((op, index) => index >= position && index < floor && world.isInRange(op, range))
  const found: Op[] = []
  for (let after = range.after; ; ) {
    const slice = world.read({ ...range, after })
    if (slice.isPruned) {
      // Among ops that are gone nobody can tell those that stood behind a position below the floor.
      expect(after < floor && isGone(0)).toBe(true)
      expect(slice.ops).toEqual([])
      return
    }
    expect(isGone(after)).toBe(false)
    const cost = slice.ops.slice(0, -1).reduce((sum, { op }) => sum + opCost(op), 0)
    expect(cost).toBeLessThanOrEqual(range.limitCost)
    for (const { op, position } of slice.ops) {
      expect(op).toEqual(ops[position - 1])
      found.push(op)
    }
    expect(slice.position).toBeGreaterThanOrEqual(slice.ops.at(-1)?.position ?? after)
    if (slice.atEnd) {
      expect(slice.position).toBe(Math.max(after, ops.length))
      break
    }
    expect(slice.ops.length, 'every slice gets on').toBeGreaterThan(0)
    after = slice.position
  }
  expect(found).toEqual(behind(Math.max(range.after, 0)).filter((op) => ops.indexOf(op) >= floor))
}

describe('slices', () => {
  let world: World

  beforeEach(() => {
    const temporary = temporaryDirectory()
    world = new World(temporary.path)
    onTestFinished(() => {
      world.close()
      temporary[Symbol.dispose]()
    })
  })

  const everything: LogRange = { after: 0, beyond: EMPTY_VECTOR, limitCost: 1e9 }

  test('what was said to be pruned stays so across restarts, and what became new meanwhile is read', () => {
    for (let index = 0; index < 4; index++) world.write('a', 5)
    world.prune(3)
    expect(world.read(everything)).toMatchObject({ isPruned: true, ops: [] })
    expect(world.read({ ...everything, beyond: world.vectorAt(3) })).toMatchObject({ isPruned: false, atEnd: true })
    world.write('b', 5)
    world.restart('a', 0)
    world.write('a', 5)
    const { ops, isPruned } = world.read({ ...everything, beyond: world.vectorAt(3) })
    expect([isPruned, ops.map(({ position }) => position)]).toEqual([false, [4, 5, 6, 7, 8, 9]])
  })

  test('one call looks at so many rows, and says how far it got', () => {
    world.write('b', 1)
    const source = new OpSource('a', incarnation(99))
    world.store.commit([encodeOpBatch(source.edits(...Array.from({ length: 30_000 }, () => ({ y: '' }))))])
    world.write('b', 1)
    const range = { ...everything, names: new Set(['b']) }
    const first = world.read(range)
    expect(first.ops.map(({ position }) => position)).toEqual([1, 2])
    expect(first).toMatchObject({ atEnd: false })
    const second = world.read({ ...range, after: first.position })
    expect(second).toMatchObject({ atEnd: true, position: 30_004 })
    expect(second.ops.map(({ position }) => position)).toEqual([30_004])
    // Who lacks only the end does not wait for a walk through the rest.
    const beyond = new Map([...world.vectorAt(2), [source.origin, source.seq]] as const)
    expect(world.read({ ...everything, beyond })).toMatchObject({ atEnd: true, ops: [{ position: 30_004 }] })
  })

  test('an origin that was known by name only is read from its first op on', () => {
    const late = new OpSource('c-d', incarnation(77))
    const names = (deps: VersionVector): Op[] => new OpSource('a', incarnation(99)).edit([part('x', '')], deps)
    world.store.commit([encodeOpBatch(names(new Map([[late.origin, 1]])))])
    expect(world.read(everything).ops.length).toBe(2)
    world.store.commit([encodeOpBatch(late.edits({ x: 'first' }))])
    expect(world.read(everything).ops.length).toBe(4)
  })

  test('a damaged op is one that is no longer there', () => {
    for (let index = 0; index < 4; index++) world.write('a', 5)
    const writable = openDatabase(join(world.directory, 'causeway.db'))
    writable.exec('UPDATE ops SET record = zeroblob(20) WHERE position = 3')
    writable.close()
    expect(world.read(everything)).toMatchObject({ position: 2, atEnd: false, isPruned: false })
    expect(world.read({ ...everything, after: 2 })).toMatchObject({ ops: [], isPruned: true })
    expect(world.read({ ...everything, after: 3 })).toMatchObject({ atEnd: true, isPruned: false })
  })

  test('chain values are those of the log, and of each origin its last also when it is pruned', () => {
    for (let index = 0; index < 3; index++) world.write('a', 5)
    const { origin } = world.ops[0]!.dot
    const chains = world.read(everything).ops.map(({ chain }) => chain)
    const dots: Dot[] = [1, 2, 3, 4, 5].map((seq) => ({ origin, seq }))
    expect(world.reader.readChains(dots)).toEqual({ position: 4, chains: [...chains, undefined] })
    world.prune(4)
    expect(world.reader.readChains(dots).chains).toEqual([undefined, undefined, undefined, chains[3], undefined])
    expect(() => world.reader.readChains(Array.from({ length: 257 }, () => dots[0]!))).toThrow(
      expect.objectContaining({ code: 'request/invalid' }),
    )
  })
})
