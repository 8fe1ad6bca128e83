/**
 * What replicas tell each other of the clients of one document, best effort: inside `tell`, which names the document. A
 * replica speaks of its own clients only, so nothing is ever passed on.
 *
 *   ask ──▶ changes*, roll   I have clients in it: who are yours? Asked again until `roll` or `absent` answers.
 *   ask ──▶ absent           I have none; also said by a replica whose last client has left, or that is told in vain.
 *   changes                  Ids that are shown, or gone, since the last time.
 *   passed                   Ids that the sender's clients know at a clock up to this: they see nothing below it.
 *
 * `stamp` orders what one replica tells, links that end and begin included, and is never the same twice in a cell: wall
 * time with a few bits of the teller's own (`TellingClock`).
 */
import { decodeUtf8, encodeUtf8 } from 'lib0/string'
import { ByteWriter } from '../base/byte-writer.js'
import { asCausewayError } from '../errors/error.js'
import { parseAwarenessState } from './awareness.js'
import { badMessage, FrameReader } from './frame-reader.js'
import { PEER_LIMITS } from './peer.js'

/** A client id at the replica that tells of it. */
export interface ToldPresence {
  readonly clientId: number
  readonly clock: number
  /** JSON text of an object, with the identity of the token in it; `null` where the id is gone. */
  readonly json: string | null
  /** When it was first told. */
  readonly since: number
  /** The user of the verified token; absent for a client without one, and where the id is gone. */
  readonly user?: string
  /** Gone from here to another replica, and shown to nobody as gone. */
  readonly letGo?: true
}

/** An id, and a clock of it. */
export interface ClientClock {
  readonly clientId: number
  readonly clock: number
}

export type PresenceTelling =
  | { readonly type: 'ask'; readonly stamp: number }
  /** Every id that the sender shows. What it told before and does not list is gone. */
  | { readonly type: 'roll'; readonly stamp: number; readonly clientIds: ReadonlySet<number> }
  | { readonly type: 'absent'; readonly stamp: number }
  | { readonly type: 'changes'; readonly stamp: number; readonly entries: readonly ToldPresence[] }
  | { readonly type: 'passed'; readonly clocks: readonly ClientClock[] }

/** What a decoder accepts at most: more than any configuration of the sender admits. */
const TOLD_LIMITS = { stateBytes: 128 * 1024, stateDepth: 64, userBytes: 4 * 1024 } as const

const NUMBERS = { ask: 0, roll: 1, absent: 2, changes: 3, passed: 4 } as const satisfies Record<
  PresenceTelling['type'],
  number
>
const IS_GONE = 0
const IS_SHOWN = 1
const IS_SHOWN_OF_USER = 2
const IS_LET_GO = 3
/** As in awareness updates: far below 2^53, so that a clock can be raised without leaving the format. */
const CLOCK_LIMIT = 2 ** 48
const HEAD_BYTES = 32

/** Encodes all but `changes`, which may need several messages. */
export function encodeTelling(telling: Exclude<PresenceTelling, { type: 'changes' }>): Uint8Array {
  const writer = new ByteWriter()
  writer.varUint(NUMBERS[telling.type])
  if (telling.type === 'passed') {
    writer.varUint(telling.clocks.length)
    for (const { clientId, clock } of telling.clocks) {
      writer.varUint(clientId)
      writer.varUint(clock)
    }
    return writer.finish()
  }
  writer.varUint(telling.stamp)
  if (telling.type === 'roll') {
    writer.varUint(telling.clientIds.size)
    for (const id of telling.clientIds) writer.varUint(id)
  }
  return writer.finish()
}

/** Encodes `changes` in as many messages of at most `limitBytes` as it takes; leaves out what alone is larger. */
export function encodeChanges(
  stamp: number,
  entries: readonly ToldPresence[],
  limitBytes: number = PEER_LIMITS.tellBytes,
): Uint8Array[] {
  const messages: Uint8Array[] = []
  let waiting: Uint8Array[] = []
  let bytes = HEAD_BYTES
  const flush = (): void => {
    if (waiting.length > 0) messages.push(changesMessage(stamp, waiting, bytes))
    waiting = []
    bytes = HEAD_BYTES
  }
  for (const entry of entries) {
    const encoded = encodeEntry(entry)
    if (HEAD_BYTES + encoded.length > limitBytes) continue
    if (bytes + encoded.length > limitBytes) flush()
    waiting.push(encoded)
    bytes += encoded.length
  }
  flush()
  return messages
}

function changesMessage(stamp: number, entries: readonly Uint8Array[], capacity: number): Uint8Array {
  const writer = new ByteWriter(capacity)
  writer.varUint(NUMBERS.changes)
  writer.varUint(stamp)
  writer.varUint(entries.length)
  for (const entry of entries) writer.bytes(entry)
  return writer.finish()
}

function encodeEntry({ clientId, clock, json, since, user, letGo }: ToldPresence): Uint8Array {
  const state = json === null ? undefined : encodeUtf8(json)
  const writer = new ByteWriter(state === undefined ? undefined : state.length + HEAD_BYTES)
  writer.varUint(clientId)
  writer.varUint(clock)
  if (state === undefined) {
    writer.byte(letGo ? IS_LET_GO : IS_GONE)
    return writer.finish()
  }
  writer.byte(user === undefined ? IS_SHOWN : IS_SHOWN_OF_USER)
  writer.varUint(since)
  if (user !== undefined) writeBytes(writer, encodeUtf8(user))
  writeBytes(writer, state)
  return writer.finish()
}

function writeBytes(writer: ByteWriter, bytes: Uint8Array): void {
  writer.varUint(bytes.length)
  writer.bytes(bytes)
}

/** Throws `protocol/bad-message`: what is none of these messages, to the last byte, or a state that is no JSON object. */
export function decodeTelling(bytes: Uint8Array): PresenceTelling {
  const reader = new FrameReader(bytes)
  const telling = readTelling(reader)
  if (reader.remaining > 0) throw badMessage('bytes after the end')
  return telling
}

function readTelling(reader: FrameReader): PresenceTelling {
  switch (reader.varUint()) {
    case NUMBERS.ask:
      return { type: 'ask', stamp: reader.varUint() }
    case NUMBERS.roll:
      return { type: 'roll', stamp: reader.varUint(), clientIds: new Set(readList(reader, 1, () => reader.varUint())) }
    case NUMBERS.absent:
      return { type: 'absent', stamp: reader.varUint() }
    case NUMBERS.changes:
      return { type: 'changes', stamp: reader.varUint(), entries: readList(reader, 3, readEntry) }
    case NUMBERS.passed:
      return {
        type: 'passed',
        clocks: readList(reader, 2, () => ({ clientId: reader.varUint(), clock: readClock(reader) })),
      }
    default:
      throw badMessage('no such telling')
  }
}

function readList<Item>(reader: FrameReader, leastBytes: number, read: (reader: FrameReader) => Item): Item[] {
  const count = reader.varUint()
  if (count * leastBytes > reader.remaining) throw badMessage('too many entries')
  return Array.from({ length: count }, () => read(reader))
}

function readClock(reader: FrameReader): number {
  const clock = reader.varUint()
  if (clock >= CLOCK_LIMIT) throw badMessage('clock out of range')
  return clock
}

function readEntry(reader: FrameReader): ToldPresence {
  const clientId = reader.varUint()
  const clock = readClock(reader)
  const kind = reader.byte()
  if (kind === IS_GONE) return { clientId, clock, json: null, since: 0 }
  if (kind === IS_LET_GO) return { clientId, clock, json: null, since: 0, letGo: true }
  if (kind !== IS_SHOWN && kind !== IS_SHOWN_OF_USER) throw badMessage('no such kind of entry')
  const since = reader.varUint()
  const user = kind === IS_SHOWN ? {} : { user: reader.varString(TOLD_LIMITS.userBytes) }
  return { clientId, clock, json: readState(reader), since, ...user }
}

/** The text as it was told: its stamp is the teller's, and is neither looked for nor written anew. */
function readState(reader: FrameReader): string {
  const bytes = reader.varBytes()
  try {
    if (parseAwarenessState(bytes, TOLD_LIMITS) === null) throw badMessage('a state that says gone')
  } catch (thrown) {
    if (asCausewayError(thrown).code === 'protocol/too-large') throw badMessage('state too large', thrown)
    throw thrown
  }
  return decodeUtf8(bytes)
}

/** Bits of a stamp that tell the tellers of one millisecond apart. */
const SALT_RANGE = 4096

/** Gives out stamps, each larger than the one before. */
export class TellingClock {
  private readonly now: () => number
  private readonly salt: number
  private last = 0

  /** `now`: wall time in ms. `salt`: a random number below 1; drawn once, it makes equal stamps of two replicas unlikely. */
  constructor(now: () => number, salt: number) {
    this.now = now
    this.salt = Math.floor(salt * SALT_RANGE)
  }

  next(): number {
    this.last = Math.max(this.last + 1, Math.floor(this.now()) * SALT_RANGE + this.salt)
    return this.last
  }
}
