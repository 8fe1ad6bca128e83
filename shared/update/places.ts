/**
 * Where each item of a document lies, as far as that can hurt: how many shared types are around it, and whether it is the
 * value of a map key. Neither stands in most structs; an item lies where its left neighbour lies. Two things that any
 * writer could do, with small updates one after the other, would break a document for everybody:
 *
 * - Nesting types a few thousand deep. Readers delete a type by deleting what is in it, on their stack: nobody could
 *   delete the outermost one any more.
 * - Several values under one map key in one struct, alive. When such a struct is split, Yjs forgets its left part, and
 *   throws later when the map around it is deleted and collected.
 *
 * Neighbours of ids mostly lie in the same place, so places are kept as runs: a text costs one a client.
 */
import { ByteWriter } from '../base/byte-writer.js'
import { Integration } from './integration.js'
import { badUpdate, ownMistake, Reader } from './reader.js'
import { ANY_VALUES, GC, JSON_VALUES, NONE, STRING, type StructReader } from './struct.js'
import type { UpdateIndex } from './update-index.js'

/** Twice the number of types around an item, plus one where it is the value of a map key. */
export type Place = number

/** From `clock` on, up to the client's next one, items lie in `place`. */
export type PlaceRun = readonly [client: number, clock: number, place: Place]

export interface PlaceReader {
  /** No item ever lay anywhere but in a list or text at the top. */
  readonly isFlat: boolean
  /** The place of a known id. */
  get(client: number, clock: number): Place
}

export const NO_PLACES: PlaceReader = { isFlat: true, get: () => 0 }

interface Runs {
  /** Clocks from which on a place holds, and the places, in turn. */
  entries: Uint32Array
  used: number
}

const NOBODY: ReadonlyMap<number, Runs> = new Map()

export class Places implements PlaceReader {
  /** Shared and empty until the first entry: many documents are open, and most have none. */
  private clients: ReadonlyMap<number, Runs> = NOBODY

  /** The places of a whole document, from an update that was checked before. */
  static of(update: UpdateIndex): Places {
    const placement = new Placement(NO_PLACES, Number.POSITIVE_INFINITY)
    const integration = new Integration(update, { get: () => 0 })
    integration.run((run, reader) => placement.place(run.block.client, reader, reader.clock))
    const places = new Places()
    places.addAll(placement.runs)
    return places
  }

  /** Reads what `encode` wrote. */
  static decode(bytes: Uint8Array): Places {
    const reader = new Reader(bytes, ownMistake)
    const places = new Places()
    for (let left = reader.count(2); left > 0; left--) {
      const client = reader.varUint()
      const entries = new Uint32Array(reader.count(1))
      for (let at = 0; at < entries.length; at++) entries[at] = reader.varUint()
      places.put(client, { entries, used: entries.length })
    }
    return places
  }

  encode(): Uint8Array {
    const writer = new ByteWriter()
    writer.varUint(this.clients.size)
    for (const [client, { entries, used }] of this.clients) {
      writer.varUint(client)
      writer.varUint(used)
      for (let at = 0; at < used; at++) writer.varUint(entries[at]!)
    }
    return writer.finish()
  }

  get isFlat(): boolean {
    return this.clients.size === 0
  }

  get(client: number, clock: number): Place {
    return this.find(client, clock) ?? 0
  }

  /** As `get`; undefined below the client's first run. */
  find(client: number, clock: number): Place | undefined {
    const runs = this.clients.get(client)
    if (!runs) return undefined
    const at = lastStartingUpTo(runs, clock)
    return at < 0 ? undefined : runs.entries[at + 1]!
  }

  /** Takes in runs of ids that come after all of their client so far. */
  addAll(runs: Iterable<PlaceRun>): void {
    for (const [client, clock, place] of runs) this.add(client, clock, place)
  }

  add(client: number, clock: number, place: Place): void {
    const runs = this.clients.get(client)
    if (!runs) {
      this.put(client, { entries: Uint32Array.of(clock, place), used: 2 })
      return
    }
    if (runs.entries[runs.used - 1] === place) return
    if (runs.used === runs.entries.length) {
      const larger = new Uint32Array(Math.max(8, 2 * Math.ceil(runs.used * 0.625)))
      larger.set(runs.entries)
      runs.entries = larger
    }
    runs.entries[runs.used] = clock
    runs.entries[runs.used + 1] = place
    runs.used += 2
  }

  copy(): Places {
    const copy = new Places()
    for (const [client, { entries, used }] of this.clients) copy.put(client, { entries: entries.slice(0, used), used })
    return copy
  }

  private put(client: number, entry: Runs): void {
    if (this.clients === NOBODY) this.clients = new Map()
    ;(this.clients as Map<number, Runs>).set(client, entry)
  }

  /** Number of runs. */
  get size(): number {
    let count = 0
    for (const { used } of this.clients.values()) count += used / 2
    return count
  }

  /** Estimated bytes in memory. */
  get byteSize(): number {
    let bytes = 0
    for (const { entries } of this.clients.values()) bytes += 200 + entries.byteLength
    return bytes
  }
}

/** Index of the last run that starts at or below `clock`, -1 where none does. */
function lastStartingUpTo({ entries, used }: Runs, clock: number): number {
  // Most questions are about what was written last.
  if (entries[used - 2]! <= clock) return used - 2
  let low = 0
  let high = used / 2 - 1
  while (low < high) {
    const middle = (low + high) >>> 1
    if (entries[2 * middle]! > clock) high = middle
    else low = middle + 1
  }
  return 2 * low - 2
}

/** Finds the places of an update's structs, given in an order in which each comes after what it refers to. */
export class Placement {
  /** Runs of the ids placed, for `Places.addAll`. */
  readonly runs: PlaceRun[] = []
  private readonly known: PlaceReader
  private readonly typeDepth: number
  /** The last run; most updates have only one, and the others are kept from the second on. */
  private client = NONE
  private clock = 0
  private latest: Place = 0
  private placed: Places | undefined

  constructor(known: PlaceReader, typeDepth: number) {
    this.known = known
    this.typeDepth = typeDepth
  }

  /**
   * Places the current struct, one of `client`'s, from `clock` on (above its first clock where a part was known).
   * Returns whether it is of the kind that must not live: several values under one map key.
   * Throws `document/bad-update` where types lie too deep.
   */
  place(client: number, reader: StructReader, clock: number): boolean {
    const place = this.placeOf(client, reader, clock)
    if (place > 2 * this.typeDepth + 1) throw badUpdate('types-too-deep', reader.from)
    if (client !== this.client || place !== this.latest) {
      const before = clock === 0 ? 0 : this.get(client, clock - 1)
      if (before !== place) this.runs.push([client, clock, place])
      this.begin(client, clock, place)
    }
    const { content } = reader
    const canBeSeveral = content === ANY_VALUES || content === JSON_VALUES || content === STRING
    return canBeSeveral && (place & 1) === 1 && reader.clockEnd - clock > 1
  }

  private begin(client: number, clock: number, place: Place): void {
    if (this.client !== NONE) {
      this.placed ??= new Places()
      this.placed.add(this.client, this.clock, this.latest)
    }
    this.client = client
    this.clock = clock
    this.latest = place
  }

  private placeOf(client: number, reader: StructReader, clock: number): Place {
    // Nobody is the neighbour of what was collected: such items are collected as well.
    if (reader.content === GC) return 0
    if (clock > reader.clock) return this.get(client, clock - 1)
    if (reader.originClient !== NONE) return this.get(reader.originClient, reader.originClock)
    if (reader.rightClient !== NONE) return this.get(reader.rightClient, reader.rightClock)
    const isEntry = reader.keyFrom === NONE ? 0 : 1
    if (reader.parentClient === NONE) return isEntry
    return 2 * ((this.get(reader.parentClient, reader.parentClock) >> 1) + 1) + isEntry
  }

  private get(client: number, clock: number): Place {
    if (client === this.client && clock >= this.clock) return this.latest
    return this.placed?.find(client, clock) ?? this.known.get(client, clock)
  }
}
