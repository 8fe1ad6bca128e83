/**
 * The y-protocols frames, which stock `y-websocket` clients speak on `/y` and which Hocuspocus repeats behind an
 * address: a type and its body, one message a frame (published clients ignore what follows the first).
 *
 *   0 sync       sub 0 step1 (state vector) · 1 step2 (update) · 2 update, then varBytes   both ways
 *   1 awareness  varBytes of an awareness update                                            both ways
 *   2 auth       sub 0 and a reason: permission denied                                      server to client
 *   3 query      no body; answered with the known awareness states                          client to server
 * 112 session    a varString: the client's session token, where it asked for one              server to client
 *
 * Bytes after the message are ignored, and so is an unknown type: both happen with honest clients.
 */
import {
  createEncoder,
  type Encoder,
  toUint8Array,
  writeVarString,
  writeVarUint,
  writeVarUint8Array,
} from 'lib0/encoding'
import { badMessage, type FrameReader } from './frame-reader.js'

/** A sync body: who is asked answers a `step1` with a `step2`, the diff against that state vector. */
export type SyncMessage =
  | { readonly type: 'step1'; readonly stateVector: Uint8Array }
  | { readonly type: 'step2'; readonly update: Uint8Array }
  | { readonly type: 'update'; readonly update: Uint8Array }

/** What both stock protocols say in the same way. */
export type CommonMessage =
  | SyncMessage
  | { readonly type: 'awareness'; readonly update: Uint8Array }
  | { readonly type: 'query-awareness' }

export type YMessage =
  | CommonMessage
  | { readonly type: 'denied'; readonly reason: string }
  /** To clients that opted in only: the token of their session as it is now. */
  | { readonly type: 'session'; readonly token: string }
  | { readonly type: 'unknown'; readonly number: number }

const MESSAGE_SYNC = 0
const MESSAGE_AWARENESS = 1
export const MESSAGE_AUTH = 2
const MESSAGE_QUERY_AWARENESS = 3
const MESSAGE_SESSION = 112

const SYNC_TYPES = ['step1', 'step2', 'update'] as const
const REASON_LIMIT_BYTES = 1024

/** What stands before the update of a sync `update`: for frames that are built by hand. */
export const UPDATE_PREFIX: Uint8Array = Uint8Array.of(MESSAGE_SYNC, SYNC_TYPES.indexOf('update'))
/** The same for a `step2`. */
export const STEP2_PREFIX: Uint8Array = Uint8Array.of(MESSAGE_SYNC, SYNC_TYPES.indexOf('step2'))

/** The body of a message of type 0. Throws `protocol/bad-message`. */
export function readSync(reader: FrameReader): SyncMessage {
  const type = SYNC_TYPES[reader.varUint()]
  if (type === undefined) throw badMessage('unknown sync type')
  const bytes = reader.varBytes()
  return type === 'step1' ? { type, stateVector: bytes } : { type, update: bytes }
}

export function writeSync(encoder: Encoder, message: SyncMessage): void {
  writeVarUint(encoder, SYNC_TYPES.indexOf(message.type))
  writeVarUint8Array(encoder, message.type === 'step1' ? message.stateVector : message.update)
}

/** The message of this type, where both protocols have it. Throws `protocol/bad-message`. */
export function readCommon(number: number, reader: FrameReader): CommonMessage | undefined {
  switch (number) {
    case MESSAGE_SYNC:
      return readSync(reader)
    case MESSAGE_AWARENESS:
      return { type: 'awareness', update: reader.varBytes() }
    case MESSAGE_QUERY_AWARENESS:
      return { type: 'query-awareness' }
    default:
      return undefined
  }
}

/** Its type and its body. */
export function writeCommon(encoder: Encoder, message: CommonMessage): void {
  switch (message.type) {
    case 'awareness':
      writeVarUint(encoder, MESSAGE_AWARENESS)
      writeVarUint8Array(encoder, message.update)
      break
    case 'query-awareness':
      writeVarUint(encoder, MESSAGE_QUERY_AWARENESS)
      break
    default:
      writeVarUint(encoder, MESSAGE_SYNC)
      writeSync(encoder, message)
  }
}

/** One message of a frame; updates and state vectors are views of it. Throws `protocol/bad-message`. */
export function decodeYMessage(reader: FrameReader): YMessage {
  const number = reader.varUint()
  if (number !== MESSAGE_AUTH) return readCommon(number, reader) ?? { type: 'unknown', number }
  if (reader.varUint() !== 0) throw badMessage('unknown auth type')
  return { type: 'denied', reason: reader.varString(REASON_LIMIT_BYTES) }
}

export function encodeYMessage(message: Exclude<YMessage, { type: 'unknown' }>): Uint8Array {
  const encoder = createEncoder()
  if (message.type === 'session') {
    writeVarUint(encoder, MESSAGE_SESSION)
    writeVarString(encoder, message.token)
  } else if (message.type === 'denied') {
    writeVarUint(encoder, MESSAGE_AUTH)
    writeVarUint(encoder, 0)
    writeVarString(encoder, message.reason)
  } else writeCommon(encoder, message)
  return toUint8Array(encoder)
}
