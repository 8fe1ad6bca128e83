/**
 * UTF-8 as the WHATWG decoder in its strict mode reads it: no overlong forms, no encoded surrogates, nothing above
 * U+10FFFF. Positions inside text are counted in UTF-16 units, as JavaScript strings count them.
 */

/** UTF-16 units of the text at `from`..`to` of `bytes`, or -1 where it is not valid UTF-8. */
export function utf16Length(bytes: Uint8Array, from: number, to: number): number {
  let units = 0
  let position = from
  while (position < to) {
    const lead = bytes[position]!
    if (lead < 0x80) {
      position++
      units++
      continue
    }
    const size = sequenceSize(lead)
    if (size === 0 || position + size > to || !isSequence(bytes, position, lead, size)) return -1
    position += size
    units += size === 4 ? 2 : 1
  }
  return units
}

/** UTF-16 units of text that is known to be valid. */
export function utf16LengthOfValid(bytes: Uint8Array, from: number, to: number): number {
  let units = 0
  for (let position = from; position < to; position++) {
    const byte = bytes[position]!
    if ((byte & 0xc0) !== 0x80) units += byte < 0xf0 ? 1 : 2
  }
  return units
}

/** Bytes of the sequence that starts with `lead` (0 where none does). */
export function sequenceSize(lead: number): number {
  if (lead < 0x80) return 1
  if (lead < 0xc2) return 0
  if (lead < 0xe0) return 2
  if (lead < 0xf0) return 3
  return lead < 0xf5 ? 4 : 0
}

function isSequence(bytes: Uint8Array, at: number, lead: number, size: number): boolean {
  // The second byte decides overlong forms, surrogates and the upper end; the others only continue.
  const second = bytes[at + 1]!
  const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80
  const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf
  if (second < least || second > most) return false
  for (let next = at + 2; next < at + size; next++) if ((bytes[next]! & 0xc0) !== 0x80) return false
  return true
}

/** The code point of the valid sequence at `at`. */
export function codePointAt(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]!
  if (lead < 0x80) return lead
  const second = bytes[at + 1]! & 0x3f
  if (lead < 0xe0) return ((lead & 0x1f) << 6) | second
  const third = bytes[at + 2]! & 0x3f
  if (lead < 0xf0) return ((lead & 0x0f) << 12) | (second << 6) | third
  return ((lead & 0x07) << 18) | (second << 12) | (third << 6) | (bytes[at + 3]! & 0x3f)
}
