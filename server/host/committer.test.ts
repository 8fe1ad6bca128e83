import { expect, test, vi } from 'vitest'
import { makeOrigin } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { Op } from '../../shared/protocol/op.js'
import type { CommitFigures, Log } from '../storage/log.js'
import { Committer } from './committer.js'

const origin = makeOrigin('a', '00000000000000aa')
const op = (seq: number): Op => ({ kind: 'open', dot: { origin, seq }, deps: new Map(), hlc: seq as HybridTime })

/** A log that answers each commit in a later turn, as `answer` says. */
function logThat(answer: () => CausewayError | undefined): Pick<Log, 'commit'> {
  return {
    commit: (_batch, onDone) => {
      setImmediate(() => {
        const error = answer()
        if (error) onDone(error)
        else onDone(undefined, { position: 1 } as CommitFigures)
      })
    },
  }
}

test('what is added for ever does not keep what was added before from being settled', async () => {
  let seq = 0
  let isStopped = false
  let committed = 0
  const committer = new Committer({
    log: logThat(() => undefined),
    monotonicMs: () => 0,
    onCommitted: (done) => {
      committed = done.ops.at(-1)!.dot.seq
      if (!isStopped) committer.add(op(++seq))
    },
    onFailed: () => {},
  })
  // While one commit runs there is always another op, as where people go on typing.
  for (let n = 0; n < 3; n++) committer.add(op(++seq))
  const upTo = seq
  await committer.settled()
  expect(committed).toBeGreaterThanOrEqual(upTo)
  isStopped = true
  await committer.settled()
  expect(committed).toBe(seq)
})

test('a failed commit settles what fails with it', async () => {
  const failures: string[] = []
  const committer = new Committer({
    log: logThat(() => {
      committer.add(op(2)) // while it runs: fails with it
      return new CausewayError('storage/full')
    }),
    monotonicMs: () => 0,
    onCommitted: () => {},
    onFailed: ({ code }) => failures.push(code),
  })
  committer.add(op(1))
  await committer.settled()
  expect(failures).toEqual(['storage/full'])
  await committer.settled()
  expect(failures).toEqual(['storage/full'])
})

/** A log whose answers the test gives, oldest batch first. */
class HeldLog {
  readonly batches: ((error?: CausewayError, figures?: CommitFigures) => void)[] = []
  commit(_batch: Uint8Array, onDone: (error?: CausewayError, figures?: CommitFigures) => void): void {
    if (this.refusal) throw this.refusal
    this.batches.push(onDone)
  }
  refusal: CausewayError | undefined
}

function heldCommitter(): { log: HeldLog; committer: Committer; events: string[]; clock: { ms: number } } {
  const log = new HeldLog()
  const events: string[] = []
  const clock = { ms: 0 }
  const committer = new Committer({
    log,
    monotonicMs: () => clock.ms,
    onCommitted: ({ ops }) => events.push(`committed ${ops.at(-1)!.dot.seq}`),
    onFailed: ({ code }) => events.push(code),
  })
  return { log, committer, events, clock }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('many ops do not wait for the commit before them, few do, and what lies at the log is bounded', async () => {
  const { log, committer, events } = heldCommitter()
  let seq = 0
  const addMany = (): void => {
    for (let n = 0; n < 128; n++) committer.add(op(++seq))
  }
  addMany()
  expect(log.batches).toHaveLength(1)
  committer.add(op(++seq))
  await turn()
  expect(log.batches).toHaveLength(1)
  for (let n = 0; n < 5; n++) addMany()
  expect(log.batches).toHaveLength(3)
  log.batches[0]?.(undefined, { position: 1 } as CommitFigures)
  expect(events).toEqual(['committed 128'])
  expect(log.batches).toHaveLength(4)
})

test('[DU1] what gathers while a disk stalls goes in batches that can be encoded, by number and by size', async () => {
  const { log, committer, events, clock } = heldCommitter()
  const update = new Uint8Array(1024 * 1024)
  const edit = (seq: number): Op => ({ ...op(seq), kind: 'data', parts: [{ document: 'd', generation: 0, update }] })
  for (let seq = 1; seq <= 70_000; seq++) committer.add(op(seq))
  for (let seq = 70_001; seq <= 70_060; seq++) committer.add(edit(seq))
  for (let at = 0; at < log.batches.length; at++) {
    clock.ms += 1_000
    log.batches[at]?.(undefined, { position: 1 } as CommitFigures)
    await turn()
    await turn()
  }
  const ends = events.map((event) => Number(event.split(' ')[1]))
  expect(ends.at(-1)).toBe(70_060)
  const sizes = ends.map((end, at) => end - (ends[at - 1] ?? 0))
  expect(Math.max(...sizes)).toBeLessThanOrEqual(8_192)
  expect(Math.max(...sizes.slice(ends.findIndex((end) => end > 70_008)))).toBeLessThanOrEqual(8)
})

test('[DU1] a failure is told once, and for everything that builds on what failed', async () => {
  const { log, committer, events } = heldCommitter()
  for (let seq = 1; seq <= 400; seq++) committer.add(op(seq))
  const [first, second] = log.batches
  first?.(new CausewayError('storage/full'))
  second?.(new CausewayError('storage/full'))
  expect(events).toEqual(['storage/full'])
  await committer.settled()
  committer.add(op(1))
  await turn()
  log.batches.at(-1)?.(undefined, { position: 1 } as CommitFigures)
  expect(events).toEqual(['storage/full', 'committed 1'])
})

test('[DU1] what the log does not take fails behind what it took, and nothing that builds on it gets there', async () => {
  const { log, committer, events } = heldCommitter()
  for (let seq = 1; seq <= 128; seq++) committer.add(op(seq))
  log.refusal = new CausewayError('storage/busy')
  for (let seq = 129; seq <= 256; seq++) committer.add(op(seq))
  log.refusal = undefined
  for (let seq = 257; seq <= 400; seq++) committer.add(op(seq))
  await turn()
  expect(log.batches).toHaveLength(1)
  expect(events).toEqual([])
  log.batches[0]?.(undefined, { position: 1 } as CommitFigures)
  expect(events).toEqual(['committed 128', 'storage/busy'])
  await committer.settled()
})

test('commits that are dear to deliver are kept further apart, an idle replica commits at once', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout'] })
  try {
    const { log, committer, clock } = heldCommitter()
    committer.add(op(1))
    await turn()
    log.batches[0]?.(undefined, { position: 1 } as CommitFigures)
    clock.ms = 1 // what delivering it took
    await turn()
    clock.ms = 15
    committer.add(op(2))
    await turn()
    expect(log.batches).toHaveLength(1)
    vi.advanceTimersByTime(5)
    expect(log.batches).toHaveLength(2)
    log.batches[1]?.(undefined, { position: 2 } as CommitFigures)
    await turn()
    clock.ms = 20
    committer.add(op(3))
    await turn()
    expect(log.batches).toHaveLength(3)
  } finally {
    vi.useRealTimers()
  }
})
