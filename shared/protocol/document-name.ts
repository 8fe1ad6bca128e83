/**
 * Names of documents. A name is a path of 1 to 512 bytes of UTF-8 without control characters and without empty
 * segments; what stands before its first `/` is its space, the unit of authorisation and quotas (DESIGN.md section 3).
 *
 * In an address a name is one percent-encoded segment. Decoding is lenient: an escape that is malformed, or whose bytes
 * are no UTF-8, stands for itself. So decoding never throws, `x%2Fy` and `x/y` are one document on every endpoint, and
 * whether the result is a name is decided once, by `checkDocumentName`.
 */
import { CausewayError } from '../errors/error.js'

export const DOCUMENT_NAME_LIMIT_BYTES = 512

/** The space of names that have no `/`. */
const DEFAULT_SPACE = 'default'

/** Whether `name` is the name of a document. */
export function isDocumentName(name: string): boolean {
  // UTF-8 has at least one byte per UTF-16 unit: this bounds the loop below.
  if (name.length === 0 || name.length > DOCUMENT_NAME_LIMIT_BYTES) return false
  let bytes = 0
  let afterSlash = true
  for (let index = 0; index < name.length; index++) {
    const unit = name.charCodeAt(index)
    const isSlash = unit === 0x2f
    if (isSlash && afterSlash) return false
    afterSlash = isSlash
    if (unit < 0x20 || (unit >= 0x7f && unit < 0xa0)) return false
    if (unit < 0x80) bytes += 1
    else if (unit < 0x800) bytes += 2
    else if (unit < 0xd800 || unit > 0xdfff) bytes += 3
    else {
      const low = name.charCodeAt(index + 1)
      if (unit > 0xdbff || !(low >= 0xdc00 && low <= 0xdfff)) return false // half of a surrogate pair
      bytes += 4
      index++
    }
  }
  return !afterSlash && bytes <= DOCUMENT_NAME_LIMIT_BYTES
}

/** Returns `name`. Throws `document/bad-name` where it is none. */
export function checkDocumentName(name: string): string {
  if (!isDocumentName(name)) throw new CausewayError('document/bad-name')
  return name
}

/** The space of a document: what stands before the first `/`, `default` where there is none. */
export function spaceOf(name: string): string {
  const slash = name.indexOf('/')
  return slash < 0 ? DEFAULT_SPACE : name.slice(0, slash)
}

/** Decodes percent escapes; one that is malformed or not UTF-8 stands for itself. Never throws. */
export function decodeLeniently(text: string): string {
  if (!text.includes('%')) return text
  return text.replace(/(?:%[0-9a-f]{2})+/gi, decodeRun)
}

/** A run of well-formed escapes: whole where it is UTF-8, else character by character, keeping what is none. */
function decodeRun(run: string): string {
  try {
    return decodeURIComponent(run)
  } catch {
    let decoded = ''
    for (let at = 0; at < run.length; ) {
      const escapes = escapesOfCharacter(Number.parseInt(run.slice(at + 1, at + 3), 16))
      const character = run.slice(at, at + 3 * escapes)
      at += 3
      try {
        decoded += decodeURIComponent(character)
        at += character.length - 3
      } catch {
        decoded += character.slice(0, 3)
      }
    }
    return decoded
  }
}

/** Bytes of the UTF-8 character that opens with `lead`. */
function escapesOfCharacter(lead: number): number {
  if (lead >= 0xf0) return 4
  if (lead >= 0xe0) return 3
  return lead >= 0xc0 ? 2 : 1
}
