/**
 * Reads bytes that somebody else wrote, and never past their end. Numbers have one spelling only: an integer that is
 * padded, or larger than 2^53 - 1, is refused, so that equal updates cannot look different.
 */
import { AssertionError } from '../base/assert.js'
import { utf16Length } from '../base/utf8.js'
import { CausewayError } from '../errors/error.js'

/** Turns a reason (kebab-case) and the byte offset where it was seen into the error to throw. */
export type Refuse = (reason: string, offset: number) => Error

export const badUpdate: Refuse = (reason, offset) => new CausewayError('document/bad-update', { reason, offset })

/** For bytes that were checked before: trouble is then ours. */
export const ownMistake: Refuse = (reason, offset) => new AssertionError(`checked bytes: ${reason} at ${offset}`)

export class Reader {
  readonly bytes: Uint8Array
  /** The next byte to read. */
  position: number
  protected readonly end: number
  protected readonly refuse: Refuse

  constructor(bytes: Uint8Array, refuse: Refuse, position = 0, end = bytes.length) {
    this.bytes = bytes
    this.refuse = refuse
    this.position = position
    this.end = end
  }

  get remaining(): number {
    return this.end - this.position
  }

  byte(): number {
    if (this.position >= this.end) throw this.refuse('truncated', this.position)
    return this.bytes[this.position++]!
  }

  varUint(): number {
    if (this.position >= this.end) throw this.refuse('truncated', this.position)
    const first = this.bytes[this.position]!
    if (first >= 0x80) return this.longVarUint(first & 0x7f, 128)
    this.position++
    return first
  }

  /** A signed integer: the first byte holds the sign and six bits. */
  varInt(): number {
    const first = this.byte()
    let size = first & 0x3f
    if (first >= 0x80) {
      this.position--
      size = this.longVarUint(size, 64)
    }
    return first & 0x40 ? -size : size
  }

  /** A number of things that follow, each of at least `size` bytes: refused before anything is set up for them. */
  count(size: number): number {
    const at = this.position
    const count = this.varUint()
    if (count > this.remaining / size) throw this.refuse('count-exceeds-bytes', at)
    return count
  }

  /** A length and as many bytes: leaves `position` behind them and returns where they start. */
  sized(): number {
    const at = this.position
    const size = this.varUint()
    if (size > this.remaining) throw this.refuse('truncated', at)
    const from = this.position
    this.position += size
    return from
  }

  skip(count: number): void {
    if (count > this.remaining) throw this.refuse('truncated', this.position)
    this.position += count
  }

  /** Passes over a string and returns its length in UTF-16 units. */
  text(): number {
    const from = this.sized()
    const units = utf16Length(this.bytes, from, this.position)
    if (units < 0) throw this.refuse('bad-utf8', from)
    return units
  }

  /** The rest of a number whose first byte says that more follow; `weight` is what the second one counts for. */
  private longVarUint(start: number, weight: number): number {
    const at = this.position
    let position = at + 1
    let value = start
    let factor = weight
    for (;;) {
      if (position >= this.end) throw this.refuse('truncated', at)
      const byte = this.bytes[position++]!
      value += (byte & 0x7f) * factor
      if (byte < 0x80) {
        if (byte === 0 || value > Number.MAX_SAFE_INTEGER) throw this.refuse('bad-varint', at)
        this.position = position
        return value
      }
      factor *= 128
      if (factor >= 2 ** 53) throw this.refuse('bad-varint', at)
    }
  }
}
