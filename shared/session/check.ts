/**
 * The session guarantees as one check over vectors (Terry 1994): whatever a session has read or written lies under its
 * token, so a replica that dominates the token gives read-your-writes and monotonic reads, and what it then accepts
 * depends on all of it, which gives monotonic writes and writes-follow-reads. A replica that does not dominate waits or
 * refuses; it never answers with less.
 *
 * A level adds to that:
 *   eventual   nothing is checked
 *   session    the token
 *   majority   the token; the answer is captured at this replica's vector V and held until V ≤ U
 *   fresh      first this replica reaches the largest vectors of R members, asked after the read began; then as majority
 *
 * Requests wait outside: their holder asks again whenever the view has changed, and turns a wait into its refusal when
 * the deadline has come.
 */
import { unreachable } from '../base/assert.js'
import { type CellIdentity, compareCells } from '../clock/cell.js'
import type { Dot, OriginId } from '../clock/dot.js'
import type { Lineages } from '../clock/lineages.js'
import { EMPTY_VECTOR, formatVector, maxVector, type VersionVector } from '../clock/version-vector.js'
import { CausewayError } from '../errors/error.js'
import { DEBT_LIMIT, type SessionToken } from './token.js'

/** What the check needs to know of a replica. */
export interface ReplicaView extends CellIdentity {
  readonly configEpoch: number
  readonly lineages: Lineages
  /** Everything that this replica shows. */
  readonly durable: VersionVector
  /** U. */
  readonly majorityDurable: VersionVector
  /** Whether no member holds this op, and none ever can. */
  isLost(dot: Dot): boolean
  /** Whether this op was offered again under another dot, and is delivered here under that one. */
  isReoriginated(dot: Dot): boolean
}

export type SessionRequest =
  | { readonly type: 'write' }
  | { readonly type: 'read'; readonly level: 'eventual' | 'session' | 'majority' }
  /** `target`: `freshTarget` of what the members answered; undefined before that. */
  | { readonly type: 'read'; readonly level: 'fresh'; readonly target: VersionVector | undefined }

export type Wait =
  /** Until `missing` is delivered here. */
  | { readonly type: 'wait'; readonly until: 'delivered'; readonly missing: VersionVector }
  /** Until this replica knows the configuration that the session has seen. */
  | { readonly type: 'wait'; readonly until: 'configured'; readonly missing: VersionVector }
  /** Until enough members have told their vectors. */
  | { readonly type: 'wait'; readonly until: 'vectors-known'; readonly missing: VersionVector }
  /** Until `missing` is on disk at a majority. */
  | { readonly type: 'wait'; readonly until: 'majority-durable'; readonly missing: VersionVector }

export type Decision =
  /** Go on. With `debt` the answer lacks what these entries stand for, and has to say so. */
  | { readonly type: 'ready'; readonly debt: VersionVector }
  | Wait
  | { readonly type: 'refuse'; readonly error: CausewayError }

const READY: Decision = { type: 'ready', debt: EMPTY_VECTOR }

/**
 * Whether a request of this session may be answered now. `acceptsDebt`: its client has asked everywhere, repaired what
 * it could, and goes on without what is missing. Refuses with `session/reset`, `session/replica-behind`.
 */
export function checkSession(
  token: SessionToken | undefined,
  request: SessionRequest,
  view: ReplicaView,
  acceptsDebt = false,
): Decision {
  const decision = token ? checkToken(token, request, view, acceptsDebt) : READY
  if (decision.type !== 'ready' || request.type !== 'read' || request.level !== 'fresh') return decision
  if (!request.target) return { type: 'wait', until: 'vectors-known', missing: EMPTY_VECTOR }
  const missing = view.lineages.missing(view.durable, request.target)
  return missing.size > 0 ? { type: 'wait', until: 'delivered', missing } : decision
}

function checkToken(token: SessionToken, request: SessionRequest, view: ReplicaView, acceptsDebt: boolean): Decision {
  switch (compareCells(view, token)) {
    case 'foreign':
      return refuse('session/reset', { reason: 'another-cell' })
    case 'older':
      return refuse('session/reset', { reason: 'older-epoch' })
    case 'newer':
      // This replica missed that the cell was recovered without it: others can serve the session.
      return refuse('session/replica-behind', { epoch: token.epoch.ordinal })
    case 'same':
      break
  }
  if (request.type === 'read' && request.level === 'eventual') return { type: 'ready', debt: token.debt }
  const missing = unmet(token.vector, view)
  if (token.configEpoch > view.configEpoch) return { type: 'wait', until: 'configured', missing }
  const isOwed = !acceptsDebt && [...missing].some(([origin, seq]) => !view.isLost({ origin, seq }))
  if (isOwed) return { type: 'wait', until: 'delivered', missing }
  const debt = maxVector(unmet(token.debt, view), missing)
  if (debt.size > DEBT_LIMIT) return refuse('session/reset', { reason: 'too-much-debt', missing: formatVector(debt) })
  return debt.size > 0 ? { type: 'ready', debt } : READY
}

/** The entries of `vector` of which this replica lacks something that was not offered again. */
function unmet(vector: VersionVector, view: ReplicaView): VersionVector {
  const missing = view.lineages.missing(view.durable, vector)
  if (missing.size === 0) return EMPTY_VECTOR
  return new Map([...missing].filter(([origin, seq]) => !view.isReoriginated({ origin, seq })))
}

/** Whether an answer that was captured at `capturedAt` may leave at level `majority` or `fresh`. */
export function checkRelease(capturedAt: VersionVector, view: ReplicaView): Decision {
  const missing = view.lineages.missing(view.majorityDurable, capturedAt)
  return missing.size > 0 ? { type: 'wait', until: 'majority-durable', missing } : READY
}

/** What is answered where a wait reaches its deadline. */
export function refusalOf({ until, missing }: Wait): CausewayError {
  const details = { missing: Object.fromEntries(missing) }
  switch (until) {
    case 'delivered':
    case 'configured':
      return new CausewayError('session/replica-behind', details)
    case 'vectors-known':
    case 'majority-durable':
      return new CausewayError('read/not-majority-durable', details)
    default:
      return unreachable(until)
  }
}

/**
 * The token after an answer. `seen`: the cut at which it was read, or the dot that it wrote; `debt`: that of the
 * decision it was answered by. Nothing is added by a refusal: nothing was shown.
 */
export function nextToken(
  token: SessionToken | undefined,
  view: ReplicaView,
  seen: VersionVector,
  debt: VersionVector,
): SessionToken {
  const { cell, epoch, lineages } = view
  const configEpoch = Math.max(view.configEpoch, token?.configEpoch ?? 0)
  const kept = new Map<OriginId, number>()
  for (const [origin, seq] of token?.vector ?? EMPTY_VECTOR) {
    if (view.isReoriginated({ origin, seq })) continue
    // Of what has just become debt, the part that is here was not lost: it goes on to bind.
    const isNewDebt = (debt.get(origin) ?? 0) > (token?.debt.get(origin) ?? 0)
    const bound = isNewDebt ? Math.min(seq, lineages.valueIn(view.durable, origin)) : seq
    if (bound > 0) kept.set(origin, bound)
  }
  return { cell, epoch, configEpoch, vector: lineages.merge(kept, seen), debt }
}

/**
 * Least number of members, this replica included, whose vectors a `fresh` read must know: so many meet every majority.
 * Refuses a smaller or impossible wish with `request/invalid`.
 */
export function freshQuorum(members: number, wished: number | undefined): number | CausewayError {
  const least = members - Math.floor(members / 2)
  const quorum = wished ?? Math.floor(members / 2) + 1
  if (Number.isInteger(quorum) && quorum >= least && quorum <= members) return quorum
  return new CausewayError('request/invalid', { parameter: 'r', least, most: members })
}

/** What a `fresh` read must reach, once `quorum` members that are not recovering told their vectors after it began. */
export function freshTarget(
  answers: readonly VersionVector[],
  quorum: number,
  lineages: Lineages,
): VersionVector | undefined {
  if (answers.length < quorum) return undefined
  return answers.reduce((target, vector) => lineages.merge(target, vector), EMPTY_VECTOR)
}

function refuse(code: 'session/reset' | 'session/replica-behind', details: Record<string, unknown>): Decision {
  return { type: 'refuse', error: new CausewayError(code, details) }
}
