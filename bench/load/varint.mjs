// lib0's variable-length unsigned integers, read without an object per number.

/** The number at `at`; `varUint.end` is then the offset behind it. */
export function varUint(bytes, at) {
  let byte = bytes[at++]
  let value = byte & 0x7f
  let factor = 128
  while (byte >= 0x80) {
    byte = bytes[at++]
    if (byte === undefined) throw new Error('a number that ends outside its message')
    value += (byte & 0x7f) * factor
    factor *= 128
  }
  varUint.end = at
  return value
}
varUint.end = 0
