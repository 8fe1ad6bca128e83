/**
 * Whether replicas agree: how what was seen of them becomes a verdict.
 *
 * Two replicas under load hardly ever pass through the same state at the same time, so a difference says nothing by
 * itself. What is compared is, per document, a pair: the op digest (which ops touched it) and the fingerprint of its
 * content, both of one moment of one replica. Only pairs of equal digest say anything, and those may be of different
 * moments: the same ops must give the same content, whenever. So
 *
 *   another digest                              lagging: ops are on their way, no alarm
 *   the same digest, another fingerprint        diverged: an alarm
 *   the same digest, the same fingerprint       equal
 *   the same digest, a fingerprint cannot be had   unknown
 *
 * The verdict is over the replicas that answered. One that did not is named beside it and changes nothing: nothing is
 * known of it, and if it made the verdict `lagging`, a dead member would hide for days whether the living ones agree.
 */
import { type Dot, formatDot, incarnationOf, replicaNameOf } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { DocumentView } from '../../shared/protocol/convergence.js'

export interface ConvergenceReport {
  readonly verdict: 'equal' | 'lagging' | 'diverged'
  /**
   * Documents whose ops were compared at every replica that answered. Their contents were, too, as far as the time of a
   * report goes; the rest is compared in the background, and what that found is in here.
   */
  readonly checked: number
  readonly diverged: readonly string[]
  /** Those that are not equal, the worst first, or all. `fingerprint` is empty where it could not be had in time. */
  readonly documents: readonly {
    readonly document: string
    readonly state: 'equal' | 'lagging' | 'diverged' | 'unknown'
    /** null: the replica has no such document. */
    readonly replicas: Readonly<
      Record<string, { readonly clock: Readonly<Record<string, number>>; readonly fingerprint: string } | null>
    >
  }[]
  readonly heldBack: readonly {
    readonly replica: string
    readonly dot: string
    readonly waitsFor: Readonly<Record<string, number>>
  }[]
  /** Members that did not answer. */
  readonly unreachable: readonly string[]
}

/** `late`: which ops is known and the same, the content was not looked at in time. Says nothing against anybody. */
export type ComparedState = ConvergenceReport['documents'][number]['state'] | 'late'

/** One document at one moment of one replica; null where it has none. */
export type Seen = DocumentView | null

/** Views kept of one replica: a comparison asks a few times. */
const VIEWS_LIMIT = 8

/** What was seen of one document. */
export class Comparison {
  private readonly views = new Map<string, readonly Seen[]>()
  private isKnownDiverged = false

  see(replica: string, view: Seen): void {
    this.views.set(replica, [...(this.views.get(replica) ?? []), view].slice(-VIEWS_LIMIT))
  }

  /** Of a replica that cannot be asked any more. */
  forget(replica: string): void {
    this.views.delete(replica)
  }

  /** It was found diverged before. That stands until its content was seen to be equal. */
  recall(): void {
    this.isKnownDiverged = true
  }

  get replicas(): ReadonlySet<string> {
    return new Set(this.views.keys())
  }

  /** What each replica showed last. */
  get latest(): ReadonlyMap<string, Seen> {
    return new Map([...this.views].map(([replica, views]) => [replica, views.at(-1) ?? null]))
  }

  /** Some replica has it. */
  get exists(): boolean {
    return [...this.latest.values()].some((view) => view !== null)
  }

  /** Two replicas that made different documents of the same ops. */
  get conflict(): readonly [string, string] | undefined {
    const found = new Map<string, { readonly replica: string; readonly fingerprint: string }>()
    for (const [replica, views] of this.views) {
      for (const view of views) {
        if (view === null || !hasFingerprint(view)) continue
        const other = found.get(opsOf(view))
        if (other === undefined) found.set(opsOf(view), { replica, fingerprint: view.fingerprint })
        else if (other.fingerprint !== view.fingerprint) return [other.replica, replica]
      }
    }
    return undefined
  }

  /** Two replicas showed the same ops last, and a fingerprint is missing. */
  get couldTellMore(): boolean {
    const views = [...this.latest.values()].filter((view) => view !== null)
    return views.some(
      (view) => view.fingerprint === 'late' && views.some((other) => other !== view && opsOf(other) === opsOf(view)),
    )
  }

  get state(): ComparedState {
    if (this.conflict !== undefined) return 'diverged'
    const state = this.stateNow
    return this.isKnownDiverged && state !== 'equal' ? 'diverged' : state
  }

  private get stateNow(): ComparedState {
    const latest = [...this.latest.values()]
    if (new Set(latest.map((view) => view && opsOf(view))).size > 1) return 'lagging'
    if (latest.some((view) => view?.fingerprint === 'unavailable')) return 'unknown'
    return latest.some((view) => view?.fingerprint === 'late') ? 'late' : 'equal'
  }
}

/** An op that waits at a replica, as it is told. */
export interface Waiting {
  readonly replica: string
  readonly dot: Dot
  readonly waitsFor: VersionVector
}

export interface Compared {
  readonly checked: number
  readonly comparisons: ReadonlyMap<string, Comparison>
  /** How many documents more have other ops somewhere, and were not looked at one by one. */
  readonly unexamined: number
  readonly heldBack: readonly Waiting[]
  readonly unreachable: readonly string[]
}

const BY_WEIGHT = ['diverged', 'lagging', 'unknown', 'equal'] as const

/** `limit`: of the documents that are listed. `all`: also those that are equal. */
export function formReport(compared: Compared, { limit, all }: { limit: number; all: boolean }): ConvergenceReport {
  const states = [...compared.comparisons].map(([document, comparison]) => ({
    document,
    comparison,
    state: comparison.state,
  }))
  const listed = states
    .filter(({ state, comparison }) => (all ? comparison.exists : state !== 'equal' && state !== 'late'))
    .map(({ state, ...rest }) => ({ ...rest, state: state === 'late' ? ('unknown' as const) : state }))
    .sort((left, right) => weightOf(left) - weightOf(right) || (left.document < right.document ? -1 : 1))
    .slice(0, limit)
  const diverged = states.filter(({ state }) => state === 'diverged').map(({ document }) => document)
  const isBehind = states.some(({ state }) => state === 'lagging' || state === 'unknown')
  const lags = isBehind || compared.unexamined > 0 || compared.heldBack.length > 0
  return {
    verdict: diverged.length > 0 ? 'diverged' : lags ? 'lagging' : 'equal',
    checked: compared.checked,
    diverged: diverged.sort(),
    documents: listed.map(({ document, state, comparison }) => ({
      document,
      state,
      replicas: Object.fromEntries([...comparison.latest].map(([replica, view]) => [replica, shown(view)])),
    })),
    heldBack: compared.heldBack.map(({ replica, dot, waitsFor }) => ({
      replica,
      dot: formatDot(dot),
      waitsFor: recordOf(waitsFor),
    })),
    unreachable: [...compared.unreachable].sort(),
  }
}

/** Which ops a view shows, as one text. */
function opsOf({ generation, count, xor }: DocumentView): string {
  return `${generation}:${count}:${xor}`
}

function hasFingerprint({ fingerprint }: DocumentView): boolean {
  return fingerprint !== 'late' && fingerprint !== 'unavailable'
}

function shown(view: Seen): { clock: Readonly<Record<string, number>>; fingerprint: string } | null {
  return view && { clock: view.clock, fingerprint: hasFingerprint(view) ? view.fingerprint : '' }
}

const weightOf = ({ state }: { readonly state: (typeof BY_WEIGHT)[number] }): number => BY_WEIGHT.indexOf(state)

/** By replica name; with the incarnation's first digits where there are several of one. */
function recordOf(vector: VersionVector): Record<string, number> {
  const names = [...vector.keys()].map(replicaNameOf)
  const keyOf = (origin: Parameters<typeof replicaNameOf>[0]): string => {
    const name = replicaNameOf(origin)
    const isAlone = names.filter((other) => other === name).length === 1
    return isAlone ? name : `${name}.${incarnationOf(origin).slice(0, 4)}`
  }
  return Object.fromEntries([...vector].map(([origin, seq]) => [keyOf(origin), seq]))
}
