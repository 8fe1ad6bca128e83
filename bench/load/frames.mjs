// WebSocket frames on plain bytes: what the load process needs of RFC 6455 and nothing else. A client must mask what it
// sends; the all-zero mask is legal and leaves the payload as it is, so frames can be built before the timed part and
// written as they are. Servers do the same work for it as for any mask.

export const opcodes = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 }

/** One masked client frame holding `payload`. */
export function clientFrame(payload, opcode = opcodes.binary) {
  const header = payload.length < 126 ? 6 : payload.length < 65_536 ? 8 : 14
  const frame = Buffer.alloc(header + payload.length)
  frame[0] = 0x80 | opcode
  if (header === 6) frame[1] = 0x80 | payload.length
  else if (header === 8) {
    frame[1] = 0x80 | 126
    frame.writeUInt16BE(payload.length, 2)
  } else {
    frame[1] = 0x80 | 127
    frame.writeUInt32BE(payload.length, 6)
  }
  frame.set(payload, header)
  return frame
}

/** The header of one frame, filled in by `readHeader`; one object is reused, since headers are read by the million. */
export const header = { opcode: 0, payloadStart: 0, end: 0 }

/**
 * Reads the header of the server frame at `at` into `header`.
 * @returns false when the frame is not complete yet
 * @throws where the server broke the protocol or fragments (no server here does)
 */
export function readHeader(bytes, at) {
  if (bytes.length - at < 2) return false
  const first = bytes[at]
  const second = bytes[at + 1]
  if ((first & 0x80) === 0 || (first & 0x70) !== 0) throw new Error('a fragmented or extended WebSocket frame')
  if ((second & 0x80) !== 0) throw new Error('a masked frame from a server')
  let start = at + 2
  let length = second & 0x7f
  if (length === 126) {
    if (bytes.length - at < 4) return false
    length = (bytes[at + 2] << 8) | bytes[at + 3]
    start = at + 4
  } else if (length === 127) {
    if (bytes.length - at < 10) return false
    const view = new DataView(bytes.buffer, bytes.byteOffset + at + 2, 8)
    if (view.getUint32(0) !== 0) throw new Error('a frame of more than 4 GiB')
    length = view.getUint32(4)
    start = at + 10
  }
  if (start + length > bytes.length) return false
  header.opcode = first & 0x0f
  header.payloadStart = start
  header.end = start + length
  return true
}

const nothing = Buffer.alloc(0)

/** Cuts a stream of bytes into frames. The bytes handed to `onFrame` are valid during the call only. */
export class FrameReader {
  #rest = nothing

  /** @param onFrame called with (opcode, bytes, start, end) */
  constructor(onFrame) {
    this.onFrame = onFrame
  }

  /** Bytes of a frame that has not arrived whole. */
  get rest() {
    return this.#rest
  }

  feed(chunk) {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    while (at < bytes.length && readHeader(bytes, at)) {
      const { opcode, payloadStart, end } = header
      at = end
      this.onFrame(opcode, bytes, payloadStart, end)
    }
    this.#rest = at === bytes.length ? nothing : Buffer.from(bytes.subarray(at))
  }
}
