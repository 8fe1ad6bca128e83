/**
 * The session token: what a session has seen, as one vector, opaque to clients and signed so that nobody can make a
 * replica wait for what never was. It is compared, and never merged into a replica's own vector: a token says what must
 * be here, not what is.
 *
 *   version, key id, cell (16), epoch, config epoch, vector, debt, MAC (16 bytes)
 *
 * `debt` are entries that no replica can ever reach, since they died with a disk: they bind nobody any more, and stay
 * in the token so that every answer says that something is missing.
 *
 * A token that cannot be read is no token, and never a satisfied one: its bearer gets `session/reset`.
 */
import * as buffer from 'lib0/buffer'
import { assert } from '../base/assert.js'
import { type CellIdentity, readCell, writeCell } from '../clock/cell.js'
import { readVector, type VersionVector, writeVector } from '../clock/version-vector.js'
import { CausewayError } from '../errors/error.js'
import { FrameReader } from '../protocol/frame-reader.js'
import { OpWriter } from '../protocol/op-writer.js'

export interface SessionToken extends CellIdentity {
  readonly configEpoch: number
  readonly vector: VersionVector
  readonly debt: VersionVector
}

/** Authenticates tokens. Keys are known cell-wide before the first token is made with them. */
export interface SessionKeys {
  /** 0 to 255: the key that new tokens are made with. */
  readonly current: number
  /** HMAC-SHA256 of `bytes`, at least 16 bytes of it; undefined for a key that is not known. */
  mac(keyId: number, bytes: Uint8Array): Uint8Array | undefined
}

/** Unmet entries that a session may carry along. */
export const DEBT_LIMIT = 16

/** Longer texts are no tokens. Headers of a request have 16 KiB together. */
export const TOKEN_LIMIT_CHARS = 8_192

const VERSION = 1
const MAC_BYTES = 16

/** The token as text (base64url). Throws `cell/too-many-lineages` where it would be longer than `TOKEN_LIMIT_CHARS`. */
export function encodeToken(token: SessionToken, keys: SessionKeys): string {
  assert(token.debt.size <= DEBT_LIMIT, 'too much debt for a token')
  const out = new OpWriter()
  out.byte(VERSION)
  out.byte(keys.current)
  writeCell(out, token)
  out.varUint(token.configEpoch)
  writeVector(out, token.vector)
  writeVector(out, token.debt)
  const mac = keys.mac(keys.current, out.view())
  assert(mac && mac.length >= MAC_BYTES, 'no key for new tokens')
  out.raw(mac.subarray(0, MAC_BYTES))
  const text = buffer.toBase64UrlEncoded(out.take())
  if (text.length > TOKEN_LIMIT_CHARS)
    throw new CausewayError('cell/too-many-lineages', { lineages: token.vector.size })
  return text
}

/** What a token says. Throws `session/reset` with `details.reason`: `unreadable`, `unknown-key`, `bad-signature`. */
export function decodeToken(text: string, keys: SessionKeys): SessionToken {
  const isText = text.length <= TOKEN_LIMIT_CHARS && text.length % 4 !== 1 && /^[A-Za-z0-9_-]+$/.test(text)
  if (!isText) throw reset('unreadable')
  const bytes = buffer.fromBase64UrlEncoded(text)
  const signed = bytes.subarray(0, Math.max(0, bytes.length - MAC_BYTES))
  if (signed.length < 2 || signed[0] !== VERSION) throw reset('unreadable')
  const mac = keys.mac(signed[1]!, signed)
  if (!mac) throw reset('unknown-key')
  if (!isEqual(mac.subarray(0, MAC_BYTES), bytes.subarray(signed.length))) throw reset('bad-signature')
  try {
    return readToken(new FrameReader(signed.subarray(2)))
  } catch (cause) {
    throw new CausewayError('session/reset', { reason: 'unreadable' }, { cause })
  }
}

function readToken(from: FrameReader): SessionToken {
  const identity = readCell(from)
  const configEpoch = from.varUint()
  const vector = readVector(from)
  const debt = readVector(from)
  if (from.remaining > 0 || debt.size > DEBT_LIMIT) throw reset('unreadable')
  return { ...identity, configEpoch, vector, debt }
}

function reset(reason: string): CausewayError {
  return new CausewayError('session/reset', { reason })
}

/** In a time that does not tell where they differ. */
function isEqual(left: Uint8Array, right: Uint8Array): boolean {
  let difference = left.length ^ right.length
  for (let index = 0; index < left.length; index++) difference |= left[index]! ^ (right[index] ?? 0)
  return difference === 0
}
