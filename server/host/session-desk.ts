/**
 * Where sessions are served: tokens in and out, and requests that wait until this replica may answer them. The rules stand
 * in `shared/session`; here they are given this replica's view, and time.
 */
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import type { OriginId } from '../../shared/clock/dot.js'
import { EMPTY_VECTOR, type VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import {
  checkRelease,
  checkSession,
  type Decision,
  freshQuorum,
  freshTarget,
  nextToken,
  type ReplicaView,
  refusalOf,
  type SessionRequest,
  type Wait,
} from '../../shared/session/check.js'
import { decodeToken, encodeToken, type SessionKeys, type SessionToken } from '../../shared/session/token.js'
import type { Progress, Sessions, Wish } from '../replica/cell.js'
import { type AskVectors, FreshVectors } from './fresh-vectors.js'
import { type Gate, PROCESS_TIMERS, type Until, Waits, type WaitTimers, type Watch } from './waits.js'

/** What a request waits for at the desk. */
export type SessionWaitCause = Wait['until'] | 'write-concern'

export interface SessionDeskOptions {
  view(): ReplicaView
  readonly keys: SessionKeys
  /** Members that count in majorities. */
  members(): number
  readonly askVectors: AskVectors
  /** How far what is durable here has come, and whether that is as far as wished. */
  progressOf(seen: VersionVector): Progress
  isReached(seen: VersionVector, concern: WriteConcern): boolean
  /** Told of each wait that has ended. */
  waited(cause: SessionWaitCause, seconds: number): void
  readonly timers?: WaitTimers
  readonly waitingLimit?: number
}

export class SessionDesk implements Sessions {
  private readonly options: SessionDeskOptions
  private readonly timers: WaitTimers
  private readonly waits: Waits<SessionWaitCause>
  private readonly freshVectors: FreshVectors
  private readonly gates: Readonly<Record<Wait['until'], Gate>>
  private readonly concerns = new Map<WriteConcern, Gate>()

  constructor(options: SessionDeskOptions) {
    const { view, timers = PROCESS_TIMERS, waitingLimit } = options
    this.options = options
    this.timers = timers
    this.waits = new Waits({
      timers,
      observe: (cause, seconds) => options.waited(cause, seconds),
      ...(waitingLimit === undefined ? {} : { limit: waitingLimit }),
    })
    this.freshVectors = new FreshVectors(options.askVectors, timers)
    this.gates = {
      delivered: { isReached: (origin, seq) => view().lineages.includes(view().durable, { origin, seq }) },
      'majority-durable': {
        isReached: (origin, seq) => view().lineages.includes(view().majorityDurable, { origin, seq }),
      },
      // Configurations have an order of their own, and one line.
      configured: { isReached: (_origin, epoch) => view().configEpoch >= epoch },
      'vectors-known': { isReached: () => false },
    }
  }

  /** How many requests wait now. */
  get waiting(): number {
    return this.waits.size
  }

  /** The view has changed: what is durable here or at members, U, the configuration. Cheap where nobody waits for it. */
  changed(): void {
    this.waits.changed()
  }

  decode(text: string | undefined): SessionToken | undefined {
    return text === undefined || text === '' ? undefined : decodeToken(text, this.options.keys)
  }

  encode(token: SessionToken): string {
    return encodeToken(token, this.options.keys)
  }

  fresh(): SessionToken {
    return nextToken(undefined, this.options.view(), EMPTY_VECTOR, EMPTY_VECTOR)
  }

  next(token: SessionToken | undefined, seen: VersionVector, debt: VersionVector): SessionToken {
    return nextToken(token, this.options.view(), seen, debt)
  }

  async admit(
    token: SessionToken | undefined,
    wish: Wish,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<VersionVector> {
    if (wish.type === 'write' || wish.level !== 'fresh') return await this.ready(token, wish, timeoutMs, signal)
    const endsAtMs = this.timers.now() + timeoutMs
    const target = await this.freshTarget(token, wish.r, timeoutMs, signal)
    const request: SessionRequest = { type: 'read', level: 'fresh', target }
    return await this.ready(token, request, endsAtMs - this.timers.now(), signal)
  }

  async release(seen: VersionVector, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    await this.decided({
      check: () => checkRelease(seen, this.options.view()),
      watchOf: (wait) => this.watchOf(wait),
      refusalOf,
      timeoutMs,
      signal,
    })
  }

  /** As `Cell.reached`; where too many wait already, as if the time were over: what was written stays written. */
  async reached(
    seen: VersionVector,
    concern: WriteConcern,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Progress> {
    const { isReached, progressOf } = this.options
    const progress = (): Progress => progressOf(seen)
    return await this.waits.until<Progress>({
      timeoutMs,
      signal,
      look: () => {
        if (isReached(seen, concern)) return { type: 'done', result: progress() }
        const entry = [...seen].find((each) => !isReached(new Map([each]), concern))
        const until = entry ? watch(this.gateOf(concern), entry) : 'any-change'
        return { type: 'wait', cause: 'write-concern', until }
      },
      atDeadline: progress,
      beyondLimit: progress,
    })
  }

  /** Resolves with the debt when the session may be answered. */
  private async ready(
    token: SessionToken | undefined,
    request: SessionRequest,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<VersionVector> {
    return await this.decided({
      check: () => checkSession(token, request, this.options.view()),
      watchOf: (wait) => this.watchOf(wait, token),
      refusalOf: (wait) => this.refusalOf(token, request, wait),
      timeoutMs,
      signal,
    })
  }

  private async decided(options: {
    check: () => Decision
    watchOf: (wait: Wait) => Until
    refusalOf: (wait: Wait) => CausewayError
    timeoutMs: number
    signal: AbortSignal | undefined
  }): Promise<VersionVector> {
    const { check, timeoutMs, signal } = options
    return await this.waits.until<VersionVector>({
      timeoutMs,
      signal,
      look: () => {
        const decision = check()
        if (decision.type === 'refuse') throw decision.error
        if (decision.type === 'ready') return { type: 'done', result: decision.debt }
        return { type: 'wait', cause: decision.until, until: options.watchOf(decision) }
      },
      atDeadline: () => {
        const decision = check()
        if (decision.type === 'ready') return decision.debt
        throw decision.type === 'refuse' ? decision.error : options.refusalOf(decision)
      },
    })
  }

  /** What `r` members have on disk that were asked just now. Rejects where that cannot be found out in time. */
  private async freshTarget(
    token: SessionToken | undefined,
    wished: number | undefined,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<VersionVector> {
    const { view, members } = this.options
    const unknown: SessionRequest = { type: 'read', level: 'fresh', target: undefined }
    const quorum = (): number => {
      const found = freshQuorum(members(), wished)
      if (found instanceof CausewayError) throw found
      return found
    }
    const refused = (): CausewayError | undefined => {
      const decision = checkSession(token, unknown, view())
      if (decision.type === 'refuse') return decision.error
      return decision.type === 'wait' ? refusalOf(decision) : undefined
    }
    const decision = checkSession(token, unknown, view())
    if (decision.type === 'refuse') throw decision.error
    quorum()
    let wake = (): void => {}
    const asked = this.freshVectors.begin(() => wake())
    try {
      return await this.waits.until<VersionVector>({
        timeoutMs,
        signal,
        look: () => {
          const target = freshTarget([...asked.vectors.values()], quorum(), view().lineages)
          return target ? { type: 'done', result: target } : { type: 'wait', cause: 'vectors-known', until: 'woken' }
        },
        atDeadline: () => {
          throw refused() ?? new CausewayError('read/not-majority-durable')
        },
        onWaiting: (lookAgain) => {
          wake = lookAgain
        },
      })
    } finally {
      asked.end()
    }
  }

  /** A session that is served here, and only cannot be given the newest yet, does not go elsewhere for it. */
  private refusalOf(token: SessionToken | undefined, request: SessionRequest, wait: Wait): CausewayError {
    const isFresh = request.type === 'read' && request.level === 'fresh'
    if (!isFresh || checkSession(token, { type: 'write' }, this.options.view()).type === 'wait') return refusalOf(wait)
    return new CausewayError('read/not-majority-durable', { missing: Object.fromEntries(wait.missing) })
  }

  /** One entry without which the decision stays as it is. */
  private watchOf({ until, missing }: Wait, token?: SessionToken): Until {
    const gate = this.gates[until]
    if (until === 'configured') return watch(gate, [CONFIGURATION, token?.configEpoch ?? 0])
    const { view } = this.options
    const entries = [...missing]
    const entry = entries.find(([origin, seq]) => !view().isLost({ origin, seq })) ?? entries[0]
    return entry ? watch(gate, entry) : 'any-change'
  }

  private gateOf(concern: WriteConcern): Gate {
    const known = this.concerns.get(concern)
    if (known) return known
    const gate: Gate = {
      isReached: (origin, seq) => this.options.isReached(new Map([[origin, seq]]), concern),
    }
    this.concerns.set(concern, gate)
    return gate
  }
}

/** Stands where an origin stands, for what is no op. */
const CONFIGURATION = '' as OriginId

function watch(gate: Gate, [origin, seq]: readonly [OriginId, number]): Watch {
  return { gate, origin, seq }
}
