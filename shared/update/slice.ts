/** Cuts the first units off a struct, as Yjs does when it writes an item from an offset on. */
import { ByteWriter } from '../base/byte-writer.js'
import { sequenceSize } from '../base/utf8.js'
import { checkAny } from './any-value.js'
import { badUpdate, Reader } from './reader.js'
import { ANY_VALUES, DELETED, GC, JSON_VALUES, NONE, STRING, type StructReader } from './struct.js'

const REPLACEMENT = Uint8Array.of(0xef, 0xbf, 0xbd)
const HAS_ORIGIN = 0b1000_0000

/**
 * The bytes of the current struct of `reader`, one of `client`'s, from `clock` on. Half a surrogate pair becomes U+FFFD,
 * as in Yjs. Only contents of several units can be cut.
 */
export function structFrom(reader: StructReader, client: number, clock: number): Uint8Array {
  if (reader.clock === clock) return reader.bytes.subarray(reader.from, reader.position)
  const writer = new ByteWriter(reader.position - reader.from + 24)
  writeSliced(writer, reader, client, clock - reader.clock)
  return writer.finish()
}

/** Leaves out the first `offset` units (0 < offset < length). */
function writeSliced(writer: ByteWriter, reader: StructReader, client: number, offset: number): void {
  const { bytes, content } = reader
  if (content === GC) {
    writer.byte(GC)
    writer.varUint(reader.length - offset)
    return
  }
  // With an origin no parent is written; the right origin stays.
  writer.byte(reader.info | HAS_ORIGIN)
  writer.varUint(client)
  writer.varUint(reader.clock + offset - 1)
  if (reader.rightClient !== NONE) {
    writer.varUint(reader.rightClient)
    writer.varUint(reader.rightClock)
  }
  if (content === DELETED) {
    writer.varUint(reader.length - offset)
    return
  }
  const contents = new Reader(bytes, badUpdate, reader.contentFrom, reader.position)
  if (content === STRING) {
    sliceText(writer, contents, offset)
    return
  }
  contents.varUint()
  for (let left = offset; left > 0; left--) {
    if (content === JSON_VALUES) contents.sized()
    else if (content === ANY_VALUES) checkAny(contents, Number.POSITIVE_INFINITY)
  }
  writer.varUint(reader.length - offset)
  writer.bytes(bytes.subarray(contents.position, reader.position))
}

function sliceText(writer: ByteWriter, contents: Reader, offset: number): void {
  const { bytes } = contents
  let at = contents.sized()
  const end = contents.position
  let units = 0
  while (units < offset) {
    const size = sequenceSize(bytes[at]!)
    units += size === 4 ? 2 : 1
    at += size
  }
  const half = units > offset
  writer.varUint(end - at + (half ? REPLACEMENT.length : 0))
  if (half) writer.bytes(REPLACEMENT)
  writer.bytes(bytes.subarray(at, end))
}
