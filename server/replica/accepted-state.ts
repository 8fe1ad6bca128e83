/**
 * What a document has accepted: what is durable, and over it what is still in flight to the disk. The overlay exists
 * only while something is, so that a failed commit is undone by dropping it, and an idle document pays nothing.
 */
import type { Known } from '../../shared/update/check.js'
import type { DeletedReader } from '../../shared/update/delete-set.js'
import { KnownState } from '../../shared/update/known-state.js'
import { NO_PLACES, type PlaceReader } from '../../shared/update/places.js'
import type { RootReader, Roots } from '../../shared/update/roots.js'
import type { ClockReader } from '../../shared/update/state-vector.js'

export class AcceptedState implements Known {
  readonly clocks: ClockReader
  /** What is in flight, alone. */
  readonly added = new KnownState()
  private readonly durable: KnownState

  constructor(durable: KnownState) {
    this.durable = durable
    this.clocks = new AcceptedClocks(durable.clocks, this.added.clocks)
  }

  // Made when asked for: most updates neither delete anything, nor lie in a nested type, nor name a root.

  get deleted(): DeletedReader {
    const { added, durable } = this
    return {
      uncovered: (client, clock, length) =>
        durable.deleted
          .uncovered(client, clock, length)
          .flatMap(([from, count]) => added.deleted.uncovered(client, from, count)),
    }
  }

  get places(): PlaceReader {
    const { added, durable } = this
    if (added.places.isFlat && durable.places.isFlat) return NO_PLACES
    return {
      isFlat: false,
      get: (client, clock) => added.places.find(client, clock) ?? durable.places.get(client, clock),
    }
  }

  get roots(): RootReader {
    const durable = this.durable.roots
    const added = this.added.roots
    return {
      size: durable.size + count(added, durable, () => 1),
      length: durable.length + count(added, durable, (name) => name.length),
      has: (name) => added.has(name) || durable.has(name),
    }
  }
}

/** The sum over the names that are added and not durable: a document's roots are few, or refused. */
function count(added: Roots, durable: Roots, weigh: (name: string) => number): number {
  let sum = 0
  for (const name of added) if (!durable.has(name)) sum += weigh(name)
  return sum
}

class AcceptedClocks implements ClockReader {
  private readonly durable: ClockReader
  private readonly added: ClockReader

  constructor(durable: ClockReader, added: ClockReader) {
    this.durable = durable
    this.added = added
  }

  get(client: number): number {
    return this.added.get(client) || this.durable.get(client)
  }
}
