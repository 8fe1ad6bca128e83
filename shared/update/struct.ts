/**
 * One struct of an update at a time, in place: where it starts and ends, what it refers to, how many clocks it spans.
 *
 *     info byte | origin? | right origin? | parent (only without origins): root name or id, map key? | content
 *
 * A struct of length n stands for n units (c, k) … (c, k+n-1). Splitting an item after its first i units gives a right
 * part whose origin is (c, k+i-1) and whose right origin is that of the whole; that is how Yjs splits, and how a
 * struct is cut here where its first units are known already.
 */
import { utf16Length, utf16LengthOfValid } from '../base/utf8.js'
import { checkAny, checkSubdocumentOptions } from './any-value.js'
import { checkJson } from './json-text.js'
import { checkKey } from './key.js'
import { DEFAULT_UPDATE_LIMITS, type UpdateLimits } from './limits.js'
import { badUpdate, ownMistake, Reader } from './reader.js'

/** Content of a struct: the lower five bits of its info byte. */
export const GC = 0
export const DELETED = 1
export const JSON_VALUES = 2
const BINARY = 3
export const STRING = 4
export const EMBED = 5
export const FORMAT = 6
export const TYPE = 7
export const ANY_VALUES = 8
export const SUBDOCUMENT = 9
export const SKIP = 10

const CONTENT_BITS = 0b0001_1111
const HAS_MAP_KEY = 0b0010_0000
const HAS_RIGHT_ORIGIN = 0b0100_0000
const HAS_ORIGIN = 0b1000_0000

const XML_ELEMENT = 3
const XML_HOOK = 5
const LAST_TYPE = 6

/** Instead of a client id, an offset: there is none. */
export const NONE = -1

/** `checked`: the bytes passed the parser before, contents are passed over by their lengths. */
export type Trust = 'received' | 'checked'

export class StructReader extends Reader {
  /** First clock of the current struct. */
  clock = 0
  length = 0
  info = 0
  /** One of `GC` … `SKIP`. */
  content = GC
  /** Byte offsets of the current struct, of its content, and behind it: `position`. */
  from = 0
  contentFrom = 0
  /** Ids referred to; the client is `NONE` where there is none. */
  originClient = NONE
  originClock = 0
  rightClient = NONE
  rightClock = 0
  parentClient = NONE
  parentClock = 0
  /** Texts of the root type's name and of the map key: byte offsets, `NONE` where there is none. */
  rootFrom = NONE
  rootTo = 0
  keyFrom = NONE
  keyTo = 0
  /** The text starts or ends with U+FFFD: what Yjs writes for half a surrogate pair. */
  hasReplacement = false
  private readonly limits: UpdateLimits
  private readonly trusted: boolean

  constructor(bytes: Uint8Array, trust: Trust, position = 0, limits: UpdateLimits = DEFAULT_UPDATE_LIMITS) {
    super(bytes, trust === 'checked' ? ownMistake : badUpdate, position)
    this.trusted = trust === 'checked'
    this.limits = limits
  }

  /** Reads the struct at `position`, whose first clock is `clock`. Throws `document/bad-update`. */
  struct(clock: number): void {
    const from = this.position
    const info = this.byte()
    this.from = from
    this.clock = clock
    this.info = info
    this.content = info & CONTENT_BITS
    this.originClient = NONE
    this.rightClient = NONE
    this.parentClient = NONE
    this.rootFrom = NONE
    this.keyFrom = NONE
    this.hasReplacement = false
    if (this.content === GC || this.content === SKIP) {
      if (info !== this.content) throw this.refuse('bad-struct-info', from)
      this.contentFrom = this.position
      this.length = this.varUint()
    } else {
      if ((info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN)) === 0) this.place(info)
      else this.origins(info)
      this.contentFrom = this.position
      this.length = this.contents()
    }
    if (this.length === 0) throw this.refuse('empty-struct', from)
  }

  /** The clock behind the current struct. */
  get clockEnd(): number {
    return this.clock + this.length
  }

  get isDeleted(): boolean {
    return this.content <= DELETED
  }

  private origins(info: number): void {
    if ((info & HAS_ORIGIN) !== 0) {
      this.originClient = this.varUint()
      this.originClock = this.varUint()
    }
    if ((info & HAS_RIGHT_ORIGIN) !== 0) {
      this.rightClient = this.varUint()
      this.rightClock = this.varUint()
    }
  }

  private place(info: number): void {
    const at = this.position
    const isRoot = this.varUint()
    if (isRoot > 1) throw this.refuse('bad-parent-info', at)
    if (isRoot === 1) {
      this.rootFrom = this.key()
      this.rootTo = this.position
    } else {
      this.parentClient = this.varUint()
      this.parentClock = this.varUint()
    }
    if ((info & HAS_MAP_KEY) !== 0) {
      this.keyFrom = this.key()
      this.keyTo = this.position
    }
  }

  private key(): number {
    return this.trusted ? this.sized() : checkKey(this, this.limits.keyBytes)
  }

  /** Passes over the content and returns its length in clocks. */
  private contents(): number {
    switch (this.content) {
      case DELETED:
        return this.varUint()
      case STRING:
        return this.string()
      case ANY_VALUES: {
        const count = this.count(1)
        for (let left = count; left > 0; left--) checkAny(this, this.depth)
        return count
      }
      case JSON_VALUES: {
        const count = this.count(1)
        for (let left = count; left > 0; left--) this.json(true)
        return count
      }
      case BINARY:
        this.sized()
        return 1
      case EMBED:
        this.json(false)
        return 1
      case FORMAT:
        this.key()
        this.json(false)
        return 1
      case TYPE:
        this.type()
        return 1
      case SUBDOCUMENT:
        this.key()
        checkSubdocumentOptions(this, this.depth)
        return 1
      default:
        throw this.refuse('unknown-content', this.from)
    }
  }

  private get depth(): number {
    return this.trusted ? Number.POSITIVE_INFINITY : this.limits.valueDepth
  }

  private string(): number {
    const from = this.sized()
    const { bytes, position } = this
    if (this.trusted) return utf16LengthOfValid(bytes, from, position)
    const units = utf16Length(bytes, from, position)
    if (units < 0) throw this.refuse('bad-utf8', from)
    this.hasReplacement = isReplacement(bytes, from, position) || isReplacement(bytes, position - 3, position)
    return units
  }

  private json(mayBeUndefined: boolean): void {
    const from = this.sized()
    if (this.trusted) return
    const { bytes, position } = this
    if (mayBeUndefined && isUndefined(bytes, from, position)) return
    if (utf16Length(bytes, from, position) < 0) throw this.refuse('bad-utf8', from)
    checkJson(bytes, from, position, this.limits.valueDepth, badUpdate)
  }

  private type(): void {
    const at = this.position
    const type = this.varUint()
    if (type > LAST_TYPE) throw this.refuse('unknown-type', at)
    if (type === XML_ELEMENT || type === XML_HOOK) this.key()
  }
}

/** U+FFFD in UTF-8 at `from`, inside a text that ends at `to`. */
function isReplacement(bytes: Uint8Array, from: number, to: number): boolean {
  return from + 3 <= to && bytes[from] === 0xef && bytes[from + 1] === 0xbf && bytes[from + 2] === 0xbd
}

/** The one text among JSON contents that is no JSON: it stands for `undefined`. */
function isUndefined(bytes: Uint8Array, from: number, to: number): boolean {
  const word = 'undefined'
  if (to - from !== word.length) return false
  for (let at = 0; at < word.length; at++) if (bytes[from + at] !== word.charCodeAt(at)) return false
  return true
}
