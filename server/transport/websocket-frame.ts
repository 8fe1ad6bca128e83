/**
 * WebSocket frames as a server writes them (RFC 6455 section 5.2): unmasked, never fragmented, never compressed, so that
 * one buffer serves every socket and may hold any number of frames back to back.
 */
const BINARY = 0x82
const UPDATE_LENGTH_LIMIT = 2 ** 31

/** A WebSocket ping without a body. */
export const PING_FRAME: Buffer = Buffer.from([0x89, 0])

/** One binary frame with `prefix` and `message` as its payload. */
export function frameMessage(prefix: Uint8Array, message: Uint8Array): Buffer {
  const payloadLength = prefix.length + message.length
  const frame = Buffer.allocUnsafe(headerLength(payloadLength) + payloadLength)
  const at = writeHeader(frame, 0, payloadLength)
  frame.set(prefix, at)
  frame.set(message, at + prefix.length)
  return frame
}

/** One frame for each update, its payload `prefix`, the update's length and the update. */
export function frameUpdates(prefix: Uint8Array, updates: readonly { readonly update: Uint8Array }[]): Buffer {
  let size = 0
  for (const { update } of updates) {
    const payloadLength = prefix.length + varUintLength(update.length) + update.length
    size += headerLength(payloadLength) + payloadLength
  }
  const frames = Buffer.allocUnsafe(size)
  let at = 0
  for (const { update } of updates) {
    at = writeUpdateHead(frames, at, prefix, update.length)
    frames.set(update, at)
    at += update.length
  }
  return frames
}

/** The same for a single large update, which is not copied: what stands before it, to be followed by its bytes. */
export function frameHead(prefix: Uint8Array, updateLength: number): Buffer {
  const lengthLength = varUintLength(updateLength)
  const payloadLength = prefix.length + lengthLength + updateLength
  const head = Buffer.allocUnsafe(headerLength(payloadLength) + prefix.length + lengthLength)
  writeUpdateHead(head, 0, prefix, updateLength)
  return head
}

function writeUpdateHead(target: Buffer, start: number, prefix: Uint8Array, updateLength: number): number {
  let at = writeHeader(target, start, prefix.length + varUintLength(updateLength) + updateLength)
  target.set(prefix, at)
  at += prefix.length
  let rest = updateLength
  for (; rest > 0x7f; rest >>>= 7) target[at++] = 0x80 | (rest & 0x7f)
  target[at++] = rest
  return at
}

function headerLength(payloadLength: number): number {
  return payloadLength < 126 ? 2 : payloadLength < 65536 ? 4 : 10
}

function writeHeader(target: Buffer, at: number, payloadLength: number): number {
  if (payloadLength >= UPDATE_LENGTH_LIMIT) throw new RangeError('a frame of 2 GiB')
  target[at] = BINARY
  if (payloadLength < 126) {
    target[at + 1] = payloadLength
    return at + 2
  }
  if (payloadLength < 65536) {
    target[at + 1] = 126
    target.writeUInt16BE(payloadLength, at + 2)
    return at + 4
  }
  target[at + 1] = 127
  target.writeUInt32BE(0, at + 2)
  target.writeUInt32BE(payloadLength, at + 6)
  return at + 10
}

function varUintLength(value: number): number {
  let length = 1
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) length++
  return length
}
