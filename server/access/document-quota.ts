/**
 * How fast documents may come into being. A document is made by its first write, whatever its name, so who may write in
 * a space can make as many as there are names; each costs a row for ever. Two rates bound them, of its author and of its
 * space; an author who is nobody in particular counts by space alone.
 */
import type { RateLimiter } from './rate-limit.js'

export interface DocumentQuotas {
  /** By user id, and by name of the space. */
  readonly perUser: RateLimiter
  readonly perSpace: RateLimiter
}

const HOUR_S = 3600

/** So many an hour, and as many at once. */
export function hourly(documents: number): { readonly perSecond: number; readonly burst: number } {
  return { perSecond: documents / HOUR_S, burst: documents }
}

/** Counts one more document. 0: it may be made; else the ms after which another try makes sense. */
export function countNewDocument(quotas: DocumentQuotas, space: string, user: string | undefined): number {
  // Of the user first: who is over their own quota must not use up what their space has.
  const waitMs = user === undefined ? 0 : quotas.perUser.take(user)
  return waitMs > 0 ? waitMs : quotas.perSpace.take(space)
}
