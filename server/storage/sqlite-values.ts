/** Values on their way into and out of SQLite. */
import { crc32 } from 'node:zlib'

export type SqliteValue = number | string | Uint8Array | null

/** A stored thing is not what was stored. The message says what was found. */
export class DamageError extends Error {
  override readonly name = 'DamageError'
  readonly position: number | undefined

  constructor(reason: string, position?: number, options?: { cause: unknown }) {
    super(reason, options)
    this.position = position
  }
}

const EXACT_BELOW = 2 ** 51

/** SQLite takes a number that is no 32-bit integer as REAL, and turns it back into INTEGER only below 2^51. */
export function exact(value: number): number | bigint {
  return value < EXACT_BELOW ? value : BigInt(value)
}

/** CRC over the values of a row that changes in place: SQLite itself does not notice a flipped bit in one. */
export function checksumOfValues(values: readonly SqliteValue[]): number {
  return crc32(
    JSON.stringify(values.map((value) => (value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value))),
  )
}
