/**
 * Two contents for one struct id: a duplicated tab, or somebody who lies. Where a received update repeats ids that the
 * document has, both are compared unit by unit, since honest copies differ in how items are split and merged: the
 * origin of a unit inside an item is the unit before it, the right origin is the item's, and what is deleted or
 * collected on either side says nothing about what it was. (Where somebody else than its owner brought it, it does say
 * something: then what the owner still shows there is not what is stored.) Values are compared as readers see them, not by their bytes:
 * implementations write keys in other orders and numbers in other forms.
 */
import { decodeUtf8 } from 'lib0/string'
import { assert } from '../base/assert.js'
import { codePointAt, sequenceSize } from '../base/utf8.js'
import { type AnyValue, checkAny, readAny } from './any-value.js'
import type { ClockRange } from './check.js'
import { DeleteSet, readDeleteRanges } from './delete-set.js'
import { ownMistake, Reader } from './reader.js'
import { ANY_VALUES, EMBED, FORMAT, JSON_VALUES, NONE, STRING, StructReader, SUBDOCUMENT } from './struct.js'
import { deletesOf, findBlock, indexUpdate, type UpdateIndex } from './update-index.js'

/**
 * Whether both updates, checked before, hold the same content for the ids of `overlaps`, as `checkUpdate` lists them.
 * `stored` holds the whole document. Takes time in proportion to the blocks concerned: for a worker.
 */
export function contentAgrees(
  stored: Uint8Array | UpdateIndex,
  received: Uint8Array | UpdateIndex,
  overlaps: readonly ClockRange[],
  doubtfulFrom: ReadonlyMap<number, number> = NOTHING_DOUBTFUL,
): boolean {
  const left = stored instanceof Uint8Array ? indexUpdate(stored) : stored
  const right = received instanceof Uint8Array ? indexUpdate(received) : received
  let mine: Units | undefined
  let theirs: Units | undefined
  const shown = doubtfulFrom.size === 0 ? undefined : new Shown(right)
  for (const [client, from, to] of overlaps) {
    if (!mine || !theirs || mine.client !== client || mine.clock > from) {
      mine = new Units(left, client)
      theirs = new Units(right, client)
    }
    if (!rangeAgrees(mine, theirs, from, to)) return false
    const doubtful = Math.max(from, doubtfulFrom.get(client) ?? to)
    if (shown && doubtful < to && shown.isMore(new Units(left, client), new Units(right, client), doubtful, to))
      return false
  }
  return true
}

const NOTHING_DOUBTFUL: ReadonlyMap<number, number> = new Map()

/** What the sender of an update still shows. */
class Shown {
  private readonly deleted: DeleteSet

  constructor(received: UpdateIndex) {
    this.deleted = DeleteSet.fromFlat(readDeleteRanges(deletesOf(received)))
  }

  /** Whether `theirs` shows something of a range where `mine` has only deleted or collected structs. */
  isMore(mine: Units, theirs: Units, from: number, to: number): boolean {
    for (let clock = from; clock < to; ) {
      mine.moveTo(clock)
      theirs.moveTo(clock)
      const until = Math.min(to, mine.struct.clockEnd, theirs.struct.clockEnd)
      if (mine.struct.isDeleted && !theirs.struct.isDeleted) {
        if (this.deleted.uncovered(theirs.client, clock, until - clock).length > 0) return true
      }
      clock = until
    }
    return false
  }
}

function rangeAgrees(mine: Units, theirs: Units, from: number, to: number): boolean {
  for (let clock = from; clock < to; ) {
    mine.moveTo(clock)
    theirs.moveTo(clock)
    const until = Math.min(to, mine.struct.clockEnd, theirs.struct.clockEnd)
    if (!mine.struct.isDeleted && !theirs.struct.isDeleted) {
      if (!placesAgree(mine, theirs) || !contentsAgree(mine, theirs, until - clock)) return false
    }
    clock = until
  }
  return true
}

/** One client's structs of an update, walked unit by unit. */
class Units {
  readonly client: number
  readonly struct: StructReader
  /** The clock stood on. */
  clock: number
  private readonly clockEnd: number
  /** The values of the current struct that were not read yet; undefined before the first. */
  private contents: Reader | undefined
  /** The second half of a surrogate pair whose first half was read. */
  private lowSurrogate = 0

  constructor(update: UpdateIndex, client: number) {
    const block = update.blocks[findBlock(update.blocks, client)]
    assert(block, `client ${client} is in neither or one update`)
    this.client = client
    this.struct = new StructReader(update.bytes, 'checked', block.from)
    this.clock = block.clock
    this.clockEnd = block.clockEnd
    this.struct.struct(block.clock)
  }

  moveTo(clock: number): void {
    assert(clock >= this.clock && clock < this.clockEnd, `clock ${clock} of client ${this.client} is not in the update`)
    while (this.struct.clockEnd <= clock) {
      this.clock = this.struct.clockEnd
      this.struct.struct(this.clock)
      this.contents = undefined
      this.lowSurrogate = 0
    }
    if (this.struct.isDeleted) this.clock = clock
    while (this.clock < clock) this.pass()
  }

  /** The next UTF-16 unit of a text. */
  unit(): number {
    this.clock++
    if (this.lowSurrogate !== 0) {
      const low = this.lowSurrogate
      this.lowSurrogate = 0
      return low
    }
    const contents = this.openContents()
    const point = codePointAt(contents.bytes, contents.position)
    contents.position += sequenceSize(contents.bytes[contents.position]!)
    if (point < 0x10000) return point
    this.lowSurrogate = 0xdc00 + ((point - 0x10000) & 0x3ff)
    return 0xd800 + ((point - 0x10000) >> 10)
  }

  /** The bytes of the next value; for contents of one unit, of all of it. */
  value(): Uint8Array {
    this.clock++
    const contents = this.openContents()
    const { content } = this.struct
    if (content === ANY_VALUES) {
      const from = contents.position
      checkAny(contents, Number.POSITIVE_INFINITY)
      return contents.bytes.subarray(from, contents.position)
    }
    if (content === JSON_VALUES) return contents.bytes.subarray(contents.sized(), contents.position)
    return contents.bytes.subarray(this.struct.contentFrom, this.struct.position)
  }

  private pass(): void {
    if (this.struct.content === STRING) this.unit()
    else this.value()
  }

  private openContents(): Reader {
    if (this.contents) return this.contents
    const { bytes, contentFrom, position, content } = this.struct
    this.contents = new Reader(bytes, ownMistake, contentFrom, position)
    // A text starts with its size, values with their number.
    if (content === STRING || content === ANY_VALUES || content === JSON_VALUES) this.contents.varUint()
    return this.contents
  }
}

/** Whether the units stood on were put at the same place. */
function placesAgree(mine: Units, theirs: Units): boolean {
  const left = mine.struct
  const right = theirs.struct
  if (left.content !== right.content) return false
  if (!sameId(left.rightClient, left.rightClock, right.rightClient, right.rightClock)) return false
  const { client, clock } = mine
  const leftOrigin = clock > left.clock ? client : left.originClient
  const rightOrigin = clock > right.clock ? client : right.originClient
  const leftOriginClock = clock > left.clock ? clock - 1 : left.originClock
  const rightOriginClock = clock > right.clock ? clock - 1 : right.originClock
  if (!sameId(leftOrigin, leftOriginClock, rightOrigin, rightOriginClock)) return false
  // The parent is named only where nothing stood on either side, and then by every copy.
  if (leftOrigin !== NONE || left.rightClient !== NONE) return true
  return (
    sameId(left.parentClient, left.parentClock, right.parentClient, right.parentClock) &&
    sameText(left, left.rootFrom, left.rootTo, right, right.rootFrom, right.rootTo) &&
    sameText(left, left.keyFrom, left.keyTo, right, right.keyFrom, right.keyTo)
  )
}

function sameId(leftClient: number, leftClock: number, rightClient: number, rightClock: number): boolean {
  return leftClient === rightClient && (leftClient === NONE || leftClock === rightClock)
}

function sameText(
  left: StructReader,
  leftFrom: number,
  leftTo: number,
  right: StructReader,
  rightFrom: number,
  rightTo: number,
): boolean {
  if (leftFrom === NONE || rightFrom === NONE) return leftFrom === rightFrom
  return sameBytes(left.bytes.subarray(leftFrom, leftTo), right.bytes.subarray(rightFrom, rightTo))
}

/** Compares the next `count` units; both sides hold the same kind of content. */
function contentsAgree(mine: Units, theirs: Units, count: number): boolean {
  const compare = comparisonOf(mine.struct.content)
  for (let left = count; left > 0; left--) {
    if (mine.struct.content === STRING) {
      if (!sameUnit(mine.unit(), theirs.unit())) return false
    } else {
      const ours = mine.value()
      const other = theirs.value()
      if (!sameBytes(ours, other) && !compare(ours, other)) return false
    }
  }
  return true
}

/** Yjs replaces both halves of a surrogate pair that it splits. */
function sameUnit(left: number, right: number): boolean {
  if (left === right) return true
  return (left === 0xfffd && isSurrogate(right)) || (right === 0xfffd && isSurrogate(left))
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xe000
}

type Comparison = (left: Uint8Array, right: Uint8Array) => boolean

/** How contents that are not byte for byte the same may still be. */
function comparisonOf(content: number): Comparison {
  if (content === ANY_VALUES)
    return (left, right) => sameValue(readAny(reading(left), decodeUtf8), readAny(reading(right), decodeUtf8))
  if (content === JSON_VALUES) return sameJson
  if (content === EMBED) return (left, right) => sameJson(firstText(left).text, firstText(right).text)
  if (content === FORMAT) {
    return (left, right) => {
      const leftKey = firstText(left)
      const rightKey = firstText(right)
      return (
        sameBytes(leftKey.text, rightKey.text) && sameJson(firstText(leftKey.rest).text, firstText(rightKey.rest).text)
      )
    }
  }
  // The options of a subdocument are rewritten by each implementation; its id is what makes it that document.
  if (content === SUBDOCUMENT) return (left, right) => sameBytes(firstText(left).text, firstText(right).text)
  return () => false
}

function reading(bytes: Uint8Array): Reader {
  return new Reader(bytes, ownMistake)
}

function firstText(bytes: Uint8Array): { text: Uint8Array; rest: Uint8Array } {
  const reader = reading(bytes)
  const from = reader.sized()
  return { text: bytes.subarray(from, reader.position), rest: bytes.subarray(reader.position) }
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false
  for (let at = 0; at < left.length; at++) if (left[at] !== right[at]) return false
  return true
}

function sameValue(left: AnyValue, right: AnyValue): boolean {
  if (left === right) return true
  if (typeof left === 'number') return Number.isNaN(left) && Number.isNaN(right)
  if (left instanceof Uint8Array) return right instanceof Uint8Array && sameBytes(left, right)
  if (Array.isArray(left)) {
    return Array.isArray(right) && left.length === right.length && left.every((item, at) => sameValue(item, right[at]))
  }
  if (!(left instanceof Map) || !(right instanceof Map) || left.size !== right.size) return false
  for (const [key, value] of left) if (!right.has(key) || !sameValue(value, right.get(key))) return false
  return true
}

function sameJson(left: Uint8Array, right: Uint8Array): boolean {
  return sameValue(jsonValue(parsedJson(left)), jsonValue(parsedJson(right)))
}

function parsedJson(bytes: Uint8Array): unknown {
  const text = decodeUtf8(bytes)
  return text === 'undefined' ? undefined : JSON.parse(text)
}

function jsonValue(value: unknown): AnyValue {
  if (Array.isArray(value)) return value.map(jsonValue)
  if (value === null || typeof value !== 'object') return value as AnyValue
  return new Map(Object.entries(value).map(([key, item]) => [key, jsonValue(item)]))
}
