/**
 * Requests that wait for something to come true at this replica. Each waits under a deadline and for a named cause, there
 * is a bound on how many do, and one whose client has left waits no more.
 *
 * Conditions are about vectors, and comparing vectors for everybody at every commit would cost more than the commits. So a
 * waiter names one entry that it cannot do without, and is looked at again when that one has come. Waiters for entries of
 * one origin stand in line by seq: at each change only the heads of lines are asked.
 *
 *   gate `delivered`   a:  3  3  7  9      a look at 3, and at nobody behind it
 *                      b:  5  8
 *   gate `majority`    a:  1  2
 *
 * What no entry shows (an op turns out to be lost) is found by a look at everybody once in a while.
 */
import { assert } from '../../shared/base/assert.js'
import type { OriginId } from '../../shared/clock/dot.js'
import { CausewayError } from '../../shared/errors/error.js'

/** Waiting at once, all causes together. */
const WAITING_LIMIT = 10_000

const SWEEP_MS = 1_000

/** Monotonic ms, and a way to be called later; the result of `after` takes it back. */
export interface WaitTimers {
  now(): number
  after(milliseconds: number, run: () => void): () => void
}

export const PROCESS_TIMERS: WaitTimers = {
  now: () => performance.now(),
  after: (milliseconds, run) => {
    const timer = setTimeout(run, milliseconds).unref()
    return () => clearTimeout(timer)
  },
}

/** What entries come through, in the order of their seqs: where one has not come, none above it has. */
export interface Gate {
  isReached(origin: OriginId, seq: number): boolean
}

export interface Watch {
  readonly gate: Gate
  readonly origin: OriginId
  readonly seq: number
}

/** When a waiter is looked at again, beside now and then. `woken`: when its `wake` is called. */
export type Until = Watch | 'any-change' | 'woken'

export type Look<Cause, Result> =
  | { readonly type: 'done'; readonly result: Result }
  | { readonly type: 'wait'; readonly cause: Cause; readonly until: Until }

export interface WaitOptions<Cause, Result> {
  readonly timeoutMs: number
  /** Aborted when nobody waits for the result any more: the wait rejects with its reason. */
  readonly signal?: AbortSignal | undefined
  /** Looks at the state of now. What it throws ends the wait. */
  look(): Look<Cause, Result>
  /** The result when the time is over; may throw. */
  atDeadline(): Result
  /** The result where too many wait already. Without it that throws `access/too-many-requests`. */
  beyondLimit?(): Result
  /** Is given what makes this one look again. */
  onWaiting?(wake: () => void): void
}

interface Waiter {
  watch: Watch | undefined
  /** Looks, and files it again or ends it. */
  look(): void
}

export class Waits<Cause> {
  private readonly limit: number
  private readonly timers: WaitTimers
  private readonly observe: (cause: Cause, seconds: number) => void
  private readonly waiting = new Set<Waiter>()
  private readonly lines = new Map<Gate, Map<OriginId, Waiter[]>>()
  /** Looked at whenever anything changes. */
  private readonly restless = new Set<Waiter>()
  private isSweepDue = false

  constructor(options: {
    timers: WaitTimers
    /** Told of each wait that has ended. */
    observe: (cause: Cause, seconds: number) => void
    limit?: number
  }) {
    this.timers = options.timers
    this.observe = options.observe
    this.limit = options.limit ?? WAITING_LIMIT
  }

  get size(): number {
    return this.waiting.size
  }

  /** Resolves with the result of the first look that is done, which may be now. */
  async until<Result>(options: WaitOptions<Cause, Result>): Promise<Result> {
    const first = options.look()
    if (first.type === 'done') return first.result
    options.signal?.throwIfAborted()
    if (options.timeoutMs <= 0) return options.atDeadline()
    if (this.waiting.size < this.limit) return await this.wait(options, first.cause, first.until)
    if (options.beyondLimit) return options.beyondLimit()
    throw new CausewayError(
      'access/too-many-requests',
      { waiting: this.waiting.size, retryAfterMs: 1_000 },
      { message: 'Too many requests wait for other replicas already.' },
    )
  }

  /** Something has changed that waiters may wait for. */
  changed(): void {
    for (const [gate, lines] of this.lines) {
      for (const [origin, line] of lines) {
        while (line[0]?.watch && gate.isReached(origin, line[0].watch.seq)) this.lookAgain(line[0])
      }
    }
    for (const waiter of [...this.restless]) this.lookAgain(waiter)
  }

  private wait<Result>(options: WaitOptions<Cause, Result>, cause: Cause, until: Until): Promise<Result> {
    const { timeoutMs, signal, look, atDeadline, onWaiting } = options
    const startedAtMs = this.timers.now()
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        if (!this.waiting.delete(waiter)) return
        this.unfile(waiter)
        cancel()
        signal?.removeEventListener('abort', onAbort)
        this.observe(cause, (this.timers.now() - startedAtMs) / 1000)
        try {
          settle()
        } catch (error) {
          reject(error)
        }
      }
      const waiter: Waiter = {
        watch: undefined,
        look: () => {
          try {
            const found = look()
            if (found.type === 'done') end(() => resolve(found.result))
            else this.file(waiter, found.until)
          } catch (error) {
            end(() => reject(error))
          }
        },
      }
      const onAbort = (): void => end(() => reject(signal?.reason))
      const cancel = this.timers.after(timeoutMs, () => {
        this.lookAgain(waiter)
        end(() => resolve(atDeadline()))
      })
      signal?.addEventListener('abort', onAbort)
      this.waiting.add(waiter)
      this.file(waiter, until)
      this.sweepLater()
      onWaiting?.(() => this.lookAgain(waiter))
    })
  }

  private lookAgain(waiter: Waiter): void {
    if (!this.waiting.has(waiter)) return
    this.unfile(waiter)
    waiter.look()
  }

  private sweepLater(): void {
    if (this.isSweepDue || this.waiting.size === 0) return
    this.isSweepDue = true
    this.timers.after(SWEEP_MS, () => {
      this.isSweepDue = false
      for (const waiter of [...this.waiting]) this.lookAgain(waiter)
      this.sweepLater()
    })
  }

  private file(waiter: Waiter, until: Until): void {
    if (until === 'woken') return
    // A gate that is open and yet not enough would let its waiter through for ever.
    if (until === 'any-change' || until.gate.isReached(until.origin, until.seq)) {
      this.restless.add(waiter)
      return
    }
    waiter.watch = until
    const lines = this.lines.get(until.gate) ?? new Map<OriginId, Waiter[]>()
    const line = lines.get(until.origin) ?? []
    line.splice(placeAfter(line, until.seq), 0, waiter)
    this.lines.set(until.gate, lines.set(until.origin, line))
  }

  private unfile(waiter: Waiter): void {
    this.restless.delete(waiter)
    const { watch } = waiter
    if (!watch) return
    const lines = this.lines.get(watch.gate)
    const line = lines?.get(watch.origin)
    assert(lines && line, 'a waiter with a watch stands in line')
    // Mostly it was at the head: what it waited for has come.
    if (line[0] === waiter) line.shift()
    else line.splice(line.lastIndexOf(waiter, placeAfter(line, watch.seq)), 1)
    waiter.watch = undefined
    if (line.length === 0) lines.delete(watch.origin)
    if (lines.size === 0) this.lines.delete(watch.gate)
  }
}

/** Behind all whose seq is at most `seq`: in line, and in the order of coming among equals. */
function placeAfter(line: readonly Waiter[], seq: number): number {
  let low = 0
  let high = line.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((line[middle]?.watch?.seq ?? 0) <= seq) low = middle + 1
    else high = middle
  }
  return low
}
