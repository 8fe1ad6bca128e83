/**
 * Reads the lib0 encoding out of a received frame. The library's own decoder trusts the lengths it reads: a claimed
 * length beyond the frame gives a shorter view, and a number beyond 2^53 gives a rounded one. Here each read is checked
 * against what remains, and whatever does not fit is `protocol/bad-message`.
 */
import { decodeUtf8 } from 'lib0/string'
import { CausewayError } from '../errors/error.js'

/** A message that cannot be decoded. `reason` names the rule, never the content. */
export function badMessage(reason: string, cause?: unknown): CausewayError {
  return new CausewayError('protocol/bad-message', { reason }, cause === undefined ? {} : { cause })
}

export class FrameReader {
  private readonly bytes: Uint8Array
  private position = 0

  /** The reader keeps `bytes` and hands out views of them. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get remaining(): number {
    return this.bytes.length - this.position
  }

  /** Seven bits a byte, least significant group first, top bit set while more follow; at most 2^53 - 1. */
  varUint(): number {
    const { bytes } = this
    let value = 0
    let unit = 1
    while (this.position < bytes.length) {
      const byte = bytes[this.position++] as number
      value += (byte & 0x7f) * unit
      if (value > Number.MAX_SAFE_INTEGER) throw badMessage('number too large')
      if (byte < 0x80) return value
      unit *= 0x80
    }
    throw badMessage('truncated number')
  }

  byte(): number {
    const value = this.bytes[this.position++]
    if (value === undefined) throw badMessage('truncated')
    return value
  }

  /** A length and that many bytes, as a view of the frame. */
  varBytes(): Uint8Array {
    return this.raw(this.varUint())
  }

  /** The next `length` bytes, as a view of the frame. */
  raw(length: number): Uint8Array {
    if (length > this.remaining) throw badMessage('length beyond the frame')
    const { buffer, byteOffset } = this.bytes
    const start = byteOffset + this.position
    this.position += length
    // A plain array even of a Node Buffer, whose `slice` would share instead of copy.
    return new Uint8Array(buffer, start, length)
  }

  /** UTF-8 of at most `limitBytes`. */
  varString(limitBytes: number): string {
    const bytes = this.varBytes()
    if (bytes.length > limitBytes) throw badMessage('string too long')
    try {
      return decodeUtf8(bytes)
    } catch (cause) {
      throw badMessage('not UTF-8', cause)
    }
  }
}
