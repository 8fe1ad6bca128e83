/** Writes Yjs V1 updates byte by byte, right or wrong: for what no Yjs would ever send. */
import { encodeUtf8 } from 'lib0/string'
import { ByteWriter } from '../../shared/base/byte-writer.js'

export type Id = readonly [client: number, clock: number]

export interface Place {
  readonly origin?: Id | undefined
  readonly right?: Id | undefined
  /** Only written without origins: a root's name, or the id of the item that holds the type. */
  readonly parent?: string | Id | undefined
  readonly key?: string | undefined
}

export interface RawBlock {
  readonly client: number
  readonly clock: number
  readonly structs: readonly Uint8Array[]
  /** Instead of the number of structs. */
  readonly count?: number
}

export function bytesOf(write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter()
  write(writer)
  return writer.finish().slice()
}

export function varUint(value: number): Uint8Array {
  return bytesOf((writer) => writer.varUint(value))
}

export function sizedText(text: string): Uint8Array {
  const utf8 = encodeUtf8(text)
  return bytesOf((writer) => {
    writer.varUint(utf8.length)
    writer.bytes(utf8)
  })
}

export function concat(...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]))
}

export const gc = (length: number): Uint8Array => concat([0], varUint(length))
export const skip = (length: number): Uint8Array => concat([10], varUint(length))

export function item(content: number, place: Place, body: Uint8Array): Uint8Array {
  return bytesOf((writer) => {
    const { origin, right, parent = 'text', key } = place
    writer.byte(content | (origin ? 0x80 : 0) | (right ? 0x40 : 0) | (key === undefined ? 0 : 0x20))
    for (const id of [origin, right]) {
      if (!id) continue
      writer.varUint(id[0])
      writer.varUint(id[1])
    }
    if (!origin && !right) {
      if (typeof parent === 'string') {
        writer.varUint(1)
        writer.bytes(sizedText(parent))
      } else {
        writer.varUint(0)
        writer.varUint(parent[0])
        writer.varUint(parent[1])
      }
      if (key !== undefined) writer.bytes(sizedText(key))
    }
    writer.bytes(body)
  })
}

export const deleted = (length: number, place: Place = {}): Uint8Array => item(1, place, varUint(length))
export const json = (texts: readonly string[], place: Place = {}): Uint8Array =>
  item(2, place, concat(varUint(texts.length), ...texts.map(sizedText)))
export const binary = (bytes: readonly number[], place: Place = {}): Uint8Array =>
  item(3, place, concat(varUint(bytes.length), bytes))
export const text = (value: string, place: Place = {}): Uint8Array => item(4, place, sizedText(value))
export const embed = (value: string, place: Place = {}): Uint8Array => item(5, place, sizedText(value))
export const format = (key: string, value: string, place: Place = {}): Uint8Array =>
  item(6, place, concat(sizedText(key), sizedText(value)))
export const type = (ref: number, place: Place = {}, name?: string): Uint8Array =>
  item(7, place, concat(varUint(ref), name === undefined ? [] : sizedText(name)))
/** `values` as encoded. */
export const any = (values: readonly (readonly number[])[], place: Place = {}): Uint8Array =>
  item(8, place, concat(varUint(values.length), ...values))
export const subdocument = (guid: string, options: readonly number[], place: Place = {}): Uint8Array =>
  item(9, place, concat(sizedText(guid), options))

/** `blocks` and `deletes` in the order given. */
export function update(
  blocks: readonly RawBlock[],
  deletes: readonly (readonly [client: number, ranges: readonly Id[]])[] = [],
): Uint8Array {
  return bytesOf((writer) => {
    writer.varUint(blocks.length)
    for (const { client, clock, structs, count } of blocks) {
      writer.varUint(count ?? structs.length)
      writer.varUint(client)
      writer.varUint(clock)
      for (const struct of structs) writer.bytes(struct)
    }
    writer.varUint(deletes.length)
    for (const [client, ranges] of deletes) {
      writer.varUint(client)
      writer.varUint(ranges.length)
      for (const [clock, length] of ranges) {
        writer.varUint(clock)
        writer.varUint(length)
      }
    }
  })
}

/** One client's structs from clock 0. */
export const of = (...structs: readonly Uint8Array[]): Uint8Array => update([{ client: 9, clock: 0, structs }])
