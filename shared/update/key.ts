/**
 * Names that readers use as keys of plain objects: map keys, attributes, root types. `__proto__` is refused wherever
 * it stands, since such an object would take the value as its prototype: a document could then show properties that no
 * listing of it holds.
 */
import { utf16Length } from '../base/utf8.js'
import { badUpdate, type Reader } from './reader.js'

export const PROTOTYPE_KEY = '__proto__'

/** Passes over a key of at most `limit` bytes and returns where its text starts. Throws `document/bad-update`. */
export function checkKey(reader: Reader, limit: number): number {
  const at = reader.position
  const from = reader.sized()
  const size = reader.position - from
  if (size > limit) throw badUpdate('key-too-long', at)
  if (utf16Length(reader.bytes, from, reader.position) < 0) throw badUpdate('bad-utf8', from)
  if (size === PROTOTYPE_KEY.length && isPrototypeKey(reader.bytes, from)) throw badUpdate('prototype-key', at)
  return from
}

function isPrototypeKey(bytes: Uint8Array, from: number): boolean {
  for (let at = 0; at < PROTOTYPE_KEY.length; at++) if (bytes[from + at] !== PROTOTYPE_KEY.charCodeAt(at)) return false
  return true
}
