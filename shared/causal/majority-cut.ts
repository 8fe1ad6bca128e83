/**
 * U, the majority-durable cut: for each origin the majority-th largest of what the active members have on disk. It is
 * causally closed, since each of the majority that holds an op holds its past. Acknowledgements, strong ops, `majority`
 * reads and pruning go by it.
 *
 * As announced it never goes down: what was told stays true when members come and go, since a membership changes only
 * after those who remain hold what was under it. A member that has lost something counts for no advance until it is
 * whole again.
 */
import type { OriginId } from '../clock/dot.js'
import type { Lineages } from '../clock/lineages.js'
import { EMPTY_VECTOR, sameVector, type VersionVector } from '../clock/version-vector.js'

/** How many of `members` are a majority. */
export function majorityOf(members: number): number {
  return Math.floor(members / 2) + 1
}

/** The cut that at least `count` of `vectors` hold, folded. */
export function heldByCount(vectors: readonly VersionVector[], count: number, lineages: Lineages): VersionVector {
  const cut = new Map<OriginId, number>()
  // An origin that is written nowhere, since it is implied everywhere, needs a look only where what implies it differs.
  const waiting = new Set(vectors.flatMap((vector) => [...vector.keys()]))
  for (const origin of waiting) {
    const values = vectors.map((vector) => lineages.valueIn(vector, origin)).sort((left, right) => right - left)
    const seq = values[count - 1] ?? 0
    if (seq > 0) cut.set(origin, seq)
    const opening = lineages.openingOf(origin)
    if (opening?.predecessor && seq < opening.seq) waiting.add(opening.predecessor.origin)
  }
  return lineages.fold(cut)
}

/** How many active members must have a write on disk before it is acknowledged; `local`: the one that accepted it. */
export type WriteConcern = 'local' | 'majority' | 'all' | number

export class MajorityCut {
  private readonly lineages: Lineages
  private active: ReadonlySet<string> = new Set()
  /** What each member last reported to have on disk, and whether it counts. */
  private readonly durable = new Map<string, VersionVector>()
  private announced: VersionVector = EMPTY_VECTOR

  constructor(lineages: Lineages) {
    this.lineages = lineages
  }

  get cut(): VersionVector {
    return this.announced
  }

  /** What each member that counts was last heard to have on disk. */
  get held(): readonly VersionVector[] {
    return [...this.active].flatMap((name) => this.durable.get(name) ?? [])
  }

  /** Members that count in majorities, this replica included. True where the cut advanced. */
  setActive(names: ReadonlySet<string>): boolean {
    this.active = names
    return this.advance()
  }

  /** A member's durable vector; undefined while it is recovering. True where the cut advanced. */
  report(name: string, durable: VersionVector | undefined): boolean {
    if (durable) this.durable.set(name, durable)
    else this.durable.delete(name)
    return this.advance()
  }

  private advance(): boolean {
    const vectors = [...this.active].map((name) => this.durable.get(name) ?? EMPTY_VECTOR)
    const reached = heldByCount(vectors, majorityOf(vectors.length), this.lineages)
    const announced = this.lineages.merge(this.announced, reached)
    if (sameVector(announced, this.announced)) return false
    this.announced = announced
    return true
  }
}
