/**
 * Checks a JSON text without building it: exactly what `JSON.parse` accepts, but no deeper than a limit, since readers
 * re-encode it recursively, without numbers that are none, and without `__proto__` as a key, which would become the prototype of a copy.
 */
import { PROTOTYPE_KEY } from './key.js'
import type { Refuse } from './reader.js'

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const LETTER_U = 0x75
/** The shortest number that is no double is 1e309. */
const SAFE_NUMBER_LENGTH = 4
/** What may follow a backslash, besides `u`: " \ / b f n r t */
const ESCAPES = new Set([0x22, 0x5c, 0x2f, 0x62, 0x66, 0x6e, 0x72, 0x74])

/** Throws unless the valid UTF-8 at `from`..`to` is one JSON value. */
export function checkJson(bytes: Uint8Array, from: number, to: number, depth: number, refuse: Refuse): void {
  const text = new JsonText(bytes, from, to, refuse)
  text.value(depth)
  text.space()
  if (text.position < to) throw refuse('bad-json', text.position)
}

class JsonText {
  position: number
  private readonly bytes: Uint8Array
  private readonly end: number
  private readonly refuse: Refuse

  constructor(bytes: Uint8Array, from: number, to: number, refuse: Refuse) {
    this.bytes = bytes
    this.position = from
    this.end = to
    this.refuse = refuse
  }

  value(depth: number): void {
    this.space()
    const first = this.peek()
    if (first === QUOTE) this.string()
    else if (first === OPEN_OBJECT || first === OPEN_ARRAY) {
      if (depth === 0) throw this.refuse('value-too-deep', this.position)
      if (first === OPEN_OBJECT) this.object(depth - 1)
      else this.array(depth - 1)
    } else if (first === 0x74) this.literal('true')
    else if (first === 0x66) this.literal('false')
    else if (first === 0x6e) this.literal('null')
    else this.number()
  }

  space(): void {
    while (this.position < this.end) {
      const byte = this.bytes[this.position]!
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return
      this.position++
    }
  }

  private peek(): number {
    return this.position < this.end ? this.bytes[this.position]! : -1
  }

  private bad(): Error {
    return this.refuse('bad-json', this.position)
  }

  private expect(byte: number): void {
    if (this.peek() !== byte) throw this.bad()
    this.position++
  }

  private literal(word: string): void {
    for (let at = 0; at < word.length; at++) this.expect(word.charCodeAt(at))
  }

  private object(depth: number): void {
    this.position++
    this.space()
    if (this.peek() === CLOSE_OBJECT) {
      this.position++
      return
    }
    for (;;) {
      this.space()
      const from = this.position
      this.string()
      if (this.isPrototypeKey(from + 1, this.position - 1)) throw this.refuse('prototype-key', from)
      this.space()
      this.expect(COLON)
      this.value(depth)
      this.space()
      if (this.peek() === CLOSE_OBJECT) break
      this.expect(COMMA)
    }
    this.position++
  }

  private array(depth: number): void {
    this.position++
    this.space()
    if (this.peek() === CLOSE_ARRAY) {
      this.position++
      return
    }
    for (;;) {
      this.value(depth)
      this.space()
      if (this.peek() === CLOSE_ARRAY) break
      this.expect(COMMA)
    }
    this.position++
  }

  private string(): void {
    this.expect(QUOTE)
    for (;;) {
      const byte = this.peek()
      if (byte < 0x20) throw this.bad() // also the end, -1
      this.position++
      if (byte === QUOTE) return
      if (byte === BACKSLASH) this.escape()
    }
  }

  private escape(): void {
    const letter = this.peek()
    if (letter !== LETTER_U && !ESCAPES.has(letter)) throw this.bad()
    this.position++
    if (letter !== LETTER_U) return
    for (let digit = 0; digit < 4; digit++) {
      if (hexDigit(this.peek()) < 0) throw this.bad()
      this.position++
    }
  }

  private number(): void {
    const from = this.position
    if (this.peek() === 0x2d) this.position++
    if (this.peek() === 0x30) this.position++
    else this.digits()
    if (this.peek() === 0x2e) {
      this.position++
      this.digits()
    }
    if ((this.peek() | 0x20) === 0x65) {
      this.position++
      const sign = this.peek()
      if (sign === 0x2b || sign === 0x2d) this.position++
      this.digits()
    }
    // Beyond the range of a double, a reader holds infinity, and writes null.
    if (this.position - from > SAFE_NUMBER_LENGTH && !Number.isFinite(Number(this.ascii(from)))) {
      throw this.refuse('number-out-of-range', from)
    }
  }

  private ascii(from: number): string {
    let text = ''
    for (let at = from; at < this.position; at++) text += String.fromCharCode(this.bytes[at]!)
    return text
  }

  private digits(): void {
    const from = this.position
    while (this.peek() >= 0x30 && this.peek() <= 0x39) this.position++
    if (this.position === from) throw this.bad()
  }

  /** As a reader would see it: `\u005f` is an underscore. */
  private isPrototypeKey(from: number, to: number): boolean {
    let at = from
    for (let letter = 0; letter < PROTOTYPE_KEY.length; letter++) {
      if (at >= to) return false
      let unit = this.bytes[at++]!
      if (unit === BACKSLASH && this.bytes[at] === LETTER_U) {
        unit = 0
        for (let digit = 1; digit <= 4; digit++) unit = unit * 16 + hexDigit(this.bytes[at + digit]!)
        at += 5
      }
      if (unit !== PROTOTYPE_KEY.charCodeAt(letter)) return false
    }
    return at === to
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}
