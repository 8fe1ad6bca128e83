/**
 * The Hocuspocus frames (providers 3.x and 4.x): an address, a type and its body. The address is the document's name,
 * or name, NUL and session id where a page opens one document twice; answers carry the very address they were asked
 * under. Two frames have no address: a single byte 9 or 10.
 *
 *   0 sync · 4 sync reply    as in `sync.ts`; a reply asks for no step1 in return         both ways
 *   1 awareness                                                                            both ways
 *   2 auth   sub 0 and a token, the provider's version behind it since 4.x                 client to server
 *            sub 0 alone: send the token again · 1 denied, reason · 2 authenticated, scope server to client
 *   3 query awareness                                                                      both ways
 *   5 stateless · 6 stateless between servers                                              both ways
 *   7 close  detach this document; with a reason from the server                           both ways
 *   8 sync status   1 stored, 0 refused: exactly one for each step2 and update received    server to client
 *   9 ping · 10 pong                                                                       server asks, client answers
 */
import { createEncoder, type Encoder, toUint8Array, writeVarString, writeVarUint } from 'lib0/encoding'
import { unreachable } from '../base/assert.js'
import { badMessage, FrameReader } from './frame-reader.js'
import { type CommonMessage, readCommon, readSync, type SyncMessage, writeCommon, writeSync } from './sync.js'

type HocuspocusScope = 'read-write' | 'readonly'

export type HocuspocusMessage =
  | CommonMessage
  | { readonly type: 'sync-reply'; readonly sync: SyncMessage }
  | { readonly type: 'token'; readonly token: string; readonly version?: string }
  | { readonly type: 'token-request' }
  | { readonly type: 'denied'; readonly reason: string }
  | { readonly type: 'authenticated'; readonly scope: HocuspocusScope }
  | { readonly type: 'stateless'; readonly payload: string }
  | { readonly type: 'broadcast-stateless'; readonly payload: string }
  | { readonly type: 'close'; readonly reason?: string }
  | { readonly type: 'sync-status'; readonly applied: boolean }
  | { readonly type: 'unknown'; readonly number: number }

/** A frame, its address read, its body not yet. */
export type HocuspocusEnvelope =
  | { readonly type: 'ping' }
  | { readonly type: 'pong' }
  | { readonly type: 'addressed'; readonly address: string; readonly body: FrameReader }

const MESSAGE_AUTH = 2
const MESSAGE_SYNC_REPLY = 4
const MESSAGE_STATELESS = 5
const MESSAGE_BROADCAST_STATELESS = 6
const MESSAGE_CLOSE = 7
const MESSAGE_SYNC_STATUS = 8
const MESSAGE_PING = 9
const MESSAGE_PONG = 10

const AUTH_TOKEN = 0
const AUTH_DENIED = 1
const AUTH_AUTHENTICATED = 2

const SESSION_SEPARATOR = '\0'
/** A name of 512 bytes, the separator and a session id. */
const ADDRESS_LIMIT_BYTES = 512 + 1 + 127
const TOKEN_LIMIT_BYTES = 16 * 1024
const REASON_LIMIT_BYTES = 1024
const STATELESS_LIMIT_BYTES = 1024 * 1024

/** The frame that asks a 4.x provider for a sign of life. */
export const PING_MESSAGE: Uint8Array = Uint8Array.of(MESSAGE_PING)

/** The document of an address, and whether a session id makes the address one provider's own. */
export function parseAddress(address: string): { readonly document: string; readonly isSession: boolean } {
  const separator = address.indexOf(SESSION_SEPARATOR)
  return separator < 0
    ? { document: address, isSession: false }
    : { document: address.slice(0, separator), isSession: true }
}

/** The address as it stands at the beginning of each frame. */
export function encodeAddress(address: string): Uint8Array {
  const encoder = createEncoder()
  writeVarString(encoder, address)
  return toUint8Array(encoder)
}

/** Reads the address only, so that a frame can wait undecoded. Throws `protocol/bad-message`. */
export function openEnvelope(frame: Uint8Array): HocuspocusEnvelope {
  if (frame.length === 1) {
    if (frame[0] === MESSAGE_PING) return { type: 'ping' }
    if (frame[0] === MESSAGE_PONG) return { type: 'pong' }
  }
  const body = new FrameReader(frame)
  const address = body.varString(ADDRESS_LIMIT_BYTES)
  if (address === '') throw badMessage('empty address')
  return { type: 'addressed', address, body }
}

/** The message behind an address; updates are views of the frame. Throws `protocol/bad-message`. */
export function decodeHocuspocusMessage(body: FrameReader): HocuspocusMessage {
  const number = body.varUint()
  switch (number) {
    case MESSAGE_SYNC_REPLY:
      return { type: 'sync-reply', sync: readSync(body) }
    case MESSAGE_AUTH:
      return readAuth(body)
    case MESSAGE_STATELESS:
      return { type: 'stateless', payload: body.varString(STATELESS_LIMIT_BYTES) }
    case MESSAGE_BROADCAST_STATELESS:
      return { type: 'broadcast-stateless', payload: body.varString(STATELESS_LIMIT_BYTES) }
    case MESSAGE_CLOSE:
      return body.remaining === 0 ? { type: 'close' } : { type: 'close', reason: body.varString(REASON_LIMIT_BYTES) }
    case MESSAGE_SYNC_STATUS:
      return { type: 'sync-status', applied: body.varUint() === 1 }
    default:
      return readCommon(number, body) ?? { type: 'unknown', number }
  }
}

function readAuth(body: FrameReader): HocuspocusMessage {
  switch (body.varUint()) {
    case AUTH_TOKEN: {
      if (body.remaining === 0) return { type: 'token-request' }
      const token = body.varString(TOKEN_LIMIT_BYTES)
      if (body.remaining === 0) return { type: 'token', token }
      return { type: 'token', token, version: body.varString(REASON_LIMIT_BYTES) }
    }
    case AUTH_DENIED:
      return { type: 'denied', reason: body.varString(REASON_LIMIT_BYTES) }
    case AUTH_AUTHENTICATED: {
      const scope = body.varString(REASON_LIMIT_BYTES)
      if (scope !== 'read-write' && scope !== 'readonly') throw badMessage('unknown scope')
      return { type: 'authenticated', scope }
    }
    default:
      throw badMessage('unknown auth type')
  }
}

/** What a side can send: everything but what it does not know. */
export type SentHocuspocusMessage = Exclude<HocuspocusMessage, { type: 'unknown' }>

export function encodeHocuspocusMessage(address: string, message: SentHocuspocusMessage): Uint8Array {
  const encoder = createEncoder()
  writeVarString(encoder, address)
  writeMessage(encoder, message)
  return toUint8Array(encoder)
}

/** A message without its address, for what goes to many addresses. */
export function encodeHocuspocusBody(message: SentHocuspocusMessage): Uint8Array {
  const encoder = createEncoder()
  writeMessage(encoder, message)
  return toUint8Array(encoder)
}

function writeMessage(encoder: Encoder, message: SentHocuspocusMessage): void {
  switch (message.type) {
    case 'step1':
    case 'step2':
    case 'update':
    case 'awareness':
    case 'query-awareness':
      writeCommon(encoder, message)
      break
    case 'sync-reply':
      writeVarUint(encoder, MESSAGE_SYNC_REPLY)
      writeSync(encoder, message.sync)
      break
    case 'token':
      writeVarUint(encoder, MESSAGE_AUTH)
      writeVarUint(encoder, AUTH_TOKEN)
      writeVarString(encoder, message.token)
      if (message.version !== undefined) writeVarString(encoder, message.version)
      break
    case 'token-request':
      writeVarUint(encoder, MESSAGE_AUTH)
      writeVarUint(encoder, AUTH_TOKEN)
      break
    case 'denied':
      writeVarUint(encoder, MESSAGE_AUTH)
      writeVarUint(encoder, AUTH_DENIED)
      writeVarString(encoder, message.reason)
      break
    case 'authenticated':
      writeVarUint(encoder, MESSAGE_AUTH)
      writeVarUint(encoder, AUTH_AUTHENTICATED)
      writeVarString(encoder, message.scope)
      break
    case 'stateless':
      writeVarUint(encoder, MESSAGE_STATELESS)
      writeVarString(encoder, message.payload)
      break
    case 'broadcast-stateless':
      writeVarUint(encoder, MESSAGE_BROADCAST_STATELESS)
      writeVarString(encoder, message.payload)
      break
    case 'close':
      writeVarUint(encoder, MESSAGE_CLOSE)
      if (message.reason !== undefined) writeVarString(encoder, message.reason)
      break
    case 'sync-status':
      writeVarUint(encoder, MESSAGE_SYNC_STATUS)
      writeVarUint(encoder, message.applied ? 1 : 0)
      break
    default:
      unreachable(message)
  }
}
