/**
 * How two replicas make each other out on a new connection, before the first peer message:
 *
 *   dialer    greeting                proof                  (from here on, peer messages)
 *   acceptor            greeting               proof
 *
 * A proof shows knowledge of the cell's secret; what it covers is decided where secrets are known. Either side may say
 * `refusal` instead, as its last word. A number, then fields; whoever speaks is a stranger, so all of it is small.
 */
import { isReplicaName } from '../clock/dot.js'
import { bytesOfHex, hexOf } from '../clock/version-vector.js'
import { CausewayError } from '../errors/error.js'
import { badMessage, FrameReader } from './frame-reader.js'
import { OpWriter } from './op-writer.js'

/** 1: the first one. Versions of peer messages are agreed on later, by `hello`. */
const GREETING_VERSION = 1

export const NONCE_BYTES = 32
export const PROOF_BYTES = 32
/** All that a stranger may send. */
export const GREETING_LIMIT_BYTES = 4 * 1024

export interface Greeting {
  readonly type: 'greeting'
  /** Of the cell, by configuration. */
  readonly cell: string
  readonly name: string
  /** 16 hex digits. */
  readonly incarnation: string
  /** `NONCE_BYTES`, random, for this connection alone. */
  readonly nonce: Uint8Array
}

export type GreetingMessage =
  | Greeting
  | { readonly type: 'proof'; readonly proof: Uint8Array }
  /** The connection ends; an error code. */
  | { readonly type: 'refusal'; readonly code: string }

const GREETING = 0
const PROOF = 1
const REFUSAL = 2
const TEXT_BYTES = 64
const INCARNATION_BYTES = 8

export function encodeGreeting(message: GreetingMessage): Uint8Array {
  const out = new OpWriter()
  switch (message.type) {
    case 'greeting':
      out.varUint(GREETING)
      out.varUint(GREETING_VERSION)
      out.text(message.cell)
      out.text(message.name)
      out.raw(bytesOfHex(message.incarnation))
      out.raw(message.nonce)
      break
    case 'proof':
      out.varUint(PROOF)
      out.raw(message.proof)
      break
    case 'refusal':
      out.varUint(REFUSAL)
      out.text(message.code)
      break
  }
  return out.take()
}

/** Nonces and proofs are views of `frame`. Throws `protocol/bad-message`, `protocol/version-unsupported`. */
export function decodeGreeting(frame: Uint8Array): GreetingMessage {
  if (frame.length > GREETING_LIMIT_BYTES) throw badMessage('greeting too large')
  const from = new FrameReader(frame)
  const message = read(from)
  if (from.remaining > 0) throw badMessage('trailing bytes')
  return message
}

function read(from: FrameReader): GreetingMessage {
  switch (from.varUint()) {
    case GREETING: {
      const theirs = from.varUint()
      if (theirs !== GREETING_VERSION) {
        throw new CausewayError('protocol/version-unsupported', { ours: GREETING_VERSION, theirs })
      }
      const cell = from.varString(TEXT_BYTES)
      const name = from.varString(TEXT_BYTES)
      if (!isReplicaName(name)) throw badMessage('no replica name')
      const incarnation = hexOf(from.raw(INCARNATION_BYTES))
      return { type: 'greeting', cell, name, incarnation, nonce: from.raw(NONCE_BYTES) }
    }
    case PROOF:
      return { type: 'proof', proof: from.raw(PROOF_BYTES) }
    case REFUSAL:
      return { type: 'refusal', code: from.varString(TEXT_BYTES) }
    default:
      throw badMessage('unknown message')
  }
}
