/**
 * The session of one request. Its token comes in the header `Causeway-Session`, and every answer carries one: after what
 * was shown or written, the token that has seen it; after a refusal, the token as it was, since nothing was shown.
 *
 * A token that is not ours is `session/reset`, and its bearer begins anew with the token of that answer. Until that was
 * said (to callers that are let in, before all else) an answer repeats what was sent: whoever takes a fresh token for
 * the next of the session would never learn that it has ended.
 */
import type { Request, RequestHandler, Response } from 'express'
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import { EMPTY_VECTOR, type VersionVector } from '../../shared/clock/version-vector.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { type SessionToken, TOKEN_LIMIT_CHARS } from '../../shared/session/token.js'
import { addressKey } from '../access/address.js'
import type { Identity } from '../access/identity.js'
import type { Cell, Progress, Wish } from '../replica/cell.js'
import { onceOver } from './answer-end.js'
import type { Readiness } from './api.js'
import { invalid } from './invalid.js'
import { TIMEOUT_USUAL_MS } from './schemas.js'
import { WaitingCallers } from './waiting-callers.js'

export const SESSION_HEADER = 'Causeway-Session'
export const DEGRADED_HEADER = 'Causeway-Degraded'
/** Ops that the session has seen died with a disk. */
const LOST = 'lost-updates'

export interface SessionPorts {
  readonly cell: Cell
  readonly readiness: () => Readiness
  /** Monotonic ms. */
  readonly now: () => number
  readonly waitingPerCaller?: number
}

const opened = new WeakMap<Response, HttpSession>()

/** Begins the session of each request, and gives its answer a token. */
export function beginSessions(ports: SessionPorts): RequestHandler {
  const callers = new WaitingCallers(ports.waitingPerCaller)
  return (request, response, next) => {
    opened.set(response, new HttpSession(ports, callers, request, response))
    next()
  }
}

export function sessionOf(response: Response): HttpSession {
  const session = opened.get(response)
  if (!session) throw new Error('a request of the API has a session')
  return session
}

export class HttpSession {
  private readonly ports: SessionPorts
  private readonly callers: WaitingCallers
  private readonly response: Response
  private readonly abandoned = new AbortController()
  private caller: string
  private token: SessionToken | undefined
  private unreadable: CausewayError | undefined
  private debt: VersionVector = EMPTY_VECTOR
  private endsAtMs = 0

  constructor(ports: SessionPorts, callers: WaitingCallers, request: Request, response: Response) {
    this.ports = ports
    this.callers = callers
    this.response = response
    this.caller = addressKey(request.socket.remoteAddress ?? '')
    // Before the cell is born, or known here, there is nothing that a session could be of.
    if (ports.readiness().state === 'starting') return
    const { sessions } = ports.cell
    const text = request.get(SESSION_HEADER)
    try {
      this.token = sessions.decode(text)
    } catch (error) {
      this.unreadable = asCausewayError(error)
      if (this.unreadable.code !== 'session/reset') throw error
    }
    const isRepeated = this.unreadable !== undefined && text !== undefined && isTokenLike(text)
    response.set(SESSION_HEADER, isRepeated ? text : sessions.encode(this.token ?? sessions.fresh()))
  }

  /** Some of what the session has seen is gone for good, and every answer has to say so. */
  get isDegraded(): boolean {
    return this.debt.size > 0
  }

  /** The caller is known and let in. Rejects with `session/reset` where the token is not of this cell and its epoch. */
  async identified({ userId }: Identity): Promise<void> {
    if (userId !== undefined) this.caller = `user ${userId}`
    if (this.unreadable) throw this.reset(this.unreadable)
    if (!this.token) return
    try {
      await this.ports.cell.sessions.admit(this.token, { type: 'read', level: 'eventual' }, 0)
    } catch (error) {
      // That this replica is behind matters only to what it would have to show.
      if (asCausewayError(error).code !== 'session/replica-behind') throw this.reset(error)
    }
  }

  /**
   * Resolves when the request may be carried out. Rejects with `session/replica-behind`, `session/reset`,
   * `read/not-majority-durable`, `access/too-many-requests`, and where this replica serves nobody now.
   */
  async admit(wish: Wish, timeoutMs = TIMEOUT_USUAL_MS): Promise<void> {
    this.checkServing()
    this.endsAtMs = this.ports.now() + timeoutMs
    this.endWithConnection()
    const leave = this.callers.enter(this.caller)
    if (!leave) throw new CausewayError('access/too-many-requests', { retryAfterMs: 1_000 })
    try {
      this.debt = await this.ports.cell.sessions.admit(this.token, wish, timeoutMs, this.abandoned.signal)
    } catch (error) {
      throw this.reset(error)
    } finally {
      leave()
    }
    if (this.isDegraded) this.response.set(DEGRADED_HEADER, LOST)
  }

  /** Resolves when what is to be shown is on disk at a majority. Rejects with `read/not-majority-durable`. */
  async release(seen: VersionVector): Promise<void> {
    const leave = this.callers.enter(this.caller)
    if (!leave) throw new CausewayError('access/too-many-requests', { retryAfterMs: 1_000 })
    try {
      await this.ports.cell.sessions.release(seen, this.remainingMs(), this.abandoned.signal)
    } finally {
      leave()
    }
  }

  /** How far a write has come, at the latest when the request's time is over. */
  async reached(seen: VersionVector, concern: WriteConcern): Promise<Progress> {
    const leave = this.callers.enter(this.caller)
    try {
      // What is written is written: a caller with too many requests under way is told where it stands.
      return await this.ports.cell.reached(seen, concern, leave ? this.remainingMs() : 0, this.abandoned.signal)
    } finally {
      leave?.()
    }
  }

  /** The answer shows or has written `seen`: its token has seen it. */
  show(seen: VersionVector): void {
    const { sessions } = this.ports.cell
    this.response.set(SESSION_HEADER, sessions.encode(sessions.next(this.token, seen, this.debt)))
  }

  private checkServing(): void {
    const { ready, state } = this.ports.readiness()
    if (ready || state === 'draining') return
    throw new CausewayError(state === 'starting' ? 'cell/starting' : 'cell/recovering')
  }

  private remainingMs(): number {
    return Math.max(0, this.endsAtMs - this.ports.now())
  }

  /** Nobody waits for whom nobody listens to. */
  private endWithConnection(): void {
    onceOver(this.response, () => {
      if (!this.response.writableFinished) this.abandoned.abort(invalid('connection', 'ended early'))
    })
  }

  private reset(error: unknown): unknown {
    const { sessions } = this.ports.cell
    const isReset = asCausewayError(error).code === 'session/reset'
    if (isReset) this.response.set(SESSION_HEADER, sessions.encode(sessions.fresh()))
    return error
  }
}

function isTokenLike(text: string): boolean {
  return text.length <= TOKEN_LIMIT_CHARS && /^[A-Za-z0-9_-]+$/.test(text)
}
