/**
 * The session token of one connection of a stock client that asked for one: it bounds what the connection may be
 * answered, and grows with everything that the connection was shown. A token that is of no use here (another cell, an
 * older epoch, not readable) begins a session anew, which the client learns by the token that it gets.
 */
import { EMPTY_VECTOR, type VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { SessionToken } from '../../shared/session/token.js'
import type { Freshness } from '../replica/cell.js'

/** How long a connection waits for this replica to reach its token. */
export const ADMISSION_MS = 5_000
/** Who only reads is told so often, at most, how far it has come. */
const TELL_MS = 1_000

export class StockToken {
  private readonly freshness: Freshness
  private readonly text: string
  private token: SessionToken | undefined
  private debt: VersionVector = EMPTY_VECTOR
  private toldAtMs = Number.NEGATIVE_INFINITY
  private hasMore = true

  constructor(freshness: Freshness, text: string) {
    this.freshness = freshness
    this.text = text
  }

  /** Resolves when this replica may serve the session. Rejects with `session/replica-behind` and `cell/starting`. */
  async admit(): Promise<void> {
    const { sessions } = this.freshness
    try {
      this.token = sessions.decode(this.text === '' ? undefined : this.text)
      this.debt = await sessions.admit(this.token, { type: 'read', level: 'session' }, ADMISSION_MS)
    } catch (thrown) {
      if (!(thrown instanceof CausewayError && thrown.code === 'session/reset')) throw thrown
      this.token = undefined
      this.debt = EMPTY_VECTOR
    }
  }

  /** Something was shown that the token does not cover yet. */
  shown(): void {
    this.hasMore = true
  }

  /** The token that covers all that is shown here now. */
  next(nowMs: number): string {
    const { sessions, durable } = this.freshness
    this.token = sessions.next(this.token, durable, this.debt)
    this.toldAtMs = nowMs
    this.hasMore = false
    return sessions.encode(this.token)
  }

  /** Whether it is time to tell again without being asked. */
  isDue(nowMs: number): boolean {
    return this.hasMore && nowMs - this.toldAtMs >= TELL_MS
  }
}
