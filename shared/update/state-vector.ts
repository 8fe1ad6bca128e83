/**
 * What a document holds, the Yjs way: for each client id the clock that it will use next. Everything below is there,
 * without gaps.
 */
import { ByteWriter } from '../base/byte-writer.js'
import { CausewayError } from '../errors/error.js'
import { STATE_VECTOR_ENTRY_LIMIT } from './limits.js'
import { Reader, type Refuse } from './reader.js'

export interface ClockReader {
  /** The first clock of `client` that is not known: 0 for a client never heard of. */
  get(client: number): number
}

const badMessage: Refuse = (reason, offset) =>
  new CausewayError('protocol/bad-message', { reason: `state-vector-${reason}`, offset })

/** No client has it. */
const NOBODY = -1
const NO_ENTRIES: readonly (readonly [client: number, clock: number])[] = []

/** Most are of one client: the first lies in fields, a map is made for the second. */
export class StateVector implements ClockReader {
  private client = NOBODY
  private clock = 0
  private clocks: Map<number, number> | undefined

  constructor(entries: Iterable<readonly [client: number, clock: number]> = NO_ENTRIES) {
    for (const [client, clock] of entries) this.advance(client, clock)
  }

  /**
   * Reads Yjs's encoding. Of several entries for one client the largest counts.
   * Throws `protocol/bad-message`, also above `STATE_VECTOR_ENTRY_LIMIT` entries.
   */
  static decode(bytes: Uint8Array): StateVector {
    const reader = new Reader(bytes, badMessage)
    const count = reader.count(2)
    if (count > STATE_VECTOR_ENTRY_LIMIT) throw badMessage('too-many-entries', 0)
    const vector = new StateVector()
    for (let entry = 0; entry < count; entry++) {
      const client = reader.varUint()
      vector.advance(client, reader.varUint())
    }
    if (reader.remaining > 0) throw badMessage('trailing-bytes', reader.position)
    return vector
  }

  get(client: number): number {
    if (this.clocks !== undefined) return this.clocks.get(client) ?? 0
    return client === this.client ? this.clock : 0
  }

  /** Everything of `client` below `clock` is known now. Never goes back. */
  advance(client: number, clock: number): void {
    if (clock <= this.get(client)) return
    if (this.clocks !== undefined) this.clocks.set(client, clock)
    else if (this.client === client || this.client === NOBODY) {
      this.client = client
      this.clock = clock
    } else {
      this.clocks = new Map([
        [this.client, this.clock],
        [client, clock],
      ])
    }
  }

  get size(): number {
    if (this.clocks !== undefined) return this.clocks.size
    return this.client === NOBODY ? 0 : 1
  }

  entries(): Iterable<readonly [client: number, clock: number]> {
    if (this.clocks !== undefined) return this.clocks.entries()
    return this.client === NOBODY ? NO_ENTRIES : [[this.client, this.clock]]
  }

  /** A copy in which some clients are known to less. */
  loweredTo(lower: ReadonlyMap<number, number>): StateVector {
    return new StateVector(
      [...this.entries()].map(([client, clock]) => [client, Math.min(clock, lower.get(client) ?? clock)]),
    )
  }

  copy(): StateVector {
    return new StateVector(this.entries())
  }

  /** Yjs's encoding, clients in descending order. */
  encode(): Uint8Array {
    const writer = new ByteWriter(2 + this.size * 9)
    writer.varUint(this.size)
    for (const [client, clock] of [...this.entries()].sort((left, right) => right[0] - left[0])) {
      writer.varUint(client)
      writer.varUint(clock)
    }
    return writer.finish()
  }
}
