/**
 * What is left of lives that ended: lineages to retire, ops that are lost, and ops that the cell no longer takes under
 * their names.
 *
 * A lineage that nobody continues stays in every vector until the cell retires it where it ends. It may only be retired
 * when every member shows the same end, so that nothing of it is left behind on one disk; what turns up later (a member
 * was cut off, a backup was put back, the cell was recovered without it) is *surplus*: it is offered again under new
 * dots, each naming its first one, so that sessions which wait for it are satisfied. All else in its past is known to
 * the cell, so accepting it in the order of delivery leaves no gaps.
 */
import { COORDINATION_NAME, type Dot, type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import type { Lineages } from '../../shared/clock/lineages.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { type Op, type Part, partsOf } from '../../shared/protocol/op.js'

export interface MemberReport {
  readonly name: string
  readonly durable: VersionVector
  /** Of the process that runs now. */
  readonly origin: OriginId
}

/**
 * Lineages that may be retired, each at its last op. `members`: all that are not themselves retiring, this one included;
 * undefined stands for one that is not reachable, which delays every retirement.
 */
export function retirable(
  members: readonly (MemberReport | undefined)[],
  majorityDurable: VersionVector,
  lineages: Lineages,
): readonly Dot[] {
  const reports = members.filter((member) => member !== undefined)
  const [first] = reports
  if (!first || reports.length < members.length) return []
  const current = new Map(reports.map(({ name, origin }) => [name, origin]))
  const dots: Dot[] = []
  for (const [origin, seq] of lineages.fold(first.durable)) {
    const name = replicaNameOf(origin)
    if (name === COORDINATION_NAME || lineages.retiredAt(origin) !== undefined) continue
    const running = current.get(name)
    // Before the running process has opened its own line, this may be the one that it will continue.
    const isContinued = running !== undefined && reports.some(({ durable }) => !durable.has(running))
    if (origin === running || isContinued) continue
    const isLevel = reports.every(({ durable }) => lineages.valueIn(durable, origin) === seq)
    if (isLevel && lineages.includes(majorityDurable, { origin, seq })) dots.push({ origin, seq })
  }
  return dots
}

/**
 * Whether an op that a session has seen is held by nobody, and never will be: it lies above the end of a retired lineage,
 * or no member holds it and the process that wrote it is gone. `members`: every member, with what it told after the
 * question came up; one that is not reachable may hold it.
 */
export function isLost(dot: Dot, members: readonly (MemberReport | undefined)[], lineages: Lineages): boolean {
  const end = lineages.retiredAt(dot.origin)
  if (end !== undefined) return dot.seq > end
  return members.every((member) => {
    return member !== undefined && member.origin !== dot.origin && !lineages.includes(member.durable, dot)
  })
}

/** An op to be accepted anew: its content, and the dot that it had first. */
export interface ReOrigination {
  readonly was: Dot
  readonly parts: readonly Part[]
}

/**
 * Of the ops in a log, in its order, those that the cell does not hold, ready to be accepted anew. Openings say nothing
 * but where their line began, and are left out; so is who owns a client id, which its owner says again.
 */
export function* surplusOf(
  log: Iterable<Op>,
  cell: VersionVector,
  lineages: Lineages,
): Generator<ReOrigination, void, undefined> {
  for (const op of log) {
    const parts = partsOf(op)
    if (parts.length === 0 || lineages.includes(cell, op.dot)) continue
    yield { was: op.kind === 're-originated' ? op.was : op.dot, parts }
  }
}
