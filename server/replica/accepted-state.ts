/**
 * What a document has accepted: what is durable, and over it what is still in flight to the disk. The overlay exists
 * only while something is, so that a failed commit is undone by dropping it, and an idle document pays nothing.
 */
import type { Known } from '../../shared/update/check.js'
import type { DeletedReader } from '../../shared/update/delete-set.js'
import { KnownState } from '../../shared/update/known-state.js'
import type { PlaceReader } from '../../shared/update/places.js'
import type { ClockReader } from '../../shared/update/state-vector.js'

export class AcceptedState implements Known {
  readonly clocks: ClockReader
  readonly deleted: DeletedReader
  readonly places: PlaceReader
  /** What is in flight, alone. */
  readonly added = new KnownState()

  constructor(durable: KnownState) {
    const { added } = this
    this.clocks = { get: (client) => added.clocks.get(client) || durable.clocks.get(client) }
    this.deleted = {
      uncovered: (client, clock, length) =>
        durable.deleted
          .uncovered(client, clock, length)
          .flatMap(([from, count]) => added.deleted.uncovered(client, from, count)),
    }
    this.places = {
      get isFlat() {
        return added.places.isFlat && durable.places.isFlat
      },
      get: (client, clock) => added.places.find(client, clock) ?? durable.places.get(client, clock),
    }
  }
}
