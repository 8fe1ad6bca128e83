/**
 * The self-describing values of Yjs updates: a type byte from 116 to 127, then the value. Objects and arrays nest, so
 * every walk has a depth. Integers of 64 bits are refused: they have no JSON, and one of them would make every JSON
 * view of its document fail.
 */
import { checkKey } from './key.js'
import { badUpdate, type Reader } from './reader.js'

const UNDEFINED = 127
const NULL = 126
const INTEGER = 125
const FLOAT32 = 124
const FLOAT64 = 123
const BIG_INTEGER = 122
const FALSE = 121
const TRUE = 120
const STRING = 119
const OBJECT = 118
const ARRAY = 117
const BYTES = 116

/** Passes over one value, at most `depth` objects and arrays deep. Throws `document/bad-update`. */
export function checkAny(reader: Reader, depth: number): void {
  const at = reader.position
  const type = reader.byte()
  switch (type) {
    case UNDEFINED:
    case NULL:
    case TRUE:
    case FALSE:
      return
    case INTEGER:
      reader.varInt()
      return
    case FLOAT32:
      reader.skip(4)
      return
    case FLOAT64:
      reader.skip(8)
      return
    case STRING:
      reader.text()
      return
    case BYTES:
      reader.sized()
      return
    case OBJECT:
      if (depth === 0) throw badUpdate('value-too-deep', at)
      for (let left = reader.count(2); left > 0; left--) {
        checkKey(reader, Number.POSITIVE_INFINITY)
        checkAny(reader, depth - 1)
      }
      return
    case ARRAY:
      if (depth === 0) throw badUpdate('value-too-deep', at)
      for (let left = reader.count(1); left > 0; left--) checkAny(reader, depth - 1)
      return
    case BIG_INTEGER:
      throw badUpdate('big-integer', at)
    default:
      throw badUpdate('unknown-value-type', at)
  }
}

/**
 * Passes over the options of a subdocument. Yjs hands them to the constructor of a document, where other names than
 * these would replace its id or its functions. The Rust implementation writes more of them than Yjs, and `encoding` as
 * 64 bits; no reader ever shows that one.
 */
export function checkSubdocumentOptions(reader: Reader, depth: number): void {
  const at = reader.position
  if (reader.byte() !== OBJECT) throw badUpdate('bad-subdocument-options', at)
  for (let left = reader.count(2); left > 0; left--) {
    const keyAt = reader.position
    const from = reader.sized()
    const name = asciiText(reader.bytes, from, reader.position)
    const allowed = SUBDOCUMENT_OPTIONS.get(name)
    if (!allowed) throw badUpdate('bad-subdocument-options', keyAt)
    const type = reader.bytes[reader.position]
    if (allowed !== 'any' && !allowed.includes(type ?? -1)) throw badUpdate('bad-subdocument-options', keyAt)
    if (type === BIG_INTEGER && allowed !== 'any') reader.skip(9)
    else checkAny(reader, depth)
  }
}

const BOOLEAN = [TRUE, FALSE]
const SUBDOCUMENT_OPTIONS: ReadonlyMap<string, 'any' | readonly number[]> = new Map<string, 'any' | readonly number[]>([
  ['gc', BOOLEAN],
  ['autoLoad', BOOLEAN],
  ['shouldLoad', BOOLEAN],
  ['collectionid', [STRING]],
  ['collectionId', [STRING]],
  ['encoding', [INTEGER, BIG_INTEGER]],
  ['meta', 'any'],
])

function asciiText(bytes: Uint8Array, from: number, to: number): string {
  // Longer than any name that is allowed: no need to spell it out.
  return to - from > 16 ? '' : String.fromCharCode(...bytes.subarray(from, to))
}

/** A value that was checked, for comparing: objects as `Map`s, so that neither order nor prototypes matter. */
export type AnyValue = undefined | null | boolean | number | string | Uint8Array | AnyValue[] | Map<string, AnyValue>

export function readAny(reader: Reader, decodeText: (bytes: Uint8Array) => string): AnyValue {
  const type = reader.byte()
  switch (type) {
    case UNDEFINED:
      return undefined
    case NULL:
      return null
    case TRUE:
      return true
    case FALSE:
      return false
    case INTEGER:
      return reader.varInt()
    case FLOAT32: {
      reader.skip(4)
      return viewOf(reader.bytes).getFloat32(reader.position - 4)
    }
    case FLOAT64: {
      reader.skip(8)
      return viewOf(reader.bytes).getFloat64(reader.position - 8)
    }
    case STRING: {
      const from = reader.sized()
      return decodeText(reader.bytes.subarray(from, reader.position))
    }
    case BYTES: {
      const from = reader.sized()
      return reader.bytes.subarray(from, reader.position)
    }
    case OBJECT: {
      const entries = new Map<string, AnyValue>()
      for (let left = reader.count(2); left > 0; left--) {
        const from = reader.sized()
        const key = decodeText(reader.bytes.subarray(from, reader.position))
        entries.set(key, readAny(reader, decodeText))
      }
      return entries
    }
    default: {
      const items: AnyValue[] = []
      for (let left = reader.count(1); left > 0; left--) items.push(readAny(reader, decodeText))
      return items
    }
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
