/**
 * JSON text of values that came from strangers, written piece by piece under a limit. As text there is no object whose
 * prototype a key could reach, no `toJSON` that is called, and a document that asks for too much is stopped while it is
 * written. Also, a finished text crosses threads and enters an answer without anybody walking it again.
 */
import { CausewayError } from '../../shared/errors/error.js'
import { deeper } from './document-state.js'

/** UTF-16 code units that one JSON view may have. */
export const VIEW_LIMIT_CODE_UNITS = 32 * 1024 * 1024

/** Grows up to a limit; beyond it every write throws `document/too-expensive`. */
export class BoundedText {
  private readonly limit: number
  private text = ''

  constructor(limit: number = VIEW_LIMIT_CODE_UNITS) {
    this.limit = limit
  }

  write(piece: string): void {
    if (this.text.length + piece.length > this.limit) {
      throw new CausewayError('document/too-expensive', { limit: `${this.limit} characters` })
    }
    this.text += piece
  }

  /** Code units that still fit. */
  get room(): number {
    return this.limit - this.text.length
  }

  toString(): string {
    return this.text
  }
}

/** Writes `[…]`, one call of `write` per item. */
export function writeArray<Item>(out: BoundedText, items: Iterable<Item>, write: (item: Item) => void): void {
  let separator = '['
  for (const item of items) {
    out.write(separator)
    write(item)
    separator = ','
  }
  out.write(separator === '[' ? '[]' : ']')
}

/** Writes `{…}`, keys in the order given, one call of `write` per value. */
export function writeObject<Value>(
  out: BoundedText,
  entries: Iterable<readonly [key: string, value: Value]>,
  write: (value: Value, key: string) => void,
): void {
  let separator = '{'
  for (const [key, value] of entries) {
    out.write(separator)
    out.write(`${JSON.stringify(key)}:`)
    write(value, key)
    separator = ','
  }
  out.write(separator === '{' ? '{}' : '}')
}

/**
 * Writes a plain value as `JSON.stringify` would, own keys only, with what JSON lacks made up: bytes are base64 strings,
 * a bigint is a string of its digits, `undefined` is left out of objects and null elsewhere, NaN and infinities are null.
 */
export function writeValue(out: BoundedText, value: unknown, depth: number): void {
  const scalar = scalarText(value)
  if (scalar !== undefined) {
    out.write(scalar)
    return
  }
  const inner = deeper(depth)
  if (Array.isArray(value)) {
    writeArray(out, value, (item) => writeValue(out, item, inner))
  } else {
    const defined = Object.entries(value as object).filter(([, field]) => field !== undefined)
    writeObject(out, defined, (field) => writeValue(out, field, inner))
  }
}

/** The text of whatever has no parts; undefined for arrays and objects. */
function scalarText(value: unknown): string | undefined {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : 'null'
  if (typeof value === 'boolean') return String(value)
  if (typeof value === 'bigint') return `"${value}"`
  if (value instanceof Uint8Array) return `"${asBase64(value)}"`
  return value === undefined || value === null ? 'null' : undefined
}

function asBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}
