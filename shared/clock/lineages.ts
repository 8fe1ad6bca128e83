/**
 * What one entry of a vector says about others. An incarnation opens by naming the origin that its disk held before and
 * that origin's last durable seq k, so whoever holds anything of the new one holds the old one up to k: the old entry is
 * *folded*, not written, when it equals k. So a vector returns to one entry per replica after each restart, although no
 * dot is ever used twice (DESIGN.md section 2, "Op").
 *
 *   open of `a2` at 11 names `a1:10`          a1:10 a2:14   is written   a2:14
 *   an old backup: peers knew `a1` to 13      a1:13 a2:14   is written   a1:13 a2:14
 *   the disk is gone: nothing names `a1`      a1:13 a3:2    stays, until the cell retires `a1` at 13
 *
 * A *retirement* is the same kind of statement, made by the cell: once an entry of the coordination store's log says
 * that the lineage ends at f, the vector's coordination entry implies it. A replica may therefore count that
 * coordination entry as held only when it holds the lineage up to f (`claimable`): coordination state may be applied
 * ahead of documents, as on a disk that starts anew, and the vector must not speak of ops that are not there.
 *
 * Two replicas may know different openings. Whoever holds an op of an origin holds its opening, so a comparison is exact
 * where the left side is this replica's own vector, and otherwise errs towards "does not hold".
 */
import { assert } from '../base/assert.js'
import { CausewayError } from '../errors/error.js'
import { COORDINATION_NAME, type Dot, type OriginId, replicaNameOf } from './dot.js'
import { EMPTY_VECTOR, maxVector, type VersionVector } from './version-vector.js'

/** More unretired lineages than this are an alarm: something keeps losing its disk. */
export const LINEAGES_ALARM = 16
/** With so many, no new one is opened. */
export const LINEAGES_LIMIT = 64
/** Openings ever seen, kept for ever: each costs a few bytes, and a replica that starts every minute has decades. */
const OPENINGS_LIMIT = 16_000_000

/** First op of an incarnation. */
interface Opening {
  readonly seq: number
  readonly predecessor: Dot | undefined
}

/** Holding `dot` implies holding `seq` of the origin that this is listed under. */
interface Implication {
  readonly dot: Dot
  readonly seq: number
}

export interface Retirement {
  /** The entry of the coordination store's log that says so. */
  readonly entry: Dot
  /** The last op of the lineage that counts. */
  readonly last: Dot
}

export class Lineages {
  private readonly openings = new Map<OriginId, Opening>()
  /** By the origin that is implied. */
  private readonly implications = new Map<OriginId, Implication[]>()
  private readonly retired = new Map<OriginId, Retirement>()

  /**
   * Takes note of an incarnation's first op. The same again changes nothing; another first op of the same origin is a
   * contradiction that the chain finds elsewhere, and the first one stands.
   */
  learnOpening(dot: Dot, predecessor: Dot | undefined): void {
    if (this.openings.has(dot.origin)) return
    this.openings.set(dot.origin, { seq: dot.seq, predecessor })
    if (predecessor) this.imply(predecessor.origin, { dot, seq: predecessor.seq })
  }

  /** Takes note that `entry` of the coordination store ended the lineage of `last` there. */
  learnRetirement(retirement: Retirement): void {
    const { entry, last } = retirement
    const known = this.retired.get(last.origin)
    assert(!known || known.last.seq === last.seq, `${last.origin} retired at two places`)
    if (known) return
    this.retired.set(last.origin, retirement)
    this.imply(last.origin, { dot: entry, seq: last.seq })
  }

  /** The first op of `origin`, where an op of it was seen. */
  openingOf(origin: OriginId): Opening | undefined {
    return this.openings.get(origin)
  }

  /** Seq of the last op of a retired lineage that counts; ops above it have to be accepted anew under other dots. */
  retiredAt(origin: OriginId): number | undefined {
    return this.retired.get(origin)?.last.seq
  }

  /** Highest seq of `origin` in `vector`, what other entries imply included. */
  valueIn(vector: VersionVector, origin: OriginId): number {
    return Math.max(vector.get(origin) ?? 0, this.impliedIn(vector, origin))
  }

  /** Whether `vector` holds the op. */
  includes(vector: VersionVector, { origin, seq }: Dot): boolean {
    return (vector.get(origin) ?? 0) >= seq || this.impliedIn(vector, origin) >= seq
  }

  /** Whether `left` holds all that `right` does. */
  dominates(left: VersionVector, right: VersionVector): boolean {
    for (const [origin, seq] of right) if (!this.includes(left, { origin, seq })) return false
    return true
  }

  /** The entries of `wanted` that `held` does not reach. */
  missing(held: VersionVector, wanted: VersionVector): VersionVector {
    if (this.dominates(held, wanted)) return EMPTY_VECTOR
    return new Map([...wanted].filter(([origin, seq]) => !this.includes(held, { origin, seq })))
  }

  /** What either holds, folded. */
  merge(left: VersionVector, right: VersionVector): VersionVector {
    return this.fold(maxVector(left, right))
  }

  /** `vector` without the entries that others imply. */
  fold(vector: VersionVector): VersionVector {
    let folded: Map<OriginId, number> | undefined
    for (const [origin, seq] of vector) {
      if (this.impliedIn(vector, origin) < seq) continue
      folded ??= new Map(vector)
      folded.delete(origin)
    }
    return folded ?? vector
  }

  /** `vector` with every entry that it implies, as far back as openings are known. */
  unfold(vector: VersionVector): VersionVector {
    return this.close(new Map(vector), undefined)
  }

  /**
   * `vector` for somebody who holds `reader`: with the entries that it implies by openings which that one has not seen,
   * and without which it would take for missing what is only folded.
   */
  spellOut(vector: VersionVector, reader: VersionVector): VersionVector {
    let spelled: Map<OriginId, number> | undefined
    const waiting = [...vector.keys()]
    for (let origin = waiting.pop(); origin !== undefined; origin = waiting.pop()) {
      const values: VersionVector = spelled ?? vector
      const opening = this.openings.get(origin)
      if (!opening?.predecessor || values.get(origin)! < opening.seq) continue
      if (this.includes(reader, { origin, seq: opening.seq })) continue
      const { predecessor } = opening
      if ((values.get(predecessor.origin) ?? 0) >= predecessor.seq) continue
      spelled ??= new Map(vector)
      spelled.set(predecessor.origin, predecessor.seq)
      waiting.push(predecessor.origin)
    }
    return spelled ?? vector
  }

  /**
   * The coordination entry that a replica may count as held when it has applied `applied` and its ops are `held`: below
   * the first retirement of a lineage that it does not hold to its end. Undefined where that leaves none.
   */
  claimable(held: VersionVector, applied: Dot): Dot | undefined {
    let claim: Dot | undefined = applied
    for (;;) {
      const claimed: VersionVector = new Map([[claim.origin, claim.seq]])
      const unmet: Retirement | undefined = [...this.retired.values()].find(
        ({ entry, last }) => this.includes(claimed, entry) && !this.includes(held, last),
      )
      if (!unmet) return claim
      const { origin, seq } = unmet.entry
      const opening = this.openings.get(origin)
      claim = opening && opening.seq >= seq ? opening.predecessor : seq > 1 ? { origin, seq: seq - 1 } : undefined
      if (!claim) return undefined
    }
  }

  /**
   * Whether an incarnation that continues `predecessor` (undefined: an empty disk) may open at a replica that holds
   * `held`. A restart replaces an entry and always may; what adds a lineage may not beyond `LINEAGES_LIMIT`: refuses
   * with `cell/too-many-lineages`.
   */
  checkOpening(held: VersionVector, predecessor: Dot | undefined): CausewayError | undefined {
    const isRestart = predecessor !== undefined && this.fold(held).get(predecessor.origin) === predecessor.seq
    const lineages = countLineages(this.fold(held))
    if (isRestart ? this.openings.size < OPENINGS_LIMIT : lineages < LINEAGES_LIMIT) return undefined
    return new CausewayError('cell/too-many-lineages', { lineages, limit: LINEAGES_LIMIT })
  }

  private imply(origin: OriginId, implication: Implication): void {
    const known = this.implications.get(origin)
    if (known) known.push(implication)
    else this.implications.set(origin, [implication])
  }

  /** What the entries of other origins say about `origin`. */
  private impliedIn(vector: VersionVector, origin: OriginId): number {
    // Most origins have no successor, and a current one never has.
    const implications = this.implications.get(origin)
    if (implications === undefined) return 0
    let implied = 0
    let most = 0
    for (const { dot, seq } of implications) {
      most = Math.max(most, seq)
      if (seq > implied && (vector.get(dot.origin) ?? 0) >= dot.seq) implied = seq
    }
    if (implied === most) return implied
    const later = this.laterThan(origin)
    const values = new Map<OriginId, number>()
    for (const other of later) {
      const seq = vector.get(other)
      if (seq !== undefined && other !== origin) values.set(other, seq)
    }
    return this.close(values, later).get(origin) ?? 0
  }

  /** `origin` and all whose entries could say something about it: restarts make this a long line, never a deep one. */
  private laterThan(origin: OriginId): ReadonlySet<OriginId> {
    const later = new Set([origin])
    for (const each of later) for (const { dot } of this.implications.get(each) ?? []) later.add(dot.origin)
    return later
  }

  /** Raises `values` to all that they imply, as far as it lies `within`. */
  private close(values: Map<OriginId, number>, within: ReadonlySet<OriginId> | undefined): VersionVector {
    const waiting = [...values.keys()]
    const raise = ({ origin, seq }: Dot): void => {
      if ((values.get(origin) ?? 0) >= seq || within?.has(origin) === false) return
      values.set(origin, seq)
      waiting.push(origin)
    }
    for (let origin = waiting.pop(); origin !== undefined; origin = waiting.pop()) {
      const opening = this.openings.get(origin)
      if (opening?.predecessor && values.get(origin)! >= opening.seq) raise(opening.predecessor)
      if (replicaNameOf(origin) !== COORDINATION_NAME) continue
      for (const { entry, last } of this.retired.values()) {
        if (entry.origin === origin && values.get(origin)! >= entry.seq) raise(last)
      }
    }
    return values
  }
}

/** Entries that are lineages of replicas. */
export function countLineages(vector: VersionVector): number {
  let count = 0
  for (const origin of vector.keys()) if (replicaNameOf(origin) !== COORDINATION_NAME) count++
  return count
}
