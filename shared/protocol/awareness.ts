/**
 * Awareness updates: who is present, with a state as JSON, and a clock a client counts up at each change. An entry is
 * applied where its clock is larger than the known one, or equal and the state `null` (gone).
 *
 *   varUint n, n times [varUint client id, varUint clock, varString JSON]
 *
 * Entries are read without parsing their states: stock clients send back what they receive, so most entries belong to
 * somebody else and are dropped unread.
 */
import { createEncoder, toUint8Array, writeVarString, writeVarUint } from 'lib0/encoding'
import { decodeUtf8 } from 'lib0/string'
import { CausewayError } from '../errors/error.js'
import { badMessage, FrameReader } from './frame-reader.js'

/** An entry as received: the state is JSON text in UTF-8, a view of the frame, not yet checked. */
export interface ReceivedAwareness {
  readonly clientId: number
  readonly clock: number
  readonly json: Uint8Array
}

/** An entry as sent: the state is JSON text, `null` where the client is gone. */
export interface AwarenessEntry {
  readonly clientId: number
  readonly clock: number
  readonly json: string | null
}

export type AwarenessState = Readonly<Record<string, unknown>>

export interface AwarenessStateLimits {
  readonly stateBytes: number
  readonly stateDepth: number
}

/** Clocks count a person's changes; far below 2^53, so that a clock can be raised without ever leaving the format. */
const CLOCK_LIMIT = 2 ** 48
/** Two bytes and a one-letter state are the least an entry takes; checked before a list is made. */
const ENTRY_LEAST_BYTES = 4

/** Throws `protocol/bad-message`: truncated, more entries than bytes for them, a clock out of range. */
export function decodeAwareness(update: Uint8Array, limitEntries: number): ReceivedAwareness[] {
  const reader = new FrameReader(update)
  const count = reader.varUint()
  if (count > limitEntries || count * ENTRY_LEAST_BYTES > reader.remaining) throw badMessage('too many entries')
  const entries: ReceivedAwareness[] = []
  for (let n = 0; n < count; n++) {
    const clientId = reader.varUint()
    const clock = reader.varUint()
    if (clock >= CLOCK_LIMIT) throw badMessage('clock out of range')
    entries.push({ clientId, clock, json: reader.varBytes() })
  }
  return entries
}

export function encodeAwareness(entries: readonly AwarenessEntry[]): Uint8Array {
  const encoder = createEncoder()
  writeVarUint(encoder, entries.length)
  for (const { clientId, clock, json } of entries) {
    writeVarUint(encoder, clientId)
    writeVarUint(encoder, clock)
    writeVarString(encoder, json ?? 'null')
  }
  return toUint8Array(encoder)
}

/**
 * The state of an entry, `null` where the client is gone. Throws `protocol/too-large` beyond a limit (nesting is
 * counted on the text, so that a parser never meets it), `protocol/bad-message` for what is no JSON object.
 */
export function parseAwarenessState(json: Uint8Array, limits: AwarenessStateLimits): AwarenessState | null {
  if (json.length > limits.stateBytes) throw new CausewayError('protocol/too-large', { limitBytes: limits.stateBytes })
  if (jsonDepth(json) > limits.stateDepth) {
    throw new CausewayError('protocol/too-large', { limitDepth: limits.stateDepth })
  }
  let state: unknown
  try {
    state = JSON.parse(decodeUtf8(json))
  } catch (cause) {
    throw badMessage('state is not JSON', cause)
  }
  if (state === null) return null
  if (typeof state !== 'object' || Array.isArray(state)) throw badMessage('state is not an object')
  return state as AwarenessState
}

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Deepest nesting of brackets and braces outside strings; right for every JSON text, harmless for others. */
function jsonDepth(json: Uint8Array): number {
  let depth = 0
  let deepest = 0
  let inString = false
  for (let i = 0; i < json.length; i++) {
    const byte = json[i]
    if (inString) {
      if (byte === BACKSLASH) i++
      else if (byte === QUOTE) inString = false
    } else if (byte === QUOTE) inString = true
    else if (byte === 0x5b || byte === 0x7b) deepest = Math.max(deepest, ++depth)
    else if (byte === 0x5d || byte === 0x7d) depth--
  }
  return deepest
}
