/** A byte array that grows as it is written: variable-length integers (7 bits a byte, low bits first) and raw bytes. */
export class ByteWriter {
  private buffer: Uint8Array
  private used = 0

  /** `capacity` bytes are reserved at once; a good guess saves copying. */
  constructor(capacity = 64) {
    this.buffer = new Uint8Array(Math.max(capacity, 16))
  }

  /** Bytes written so far. */
  get length(): number {
    return this.used
  }

  byte(value: number): void {
    this.reserve(1)
    this.buffer[this.used++] = value
  }

  /** A whole number from 0 to 2^53 - 1. */
  varUint(value: number): void {
    this.reserve(8)
    let rest = value
    while (rest > 0x7f) {
      this.buffer[this.used++] = (rest % 128) | 0x80
      rest = Math.floor(rest / 128)
    }
    this.buffer[this.used++] = rest
  }

  bytes(source: Uint8Array): void {
    this.reserve(source.length)
    this.buffer.set(source, this.used)
    this.used += source.length
  }

  /** What was written, as a view that ends here: write no more afterwards. */
  finish(): Uint8Array {
    return this.buffer.subarray(0, this.used)
  }

  private reserve(count: number): void {
    const needed = this.used + count
    if (needed <= this.buffer.length) return
    const larger = new Uint8Array(Math.max(needed, this.buffer.length * 2))
    larger.set(this.buffer.subarray(0, this.used))
    this.buffer = larger
  }
}

/** How many bytes `ByteWriter.varUint` needs for `value`. */
export function varUintSize(value: number): number {
  let size = 1
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 128)) size++
  return size
}
