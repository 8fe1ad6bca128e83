/**
 * Vectors of a history as dense arrays with one entry per origin, *unfolded*: the first op of an incarnation names the
 * last one of the life before, so whoever has it has that too, though the vector need not say so (DESIGN.md section 2).
 */
import { type Dot, type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { COORDINATION, type History } from './history.js'

/** Highest seq by origin index. Not to be changed where it came from `dense`. */
export type DenseVector = Int32Array

export class Lineages {
  readonly origins: OriginId[] = []
  private readonly indices = new Map<string, number>()
  private readonly predecessors: (Dot | undefined)[] = []
  private readonly coordination: boolean[] = []
  private readonly cache = new WeakMap<VersionVector, DenseVector>()

  constructor(history: History) {
    for (const event of history.events) {
      if (event.type === 'accept') {
        this.add(event.dot.origin)
        const { predecessor } = event.opens ?? {}
        if (predecessor) {
          this.add(predecessor.origin)
          this.predecessors[this.indexOf(event.dot.origin)] = predecessor
        }
      } else if ('origin' in event) this.add(event.origin)
      for (const vector of vectorsOf(event)) for (const origin of vector.keys()) this.add(origin)
    }
  }

  get size(): number {
    return this.origins.length
  }

  /** -1 for an origin that no event of the history names. */
  indexOf(origin: OriginId): number {
    return this.indices.get(origin) ?? -1
  }

  /** The seq after which this origin's own ops begin. */
  baseOf(index: number): number {
    return this.predecessors[index]?.seq ?? 0
  }

  isCoordination(index: number): boolean {
    return this.coordination[index]!
  }

  zero(): DenseVector {
    return new Int32Array(this.origins.length)
  }

  dense(vector: VersionVector): DenseVector {
    let dense = this.cache.get(vector)
    if (!dense) {
      dense = this.zero()
      for (const [origin, seq] of vector) this.raise(dense, this.indexOf(origin), seq)
      this.cache.set(vector, dense)
    }
    return dense
  }

  /** Sets an entry to at least `seq`, and those that it implies. */
  raise(dense: DenseVector, index: number, seq: number): void {
    if (dense[index]! >= seq) return
    const known = dense[index]!
    dense[index] = seq
    const predecessor = this.predecessors[index]
    if (predecessor && known <= predecessor.seq && seq > predecessor.seq) {
      this.raise(dense, this.indexOf(predecessor.origin), predecessor.seq)
    }
  }

  /** Where `lower` exceeds `upper`, as `a:3`; undefined where it does not. */
  excess(lower: DenseVector, upper: DenseVector): string | undefined {
    for (let index = 0; index < lower.length; index++) {
      if (lower[index]! > upper[index]!) return this.format({ origin: this.origins[index]!, seq: lower[index]! })
    }
    return undefined
  }

  /** `a.7f03:3`. */
  format({ origin, seq }: Dot): string {
    return `${origin.slice(0, replicaNameOf(origin).length + 5)}:${seq}`
  }

  private add(origin: OriginId): void {
    if (this.indices.has(origin)) return
    this.indices.set(origin, this.origins.length)
    this.origins.push(origin)
    this.predecessors.push(undefined)
    this.coordination.push(replicaNameOf(origin) === COORDINATION)
  }
}

export function joinInto(target: DenseVector, source: DenseVector): void {
  for (let index = 0; index < source.length; index++) {
    if (source[index]! > target[index]!) target[index] = source[index]!
  }
}

function vectorsOf(event: History['events'][number]): readonly VersionVector[] {
  switch (event.type) {
    case 'ok':
      return [
        event.cut,
        event.sent,
        event.token,
        ...(event.response.type === 'claim' && event.response.deps ? [event.response.deps] : []),
      ]
    case 'start':
    case 'durable':
    case 'serve':
    case 'acknowledge':
    case 'install':
    case 'replica-settled':
      return [event.clock]
    case 'accept':
    case 'propose':
      return [event.deps]
    case 'majority-cut':
      return [event.cut]
    default:
      return []
  }
}
