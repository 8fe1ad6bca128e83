/**
 * Writes lib0's encoding (`lib0/decoding` reads it) into a buffer that lives on. Encoding an op is the innermost loop of
 * every commit, and making an encoder and joining its pieces costs more there than writing the bytes.
 */
import * as encoding from 'lib0/encoding'

const FIRST_BYTES = 4 * 1024
/** A buffer that a large op has grown is not kept. */
const KEPT_BYTES = 256 * 1024
/** Below this a loop is faster than the call that copies. */
const COPIED_BY_HAND = 48
const LONGEST_VARINT = 8

export class OpWriter {
  private bytes = new Uint8Array(FIRST_BYTES)
  private length = 0

  /** Forgets what was written. */
  reset(): this {
    if (this.bytes.length > KEPT_BYTES) this.bytes = new Uint8Array(FIRST_BYTES)
    this.length = 0
    return this
  }

  byte(value: number): void {
    this.reserve(1)
    this.bytes[this.length++] = value
  }

  /** `value` is a non-negative safe integer. */
  varUint(value: number): void {
    this.reserve(LONGEST_VARINT)
    let rest = value
    while (rest > 0x7f) {
      this.bytes[this.length++] = 0x80 | (rest & 0x7f)
      rest = Math.floor(rest / 128)
    }
    this.bytes[this.length++] = rest
  }

  /** `value` is a safe integer. */
  varInt(value: number): void {
    this.reserve(LONGEST_VARINT)
    let rest = Math.abs(value)
    const sign = value < 0 ? 0x40 : 0
    this.bytes[this.length++] = (rest > 0x3f ? 0x80 : 0) | sign | (rest & 0x3f)
    rest = Math.floor(rest / 64)
    while (rest > 0) {
      this.bytes[this.length++] = (rest > 0x7f ? 0x80 : 0) | (rest & 0x7f)
      rest = Math.floor(rest / 128)
    }
  }

  /** Bytes without their length. */
  raw(value: Uint8Array): void {
    const size = value.length
    this.reserve(size)
    if (size > COPIED_BY_HAND) this.bytes.set(value, this.length)
    else for (let index = 0; index < size; index++) this.bytes[this.length + index] = value[index]!
    this.length += size
  }

  varBytes(value: Uint8Array): void {
    this.varUint(value.length)
    this.raw(value)
  }

  text(value: string): void {
    if (!isShortAscii(value)) {
      this.raw(encoding.encode((encoder) => encoding.writeVarString(encoder, value)))
      return
    }
    this.byte(value.length)
    this.reserve(value.length)
    for (let index = 0; index < value.length; index++) this.bytes[this.length++] = value.charCodeAt(index)
  }

  /** What was written, as a view that holds until the next write. */
  view(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }

  /** What was written, as a copy. */
  take(): Uint8Array {
    return this.bytes.slice(0, this.length)
  }

  private reserve(size: number): void {
    const needed = this.length + size
    if (needed <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(needed, 2 * this.bytes.length))
    grown.set(this.bytes)
    this.bytes = grown
  }
}

function isShortAscii(text: string): boolean {
  if (text.length > 0x7f) return false
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 0x7f) return false
  return true
}
