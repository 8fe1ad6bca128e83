import { describe, expect, onTestFinished, test, vi } from 'vitest'
import * as Y from 'yjs'
import { makeOrigin } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import { EMPTY_VECTOR } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { DocumentWorkers } from '../document/pool.js'
import type { Subscriber } from '../replica/documents.js'
import { Replica, type ReplicaEffect, type ReplicaInput, type ReplicaLimits } from '../replica/replica.js'
import type { CommitFigures, Log } from '../storage/log.js'
import { type DocumentCell, type DocumentHooks, DocumentHost } from './document-host.js'
import { Metrics } from './metrics.js'
import type { HostSource } from './subscription.js'

/** A cell of one member: what is on its disk is on all. */
class FakeCell implements DocumentCell {
  size = 1
  durable = EMPTY_VECTOR
  refusal: CausewayError | undefined
  /** Own seqs that a majority has. */
  majority = Number.POSITIVE_INFINITY
  isWaiting = false

  reachedSeq(): number {
    return this.majority
  }

  isReached(): boolean {
    return this.majority === Number.POSITIVE_INFINITY
  }

  /** Whether somebody was known to wait when each commit was told. */
  readonly waitingAtCommits: boolean[] = []

  committed(): void {
    this.waitingAtCommits.push(this.isWaiting)
  }

  commitFailed(): void {}
  writableAgain(): void {}

  waiting(isWaiting: boolean): void {
    this.isWaiting = isWaiting
  }
}

/** A host over a log that stores nothing, and fails as long as it is told to. */
class World {
  commitError: CausewayError | undefined
  nowMs = 0
  readonly metrics = new Metrics()
  readonly failures: string[] = []
  readonly effects: ReplicaEffect<HostSource>[] = []
  readonly log = {
    open: async () => ({ owned: [] }),
    commit: (_batch: Uint8Array, onDone: (error?: CausewayError, figures?: CommitFigures) => void) => {
      setImmediate(() => {
        if (this.commitError !== undefined) onDone(this.commitError)
        else onDone(undefined, { position: ++this.position, transaction: { syncMs: 0 } } as CommitFigures)
      })
    },
    probe: async () => {
      if (this.commitError !== undefined) throw this.commitError
    },
  } as unknown as Log & { -readonly [Key in keyof Log]: Log[Key] }
  readonly host: DocumentHost
  readonly cell = new FakeCell()
  private position = 0

  /** What compactions fail with. */
  compactionError = new CausewayError('internal/failure')

  constructor(hooks: DocumentHooks = {}, limits: Partial<ReplicaLimits> = {}) {
    const { effects } = this
    class ObservedReplica extends Replica<HostSource> {
      override step(input: ReplicaInput<HostSource>): ReplicaEffect<HostSource>[] {
        const made = super.step(input)
        effects.push(...made)
        return made
      }
    }
    this.host = new DocumentHost({
      replica: new ObservedReplica({
        origin: makeOrigin('a', '00000000000000aa'),
        predecessor: undefined,
        vector: EMPTY_VECTOR,
        latestHlc: 0 as HybridTime,
        limits,
      }),
      log: this.log,
      cell: this.cell,
      workers: { compact: () => Promise.reject(this.compactionError) } as unknown as DocumentWorkers,
      hooks,
      metrics: this.metrics,
      now: () => this.nowMs,
      monotonicMs: () => 0,
      onFailure: (event) => this.failures.push(event),
      onFatal: (error) => {
        throw error
      },
    })
  }

  /** Lanes that were told that writes work again. */
  get resynced(): number {
    return this.effects.reduce((sum, effect) => sum + (effect.type === 'resync' ? effect.lanes.length : 0), 0)
  }

  async probe(): Promise<void> {
    this.nowMs += 1_000
    this.host.tick()
    await turn()
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function updateOf(text: string): Uint8Array {
  const doc = new Y.Doc()
  doc.getText('t').insert(0, text)
  return Y.encodeStateAsUpdate(doc)
}

/** A subscriber that is told of nothing but its attachment. */
function quiet(): Subscriber & { readonly isAttached: Promise<void> } {
  let attached = (): void => {}
  const isAttached = new Promise<void>((resolve) => {
    attached = resolve
  })
  return { isAttached, attached, deliver() {}, stored() {}, acknowledge() {}, refuse() {}, resync() {}, closed() {} }
}

describe('a full disk', () => {
  test('keeps nobody in memory whom it refused and who has gone', async () => {
    const world = new World()
    world.commitError = new CausewayError('storage/full')
    for (let n = 0; n < 3; n++) {
      const submitted = world.host.submit([{ document: 'd', update: updateOf('a') }])
      await expect(submitted).rejects.toThrow(new CausewayError('storage/full').message)
    }
    const subscribers = [quiet(), quiet()]
    const subscriptions = subscribers.map((subscriber) => world.host.subscribe('d', subscriber))
    await Promise.all(subscribers.map(({ isAttached }) => isAttached))
    for (const subscription of subscriptions) subscription.update(1, updateOf('b'), 'update')
    subscriptions[0]!.close()
    await world.probe()
    expect(world.host.isWritable).toBe(false)
    world.commitError = undefined
    await world.probe()
    expect(world.host.isWritable).toBe(true)
    expect(world.resynced).toBe(1)
  })
})

describe('[DU2] in a cell of several', () => {
  async function typists(concern?: 'local') {
    const world = new World()
    world.cell.size = 3
    world.cell.majority = 0
    const told: string[] = []
    const record = (name: string): Subscriber & { readonly isAttached: Promise<void> } => ({
      ...quiet(),
      ...(concern && { concern }),
      deliver: ({ updates }) => void told.push(`${name} sees ${updates.length}`),
      stored: (request) => void told.push(`${name} stored ${request}`),
      acknowledge: (request, { echo }) => void told.push(`${name} saved ${request} ${echo ? 'echoed' : 'silent'}`),
    })
    const [typist, reader] = [record('typist'), record('reader')]
    const subscriptions = [typist, reader].map((each) => world.host.subscribe('d', each))
    await Promise.all([typist.isAttached, reader.isAttached])
    return { world, told, typist: subscriptions[0]! }
  }

  test('an edit is shown to others when it is on disk here, and to its author when a majority has it', async () => {
    const { world, told, typist } = await typists()
    typist.update(1, updateOf('a'), 'update')
    await world.host.settled()
    expect(told).toEqual(['reader sees 1', 'typist stored 1'])
    expect(world.cell.isWaiting).toBe(true)
    world.host.advanced()
    expect(told).toHaveLength(2)
    world.cell.majority = 2
    world.host.advanced()
    expect(told.at(-1)).toBe('typist saved 1 echoed')
    expect(world.cell.isWaiting).toBe(false)
  })

  test.each([
    // from whom, others are told with the op that somebody waits for their disks
    ['an author who waits for a majority', true],
    ['a request', true],
    ['an author who wants no more than this disk', false],
  ])('of an edit from %s, others are told with it that somebody waits: %s', async (from, isTold) => {
    const { world, typist } = await typists(from.includes('this disk') ? 'local' : undefined)
    if (from === 'a request') await world.host.submit([{ document: 'e', update: updateOf('a') }])
    else typist.update(1, updateOf('a'), 'update')
    await world.host.settled()
    expect(world.cell.waitingAtCommits).toEqual([isTold])
    world.cell.majority = Number.POSITIVE_INFINITY
    world.host.advanced()
    expect(world.cell.isWaiting).toBe(false)
  })

  test('of an edit that was refused, nobody waits', async () => {
    const { world, typist } = await typists()
    typist.update(1, Uint8Array.of(9, 9, 9), 'update')
    expect(world.cell.isWaiting).toBe(false)
    world.commitError = new CausewayError('storage/full')
    typist.update(2, updateOf('a'), 'update')
    expect(world.cell.isWaiting).toBe(true)
    await world.host.settled()
    expect(world.cell.isWaiting).toBe(false)
  })

  test('where its author wants no more than this disk, nothing is withheld', async () => {
    const { world, told, typist } = await typists('local')
    typist.update(1, updateOf('a'), 'update')
    await world.host.settled()
    expect(told).toEqual(['typist sees 1', 'reader sees 1', 'typist saved 1 silent'])
  })

  test('what was known waits for what was shown when it came', async () => {
    const { world, told, typist } = await typists()
    typist.update(1, updateOf('a'), 'update')
    await world.host.settled()
    typist.update(2, Uint8Array.of(0, 0), 'update')
    expect(told.at(-1)).toBe('typist stored 2')
    world.cell.majority = Number.POSITIVE_INFINITY
    world.host.advanced()
    expect(told.slice(-2)).toEqual(['typist saved 1 echoed', 'typist saved 2 echoed'])
  })

  test('a replica that may not serve takes nothing, and says why', async () => {
    const { world, typist } = await typists()
    world.cell.refusal = new CausewayError('cell/recovering')
    expect(() => world.host.subscribe('d', quiet())).toThrow(world.cell.refusal)
    await expect(world.host.read('d')).rejects.toThrow(world.cell.refusal)
    typist.update(1, updateOf('a'), 'update')
    await world.host.settled()
    expect(world.effects).toEqual([])
  })
})

describe('refusals', () => {
  test('of connections are counted once, those of requests where they are answered', async () => {
    const world = new World()
    const subscriber = quiet()
    const subscription = world.host.subscribe('d', subscriber)
    await subscriber.isAttached
    subscription.update(1, Uint8Array.of(1), 'update')
    await expect(world.host.submit([{ document: 'd', update: Uint8Array.of(1) }])).rejects.toThrow()
    expect(world.metrics.refusals['document/bad-update']).toBe(1)
  })
})

describe('the onChange hook', () => {
  test.each([
    [
      'throws',
      () => {
        throw new Error('of the app')
      },
    ],
    ['rejects', () => Promise.reject(new Error('of the app'))],
  ])('that %s is a line in the log and nothing else', async (_how, onChange) => {
    const world = new World({ onChange })
    await world.host.submit([{ document: 'd', update: updateOf('a') }])
    await turn()
    expect(world.failures).toEqual(['hook/on-change-failed'])
  })
})

describe('a disk that does not answer', () => {
  const update = ((): Uint8Array => {
    const doc = new Y.Doc()
    doc.getText('t').insert(0, 'a')
    return Y.encodeStateAsUpdate(doc)
  })()

  test('leaves no request waiting: what it was to store is in doubt', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const world = new World()
    world.log.commit = () => {}
    const submitted = expect(world.host.submit([{ document: 'd', update }])).rejects.toMatchObject({
      code: 'storage/slow',
    })
    await vi.advanceTimersByTimeAsync(60_000)
    await submitted
  })

  test('leaves no reader waiting', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const world = new World()
    world.log.open = () => new Promise(() => {})
    const read = expect(world.host.read('d')).rejects.toMatchObject({ code: 'document/unavailable' })
    await vi.advanceTimersByTimeAsync(60_000)
    await read
  })
})

test.each([
  ['document/uncompactable', ['document/compaction-failed']],
  ['cell/draining', []],
] as const)('a compaction that ends with %s is reported as %j', async (code, reported) => {
  const world = new World({}, { tailUpdates: 1 })
  world.compactionError = new CausewayError(code)
  await world.host.submit([{ document: 'd', update: updateOf('a') }])
  await turn()
  expect(world.effects.some(({ type }) => type === 'compact')).toBe(true)
  expect(world.failures).toEqual(reported)
})
