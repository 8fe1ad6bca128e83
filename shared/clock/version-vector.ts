/**
 * Version vectors: for each origin the highest gap-free seq. One entry per replica lineage, never one per client.
 *
 * What stands here takes entries at their face value. Where restarts have to be seen through (an entry that a later one
 * implies is not written), `lineages.ts` compares and merges.
 */
import { CausewayError } from '../errors/error.js'
import { type Dot, formatDot, incarnationOf, isOrigin, makeOrigin, type OriginId, replicaNameOf } from './dot.js'

export type VersionVector = ReadonlyMap<OriginId, number>

export const EMPTY_VECTOR: VersionVector = new Map()

/** Entries of one vector that a reader of text or bytes accepts; honest ones stay below a hundred. */
export const VECTOR_ENTRIES_LIMIT = 256

/** Whether both have the same entries. */
export function sameVector(left: VersionVector, right: VersionVector): boolean {
  if (left === right) return true
  if (left.size !== right.size) return false
  for (const [origin, seq] of left) if (right.get(origin) !== seq) return false
  return true
}

/** Entry by entry the larger one. */
export function maxVector(left: VersionVector, right: VersionVector): VersionVector {
  const joined = new Map(left)
  for (const [origin, seq] of right) if (seq > (joined.get(origin) ?? 0)) joined.set(origin, seq)
  return joined
}

/**
 * `a:3 b:1`, by origin. With `current`, for people: incarnations are cut to four digits, and left out where they are
 * current ones. Without, in full: `a.7f03…:3`, which `parseVector` reads.
 */
export function formatVector(vector: VersionVector, current?: ReadonlySet<OriginId>): string {
  return sortedEntries(vector)
    .map(([origin, seq]) => (current ? formatDot({ origin, seq }, current) : `${origin}:${seq}`))
    .join(' ')
}

/** Reads the full form of `formatVector`. Throws `request/invalid`. */
export function parseVector(text: string): VersionVector {
  const vector = new Map<OriginId, number>()
  if (text === '') return vector
  const entries = text.split(' ', VECTOR_ENTRIES_LIMIT + 1)
  if (entries.length > VECTOR_ENTRIES_LIMIT) throw invalid('too-many-entries')
  for (const entry of entries) {
    const { origin, seq } = parseDot(entry)
    if (vector.has(origin)) throw invalid('repeated-origin')
    vector.set(origin, seq)
  }
  return vector
}

function parseDot(text: string): Dot {
  const [origin = '', digits = '', ...rest] = text.split(':')
  const seq = /^[1-9][0-9]{0,15}$/.test(digits) ? Number(digits) : 0
  if (rest.length > 0 || !isOrigin(origin) || seq === 0 || !Number.isSafeInteger(seq)) throw invalid('no-dot')
  return { origin, seq }
}

function invalid(reason: string): CausewayError {
  return new CausewayError('request/invalid', { parameter: 'vector', reason })
}

/** What `writeVector` needs of a writer. */
interface Sink {
  varUint(value: number): void
  raw(bytes: Uint8Array): void
}

/** What `readVector` needs of a reader: both throw where bytes end too early. */
interface Source {
  readonly remaining: number
  varUint(): number
  raw(length: number): Uint8Array
}

const INCARNATION_BYTES = 8

/**
 * Bytes that stand alone: replica names in ascending order, each with its incarnations in ascending order and their
 * seqs. One vector has one spelling. Throws `cell/too-many-lineages` beyond `VECTOR_ENTRIES_LIMIT`.
 */
export function writeVector(out: Sink, vector: VersionVector): void {
  if (vector.size > VECTOR_ENTRIES_LIMIT) throw new CausewayError('cell/too-many-lineages', { lineages: vector.size })
  const byName = new Map<string, (readonly [string, number])[]>()
  for (const [origin, seq] of sortedEntries(vector)) {
    const name = replicaNameOf(origin)
    const known = byName.get(name)
    if (known) known.push([incarnationOf(origin), seq])
    else byName.set(name, [[incarnationOf(origin), seq]])
  }
  out.varUint(byName.size)
  // By name, not by origin: `a-b.…` sorts before `a.…`.
  for (const [name, incarnations] of [...byName].sort(([left], [right]) => (left < right ? -1 : 1))) {
    out.varUint(name.length)
    out.raw(Uint8Array.from(name, (character) => character.charCodeAt(0)))
    out.varUint(incarnations.length)
    for (const [incarnation, seq] of incarnations) {
      out.raw(bytesOfHex(incarnation))
      out.varUint(seq)
    }
  }
}

/** Reads what `writeVector` wrote. Throws `protocol/bad-message`. */
export function readVector(from: Source): VersionVector {
  const vector = new Map<OriginId, number>()
  const names = from.varUint()
  let lastName = ''
  for (let index = 0; index < names; index++) {
    const name = readName(from)
    if (name <= lastName) throw bad('names are not in order')
    lastName = name
    const count = from.varUint()
    if (count < 1 || count > VECTOR_ENTRIES_LIMIT - vector.size) throw bad('too many entries')
    let lastIncarnation = ''
    for (let entry = 0; entry < count; entry++) {
      const incarnation = hexOf(from.raw(INCARNATION_BYTES))
      if (incarnation <= lastIncarnation) throw bad('incarnations are not in order')
      lastIncarnation = incarnation
      const seq = from.varUint()
      if (seq < 1) throw bad('seq below 1')
      vector.set(makeOrigin(name, incarnation), seq)
    }
  }
  return vector
}

const NO_INCARNATION = '0'.repeat(2 * INCARNATION_BYTES)

function readName(from: Source): string {
  const length = from.varUint()
  if (length > 32) throw bad('no replica name')
  const name = String.fromCharCode(...from.raw(length))
  if (!isOrigin(`${name}.${NO_INCARNATION}`)) throw bad('no replica name')
  return name
}

/** The bytes that an even number of hex digits stands for. */
export function bytesOfHex(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, index) =>
    Number.parseInt(hex.slice(2 * index, 2 * index + 2), 16),
  )
}

const HEX_OF_BYTES = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** Lower-case hex digits of `bytes`. */
export function hexOf(bytes: Uint8Array): string {
  let hex = ''
  for (const byte of bytes) hex += HEX_OF_BYTES[byte]
  return hex
}

function sortedEntries(vector: VersionVector): [OriginId, number][] {
  return [...vector].sort(([left], [right]) => (left < right ? -1 : 1))
}

function bad(reason: string): CausewayError {
  return new CausewayError('protocol/bad-message', { reason })
}
