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

export class StateVector implements ClockReader {
  private readonly clocks: Map<number, number>

  constructor(entries: Iterable<readonly [client: number, clock: number]> = []) {
    this.clocks = new Map()
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
    return this.clocks.get(client) ?? 0
  }

  /** Everything of `client` below `clock` is known now. Never goes back. */
  advance(client: number, clock: number): void {
    if (clock > this.get(client)) this.clocks.set(client, clock)
  }

  get size(): number {
    return this.clocks.size
  }

  entries(): IterableIterator<[client: number, clock: number]> {
    return this.clocks.entries()
  }

  copy(): StateVector {
    return new StateVector(this.clocks)
  }

  /** Yjs's encoding, clients in descending order. */
  encode(): Uint8Array {
    const writer = new ByteWriter(2 + this.clocks.size * 9)
    writer.varUint(this.clocks.size)
    for (const [client, clock] of [...this.clocks].sort((left, right) => right[0] - left[0])) {
      writer.varUint(client)
      writer.varUint(clock)
    }
    return writer.finish()
  }
}
