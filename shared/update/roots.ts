/**
 * The names of a document's root types. Each is one more entry in everything that readers make of the document, and any
 * writer can name another with every update, so they are counted: mostly there are one or two.
 */
import { decodeUtf8, encodeUtf8 } from 'lib0/string'
import { ByteWriter } from '../base/byte-writer.js'
import { ownMistake, Reader } from './reader.js'
import { NONE, StructReader } from './struct.js'
import type { UpdateIndex } from './update-index.js'

export interface RootReader {
  readonly size: number
  /** UTF-16 units of all names together. */
  readonly length: number
  has(name: string): boolean
}

/** Shared until the first name: many documents are open that nobody has written. */
const NO_NAMES: ReadonlySet<string> = new Set()

export class Roots implements RootReader {
  private names = NO_NAMES
  length = 0

  /** The roots of a whole document, from an update that was checked before. */
  static of({ bytes, blocks }: UpdateIndex): Roots {
    const roots = new Roots()
    for (const { clock, clockEnd, from } of blocks) {
      const reader = new StructReader(bytes, 'checked', from)
      for (let at = clock; at < clockEnd; at = reader.clockEnd) {
        reader.struct(at)
        if (reader.rootFrom !== NONE) roots.add(decodeUtf8(bytes.subarray(reader.rootFrom, reader.rootTo)))
      }
    }
    return roots
  }

  /** Reads what `encode` wrote. */
  static decode(bytes: Uint8Array): Roots {
    const reader = new Reader(bytes, ownMistake)
    const roots = new Roots()
    for (let left = reader.count(1); left > 0; left--) {
      const from = reader.sized()
      roots.add(decodeUtf8(bytes.subarray(from, reader.position)))
    }
    return roots
  }

  encode(): Uint8Array {
    const writer = new ByteWriter()
    writer.varUint(this.names.size)
    for (const name of this.names) {
      const utf8 = encodeUtf8(name)
      writer.varUint(utf8.length)
      writer.bytes(utf8)
    }
    return writer.finish()
  }

  get size(): number {
    return this.names.size
  }

  has(name: string): boolean {
    return this.names.has(name)
  }

  [Symbol.iterator](): Iterator<string> {
    return this.names[Symbol.iterator]()
  }

  addAll(names: readonly string[]): void {
    for (const name of names) this.add(name)
  }

  copy(): Roots {
    const copy = new Roots()
    copy.addAll([...this.names])
    return copy
  }

  private add(name: string): void {
    if (this.names.has(name)) return
    if (this.names === NO_NAMES) this.names = new Set()
    ;(this.names as Set<string>).add(name)
    this.length += name.length
  }
}
