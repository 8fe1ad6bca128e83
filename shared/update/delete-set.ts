/**
 * Which structs of a document are deleted, as ranges of clocks per client. A long-lived document has 10^4 to 10^5 of
 * them and every open document keeps its set in memory, so ranges lie in typed arrays, 8 bytes each plus the slack of
 * growing; ranges that touch are one.
 */
import { ByteWriter } from '../base/byte-writer.js'
import { CLOCK_LIMIT } from './limits.js'
import { badUpdate, Reader } from './reader.js'

/** `length` clocks of `client` from `clock` on. */
export type DeleteRange = readonly [client: number, clock: number, length: number]

export interface DeletedReader {
  /** The parts of a range that are not deleted yet, ascending. */
  uncovered(client: number, clock: number, length: number): [clock: number, length: number][]
}

/** From this many ranges for one client on, one linear merge is cheaper than inserting each. */
const MERGE_FROM = 8

const EMPTY = new Uint32Array(0)

/** One client's ranges: starts and ends in turn, ascending, never touching. */
interface Ranges {
  bounds: Uint32Array
  /** Used entries of `bounds`, two a range. */
  used: number
}

const NOBODY: ReadonlyMap<number, Ranges> = new Map()

export class DeleteSet implements DeletedReader {
  /** Shared and empty until the first entry: many documents are open, and most have none. */
  private clients: ReadonlyMap<number, Ranges> = NOBODY

  constructor(ranges: Iterable<DeleteRange> = []) {
    this.addAll(ranges)
  }

  /** Reads Yjs's V1 encoding, clients and ranges in any order. Throws `document/bad-update`. */
  static decode(bytes: Uint8Array): DeleteSet {
    const reader = new Reader(bytes, badUpdate)
    const flat = readDeleteRanges(reader)
    if (reader.remaining > 0) throw badUpdate('trailing-bytes', reader.position)
    return DeleteSet.fromFlat(flat)
  }

  /** From client, clock, length, client, clock, length … */
  static fromFlat(flat: readonly number[]): DeleteSet {
    const set = new DeleteSet()
    const byClient = new Map<number, number[]>()
    for (let at = 0; at < flat.length; at += 3) collect(byClient, flat[at]!, flat[at + 1]!, flat[at + 2]!)
    for (const [client, bounds] of byClient) set.merged(client, normalised(bounds))
    return set
  }

  add(client: number, clock: number, length: number): void {
    if (length <= 0) return
    const ranges = this.clients.get(client)
    if (ranges) insert(ranges, clock, clock + length)
    else this.put(client, { bounds: Uint32Array.of(clock, clock + length), used: 2 })
  }

  /** As `add` for each, in any order, in about linear time however many there are. */
  addAll(ranges: Iterable<DeleteRange>): void {
    if (Array.isArray(ranges) && ranges.length === 0) return // mostly, and for every keystroke
    const byClient = new Map<number, number[]>()
    for (const [client, clock, length] of ranges) collect(byClient, client, clock, length)
    for (const [client, bounds] of byClient) {
      if (bounds.length < 2 * MERGE_FROM) {
        for (let at = 0; at < bounds.length; at += 2) this.add(client, bounds[at]!, bounds[at + 1]! - bounds[at]!)
      } else this.merged(client, normalised(bounds))
    }
  }

  merge(other: DeleteSet): void {
    for (const [client, ranges] of other.clients) this.merged(client, { ...ranges, bounds: ranges.bounds.slice() })
  }

  includes(client: number, clock: number): boolean {
    const ranges = this.clients.get(client)
    if (!ranges) return false
    const at = firstEndingAfter(ranges, clock)
    return at < ranges.used && ranges.bounds[at]! <= clock
  }

  uncovered(client: number, clock: number, length: number): [clock: number, length: number][] {
    const ranges = this.clients.get(client)
    if (!ranges) return length > 0 ? [[clock, length]] : []
    const missing: [number, number][] = []
    const end = clock + length
    let from = clock
    for (let at = firstEndingAfter(ranges, clock); at < ranges.used && from < end; at += 2) {
      const start = ranges.bounds[at]!
      if (start >= end) break
      if (start > from) missing.push([from, start - from])
      from = ranges.bounds[at + 1]!
    }
    if (from < end) missing.push([from, end - from])
    return missing
  }

  private put(client: number, entry: Ranges): void {
    if (this.clients === NOBODY) this.clients = new Map()
    ;(this.clients as Map<number, Ranges>).set(client, entry)
  }

  /** Number of ranges. */
  get size(): number {
    let count = 0
    for (const ranges of this.clients.values()) count += ranges.used / 2
    return count
  }

  /** Estimated bytes in memory. */
  get byteSize(): number {
    let bytes = 0
    for (const ranges of this.clients.values()) bytes += 200 + ranges.bounds.byteLength
    return bytes
  }

  /** All ranges: ascending within a client, clients descending. */
  *[Symbol.iterator](): IterableIterator<DeleteRange> {
    for (const [client, { bounds, used }] of this.sorted()) {
      for (let at = 0; at < used; at += 2) yield [client, bounds[at]!, bounds[at + 1]! - bounds[at]!]
    }
  }

  copy(): DeleteSet {
    const copy = new DeleteSet()
    copy.merge(this)
    return copy
  }

  /** Yjs's V1 encoding in canonical order: clients descending, ranges ascending. */
  encode(): Uint8Array {
    const writer = new ByteWriter(16 + this.size * 6)
    writer.varUint(this.clients.size)
    for (const [client, { bounds, used }] of this.sorted()) {
      writer.varUint(client)
      writer.varUint(used / 2)
      for (let at = 0; at < used; at += 2) {
        writer.varUint(bounds[at]!)
        writer.varUint(bounds[at + 1]! - bounds[at]!)
      }
    }
    return writer.finish()
  }

  private sorted(): [client: number, ranges: Ranges][] {
    return [...this.clients].sort((left, right) => right[0] - left[0])
  }

  /** Takes over `more`. */
  private merged(client: number, more: Ranges): void {
    const ranges = this.clients.get(client)
    if (ranges) this.put(client, union(ranges, more))
    else if (more.used > 0) this.put(client, more)
  }
}

/**
 * Reads a delete set as client, clock, length triples in the order received, those of length 0 among them: they delete
 * nothing. Refuses with `too-many-delete-ranges` above `limit`.
 */
export function readDeleteRanges(reader: Reader, limit = Number.POSITIVE_INFINITY): readonly number[] {
  const clients = reader.count(2)
  if (clients === 0) return NO_RANGES
  const flat: number[] = []
  let total = 0
  for (let entry = 0; entry < clients; entry++) {
    const client = reader.varUint()
    const at = reader.position
    const ranges = reader.count(2)
    total += ranges
    if (total > limit) throw badUpdate('too-many-delete-ranges', at)
    for (let range = 0; range < ranges; range++) {
      const start = reader.position
      const clock = reader.varUint()
      const length = reader.varUint()
      if (clock + length > CLOCK_LIMIT) throw badUpdate('clock-out-of-range', start)
      flat.push(client, clock, length)
    }
  }
  return flat
}

const NO_RANGES: readonly number[] = []

function collect(byClient: Map<number, number[]>, client: number, clock: number, length: number): void {
  if (length <= 0) return
  const bounds = byClient.get(client)
  if (bounds) bounds.push(clock, clock + length)
  else byClient.set(client, [clock, clock + length])
}

/** Index of the first range whose end lies above `clock`. */
function firstEndingAfter({ bounds, used }: Ranges, clock: number): number {
  let low = 0
  let high = used / 2
  while (low < high) {
    const middle = (low + high) >>> 1
    if (bounds[2 * middle + 1]! > clock) high = middle
    else low = middle + 1
  }
  return 2 * low
}

function insert(ranges: Ranges, start: number, end: number): void {
  const { bounds, used } = ranges
  // Ranges first..last (exclusive) touch the new one and become one with it. `start - 1`: one that ends at `start` touches.
  const first = start === 0 ? 0 : firstEndingAfter(ranges, start - 1)
  let last = first
  while (last < used && bounds[last]! <= end) last += 2
  if (last > first) {
    const joinedStart = Math.min(start, bounds[first]!)
    const joinedEnd = Math.max(end, bounds[last - 1]!)
    if (last - first > 2) bounds.copyWithin(first + 2, last, used)
    bounds[first] = joinedStart
    bounds[first + 1] = joinedEnd
    ranges.used = used - (last - first - 2)
    return
  }
  if (used + 2 > bounds.length) {
    ranges.bounds = new Uint32Array(Math.max(8, 2 * Math.ceil(used * 0.625)))
    ranges.bounds.set(bounds.subarray(0, first))
    ranges.bounds.set(bounds.subarray(first, used), first + 2)
  } else bounds.copyWithin(first + 2, first, used)
  ranges.bounds[first] = start
  ranges.bounds[first + 1] = end
  ranges.used = used + 2
}

/** Starts and ends in any order, overlapping or not, as ranges. */
function normalised(bounds: readonly number[]): Ranges {
  const count = bounds.length / 2
  let ascending = true
  for (let at = 2; at < bounds.length && ascending; at += 2) ascending = bounds[at]! >= bounds[at - 2]!
  const order = ascending ? undefined : Uint32Array.from({ length: count }, (_, range) => 2 * range)
  order?.sort((left, right) => bounds[left]! - bounds[right]!)
  const ranges: Ranges = { bounds: new Uint32Array(bounds.length), used: 0 }
  for (let range = 0; range < count; range++) {
    const at = order ? order[range]! : 2 * range
    push(ranges, bounds[at]!, bounds[at + 1]!)
  }
  return trimmed(ranges)
}

function union(left: Ranges, right: Ranges): Ranges {
  const ranges: Ranges = { bounds: new Uint32Array(left.used + right.used), used: 0 }
  let leftAt = 0
  let rightAt = 0
  while (leftAt < left.used || rightAt < right.used) {
    const takeLeft = rightAt >= right.used || (leftAt < left.used && left.bounds[leftAt]! <= right.bounds[rightAt]!)
    if (takeLeft) {
      push(ranges, left.bounds[leftAt]!, left.bounds[leftAt + 1]!)
      leftAt += 2
    } else {
      push(ranges, right.bounds[rightAt]!, right.bounds[rightAt + 1]!)
      rightAt += 2
    }
  }
  return trimmed(ranges)
}

/** Appends a range that starts no earlier than the last one. There must be room. */
function push(ranges: Ranges, start: number, end: number): void {
  const { bounds, used } = ranges
  if (used > 0 && bounds[used - 1]! >= start) {
    if (bounds[used - 1]! < end) bounds[used - 1] = end
    return
  }
  bounds[used] = start
  bounds[used + 1] = end
  ranges.used = used + 2
}

/** Gives back memory where more than a quarter is unused. */
function trimmed(ranges: Ranges): Ranges {
  if (ranges.used < ranges.bounds.length * 0.75)
    ranges.bounds = ranges.used ? ranges.bounds.slice(0, ranges.used) : EMPTY
  return ranges
}
