/**
 * The bytes of ops, in four forms that all open with a version byte:
 *
 * - a *batch* stands alone: tables of the origins and documents it names, then each op relative to the one before it.
 *   It is what a commit hands to the log.
 * - a *link batch* is the same without the table of origins: the two ends of a peer link keep one, by numbers.
 * - a *record* is one op in a replica's file. Its deps are absolute, because relay, pruning and state transfer all lose
 *   the op that a delta would stand on; origins are numbers that the file interns.
 * - the *canonical* form is what the chain hashes: nothing relative, nothing interned, deps sorted; the same bytes at
 *   every replica.
 *
 *   batch  = version, origins, documents, count, op*
 *   op     = head, [origin, seq], hlc − previous hlc, [changed deps], body
 *   head   = kind | 4 (the previous op's origin, next seq) | 8 (the previous op's deps)
 *   body   = data: parts      open: 0 | 1 predecessor      re-originated: was, parts      owned: owned id
 *
 * Decoders take anything and throw `protocol/bad-message`; encoders assert, since a bad op here is our own mistake.
 */
import * as decoding from 'lib0/decoding'
import { assert } from '../base/assert.js'
import { type Dot, isOrigin, type OriginId } from '../clock/dot.js'
import type { HybridTime } from '../clock/hybrid-clock.js'
import { sameVector, type VersionVector } from '../clock/version-vector.js'
import { CausewayError } from '../errors/error.js'
import { DOCUMENT_NAME_LIMIT_BYTES, isDocumentName } from './document-name.js'
import type { Op, OwnedId, Part } from './op.js'
import { OpWriter } from './op-writer.js'

/** 1: the first form. */
const FORMAT_VERSION = 1

/** What a decoder accepts at most. An honest op stays far below: 50 documents, a first sync of 2.2 MB. */
export const OP_LIMITS = {
  batchBytes: 64 * 1024 * 1024,
  batchOps: 65_536,
  batchOrigins: 4_096,
  batchDocuments: 65_536,
  /** Entries of all deps of a batch together: a delta of two bytes stands for a whole vector. */
  batchDepsEntries: 1_048_576,
  deps: 256,
  parts: 1_024,
  updateBytes: 32 * 1024 * 1024,
  /** Of a user id. */
  userBytes: 1_024,
} as const

const KINDS = ['data', 'open', 're-originated', 'owned'] as const
const KIND_BITS = 3
const NEXT_OF_SAME_ORIGIN = 4
const SAME_DEPS = 8

/** What an owned id says besides whose it is. */
const HAS_RELAYED_FROM = 1
const HAS_EVICTS = 2

const NO_DEPS: VersionVector = new Map()

type WriteOrigin = (out: OpWriter, origin: OriginId) => void
type ReadOrigin = (decoder: decoding.Decoder) => OriginId
type WriteDocument = (out: OpWriter, document: string) => void
type ReadDocument = (decoder: decoding.Decoder) => string

/** Encodes ops in order, in a form that stands alone. At most `OP_LIMITS.batchOps`, of `OP_LIMITS.batchBytes` together. */
export function encodeOpBatch(ops: readonly Op[]): Uint8Array {
  const origins = new Table<OriginId>()
  return encodeOps(
    ops,
    (origin) => origins.intern(origin),
    (batch) => origins.write(batch),
  )
}

/** The ops of a batch. Updates are views of `bytes`. Throws `protocol/bad-message`. */
export function decodeOpBatch(bytes: Uint8Array): Op[] {
  return decode(bytes, OP_LIMITS.batchBytes, (decoder) => {
    const origins = readTable(decoder, OP_LIMITS.batchOrigins, readOriginText)
    return readOps(decoder, (number) => entryOf(origins, number))
  })
}

/** As `encodeOpBatch`, with the numbers that `intern` gives to origins. */
export function encodeLinkBatch(ops: readonly Op[], intern: (origin: OriginId) => number): Uint8Array {
  return encodeOps(ops, intern, () => {})
}

/** The ops of a link batch. `originOf` throws on a number it does not know. Throws `protocol/bad-message`. */
export function decodeLinkBatch(bytes: Uint8Array, originOf: (number: number) => OriginId): Op[] {
  return decode(bytes, OP_LIMITS.batchBytes, (decoder) => readOps(decoder, originOf))
}

function encodeOps(
  ops: readonly Op[],
  intern: (origin: OriginId) => number,
  writeOrigins: (batch: OpWriter) => void,
): Uint8Array {
  assert(ops.length <= OP_LIMITS.batchOps, 'too many ops for a batch')
  const documents = new Table<string>()
  const writeOrigin: WriteOrigin = (out, origin) => out.varUint(intern(origin))
  const writeDocument: WriteDocument = (out, name) => out.varUint(documents.intern(name))
  const body = bodyWriter.reset()
  let origin: OriginId | undefined
  let seq = 0
  let hlc = 0
  let deps = NO_DEPS
  let depsEntries = 0
  for (const op of ops) {
    const isNext = op.dot.origin === origin && op.dot.seq === seq + 1
    const isSameDeps = sameVector(op.deps, deps)
    body.byte(KINDS.indexOf(op.kind) | (isNext ? NEXT_OF_SAME_ORIGIN : 0) | (isSameDeps ? SAME_DEPS : 0))
    if (!isNext) writeDot(body, op.dot, writeOrigin)
    body.varInt(op.hlc - hlc)
    if (!isSameDeps) {
      depsEntries += op.deps.size
      writeDepsDelta(body, deps, op.deps, writeOrigin)
    }
    writeBody(body, op, writeOrigin, writeDocument)
    origin = op.dot.origin
    seq = op.dot.seq
    hlc = op.hlc
    deps = op.deps
  }
  assert(depsEntries <= OP_LIMITS.batchDepsEntries, 'too many deps for a batch')
  const batch = writer.reset()
  batch.byte(FORMAT_VERSION)
  writeOrigins(batch)
  documents.write(batch)
  batch.varUint(ops.length)
  batch.raw(body.view())
  const bytes = batch.take()
  assert(bytes.length <= OP_LIMITS.batchBytes, 'batch too large')
  return bytes
}

function readOps(decoder: decoding.Decoder, originOf: (number: number) => OriginId): Op[] {
  const documents = readTable(decoder, OP_LIMITS.batchDocuments, readDocumentName)
  const readOrigin: ReadOrigin = (from) => originOf(readInteger(from))
  const readDocument: ReadDocument = (from) => entryOf(documents, readInteger(from))
  const count = readCount(decoder, OP_LIMITS.batchOps)
  const ops: Op[] = []
  let dot: Dot | undefined
  let hlc = 0
  let deps = NO_DEPS
  let depsEntries = 0
  for (let index = 0; index < count; index++) {
    const head = readByte(decoder)
    if (head > (KIND_BITS | NEXT_OF_SAME_ORIGIN | SAME_DEPS)) refuse('unknown head')
    if (head & NEXT_OF_SAME_ORIGIN) {
      if (!dot || dot.seq === Number.MAX_SAFE_INTEGER) refuse('no op before')
      dot = { origin: dot.origin, seq: dot.seq + 1 }
    } else dot = readDot(decoder, readOrigin)
    hlc += decoding.readVarInt(decoder)
    if (!(head & SAME_DEPS)) {
      deps = readDepsDelta(decoder, deps, readOrigin)
      depsEntries += deps.size
      if (depsEntries > OP_LIMITS.batchDepsEntries) refuse('too many deps')
    }
    ops.push(readBody(decoder, head & KIND_BITS, dot, deps, checkHlc(hlc), readOrigin, readDocument))
  }
  return ops
}

/**
 * Encodes an op for a replica's file; `intern` gives the number that the file knows an origin by. The bytes are a view
 * that holds until an op is encoded again.
 */
export function encodeOpRecord(op: Op, intern: (origin: OriginId) => number): Uint8Array {
  const writeOrigin: WriteOrigin = (out, origin) => out.varUint(intern(origin))
  return encodeAbsolute(op, op.deps, writeOrigin)
}

/** The op of a record. Updates are views of `bytes`. `originOf` throws on a number it does not know. Throws `protocol/bad-message`. */
export function decodeOpRecord(bytes: Uint8Array, originOf: (number: number) => OriginId): Op {
  return decode(bytes, OP_LIMITS.batchBytes, (decoder) => {
    const readOrigin: ReadOrigin = (from) => originOf(readInteger(from))
    const kind = readByte(decoder)
    const dot = readDot(decoder, readOrigin)
    const hlc = checkHlc(readInteger(decoder))
    const deps = readDepsDelta(decoder, NO_DEPS, readOrigin)
    return readBody(decoder, kind, dot, deps, hlc, readOrigin, readDocumentName)
  })
}

/** The form that the chain hashes, behind `prefix`: equal for equal ops, at every replica. A view, as above. */
export function encodeOpCanonical(op: Op, prefix: Uint8Array = NOTHING): Uint8Array {
  const deps = op.deps.size < 2 ? op.deps : new Map([...op.deps].sort(([left], [right]) => (left < right ? -1 : 1)))
  return encodeAbsolute(op, deps, writeText, prefix)
}

const NOTHING: Uint8Array = new Uint8Array()

function encodeAbsolute(
  op: Op,
  deps: VersionVector,
  writeOrigin: WriteOrigin,
  prefix: Uint8Array = NOTHING,
): Uint8Array {
  const out = writer.reset()
  out.raw(prefix)
  out.byte(FORMAT_VERSION)
  out.byte(KINDS.indexOf(op.kind))
  writeDot(out, op.dot, writeOrigin)
  out.varUint(op.hlc)
  writeDepsDelta(out, NO_DEPS, deps, writeOrigin)
  writeBody(out, op, writeOrigin, writeText)
  return out.view()
}

const writeText = (out: OpWriter, text: string): void => out.text(text)

const writer = new OpWriter()
const bodyWriter = new OpWriter()

function writeDot(out: OpWriter, dot: Dot, writeOrigin: WriteOrigin): void {
  writeOrigin(out, dot.origin)
  out.varUint(dot.seq)
}

function readDot(decoder: decoding.Decoder, readOrigin: ReadOrigin): Dot {
  const origin = readOrigin(decoder)
  const seq = readInteger(decoder)
  if (seq < 1) refuse('seq below 1')
  return { origin, seq }
}

/** Entries that differ; a seq of 0 says that the entry is gone. */
function writeDepsDelta(out: OpWriter, from: VersionVector, to: VersionVector, writeOrigin: WriteOrigin): void {
  assert(to.size <= OP_LIMITS.deps, 'too many deps')
  let changed = 0
  for (const [origin, seq] of to) {
    assert(seq > 0, 'a deps entry is at least 1')
    if (from.get(origin) !== seq) changed++
  }
  for (const origin of from.keys()) if (!to.has(origin)) changed++
  out.varUint(changed)
  for (const [origin, seq] of to) if (from.get(origin) !== seq) writeDot(out, { origin, seq }, writeOrigin)
  for (const origin of from.keys()) if (!to.has(origin)) writeDot(out, { origin, seq: 0 }, writeOrigin)
}

function readDepsDelta(decoder: decoding.Decoder, from: VersionVector, readOrigin: ReadOrigin): VersionVector {
  const changed = readCount(decoder, 2 * OP_LIMITS.deps)
  if (changed === 0) return from
  const to = new Map(from)
  for (let index = 0; index < changed; index++) {
    const origin = readOrigin(decoder)
    const seq = readInteger(decoder)
    if (seq > 0) to.set(origin, seq)
    else if (!to.delete(origin)) refuse('removes an entry that is not there')
  }
  if (to.size > OP_LIMITS.deps) refuse('too many deps')
  return to
}

function writeBody(out: OpWriter, op: Op, writeOrigin: WriteOrigin, writeDocument: WriteDocument): void {
  if (op.kind === 'open') {
    out.byte(op.predecessor ? 1 : 0)
    if (op.predecessor) writeDot(out, op.predecessor, writeOrigin)
    return
  }
  if (op.kind === 'owned') {
    writeOwnedId(out, op.owned, writeDocument)
    return
  }
  if (op.kind === 're-originated') writeDot(out, op.was, writeOrigin)
  assert(op.parts.length >= 1 && op.parts.length <= OP_LIMITS.parts, 'an op has 1 to 1,024 parts')
  out.varUint(op.parts.length)
  for (const part of op.parts) {
    assert(part.update.length <= OP_LIMITS.updateBytes, 'update too large')
    writeDocument(out, part.document)
    out.varUint(part.generation)
    out.varBytes(part.update)
  }
}

function readBody(
  decoder: decoding.Decoder,
  kind: number,
  dot: Dot,
  deps: VersionVector,
  hlc: HybridTime,
  readOrigin: ReadOrigin,
  readDocument: ReadDocument,
): Op {
  if (deps.has(dot.origin)) refuse('an op depends on its own origin')
  switch (KINDS[kind]) {
    case 'data':
      return { kind: 'data', dot, deps, hlc, parts: readParts(decoder, readDocument) }
    case 're-originated': {
      const was = readDot(decoder, readOrigin)
      return { kind: 're-originated', dot, was, deps, hlc, parts: readParts(decoder, readDocument) }
    }
    case 'open': {
      const hasPredecessor = readByte(decoder)
      if (hasPredecessor > 1) refuse('unknown open form')
      if (!hasPredecessor) {
        if (dot.seq !== 1) refuse('a first life opens at 1')
        return { kind: 'open', dot, deps, hlc }
      }
      const predecessor = readDot(decoder, readOrigin)
      if (predecessor.origin === dot.origin || predecessor.seq !== dot.seq - 1) refuse('open does not continue')
      return { kind: 'open', dot, deps, hlc, predecessor }
    }
    case 'owned':
      return { kind: 'owned', dot, deps, hlc, owned: readOwnedId(decoder, readDocument) }
    default:
      return refuse('unknown kind')
  }
}

function readParts(decoder: decoding.Decoder, readDocument: ReadDocument): Part[] {
  const count = readCount(decoder, OP_LIMITS.parts)
  if (count < 1) refuse('no parts')
  const parts: Part[] = []
  for (let index = 0; index < count; index++) {
    const document = readDocument(decoder)
    const generation = readInteger(decoder)
    const length = readCount(decoder, OP_LIMITS.updateBytes)
    parts.push({ document, generation, update: decoding.readUint8Array(decoder, length) })
  }
  return parts
}

function writeOwnedId(out: OpWriter, owned: OwnedId, writeDocument: WriteDocument): void {
  const { document, generation, client, user, relayedFrom, evicts } = owned
  writeDocument(out, document)
  out.varUint(generation)
  out.varUint(client)
  out.text(user)
  out.byte((relayedFrom === undefined ? 0 : HAS_RELAYED_FROM) | (evicts === undefined ? 0 : HAS_EVICTS))
  if (relayedFrom !== undefined) out.varUint(relayedFrom)
  if (evicts !== undefined) out.varUint(evicts)
}

function readOwnedId(decoder: decoding.Decoder, readDocument: ReadDocument): OwnedId {
  const document = readDocument(decoder)
  const generation = readInteger(decoder)
  const client = readInteger(decoder)
  const user = readUser(decoder)
  const has = readByte(decoder)
  if (has > (HAS_RELAYED_FROM | HAS_EVICTS)) refuse('unknown form of an owned id')
  return {
    document,
    generation,
    client,
    user,
    ...(has & HAS_RELAYED_FROM ? { relayedFrom: readInteger(decoder) } : {}),
    ...(has & HAS_EVICTS ? { evicts: readInteger(decoder) } : {}),
  }
}

function readUser(decoder: decoding.Decoder): string {
  const start = decoder.pos
  const length = decoding.readVarUint(decoder)
  if (length < 1 || length > OP_LIMITS.userBytes) refuse('no user id')
  decoder.pos = start
  return decoding.readVarString(decoder)
}

/** Values in the order of their first use. */
class Table<Value extends string> {
  private readonly numbers = new Map<Value, number>()

  intern(value: Value): number {
    const known = this.numbers.get(value)
    if (known !== undefined) return known
    const next = this.numbers.size
    this.numbers.set(value, next)
    return next
  }

  write(out: OpWriter): void {
    out.varUint(this.numbers.size)
    for (const value of this.numbers.keys()) out.text(value)
  }
}

function readTable<Value>(
  decoder: decoding.Decoder,
  limit: number,
  read: (from: decoding.Decoder) => Value,
): readonly Value[] {
  const count = readCount(decoder, limit)
  const values: Value[] = []
  for (let index = 0; index < count; index++) values.push(read(decoder))
  if (new Set(values).size !== count) refuse('a table names something twice')
  return values
}

function entryOf<Value>(table: readonly Value[], index: number): Value {
  const value = table[index]
  if (value === undefined) refuse('no such table entry')
  return value
}

function readOriginText(decoder: decoding.Decoder): OriginId {
  const text = decoding.readVarString(decoder)
  if (!isOrigin(text)) refuse('no origin')
  return text
}

function readDocumentName(decoder: decoding.Decoder): string {
  const start = decoder.pos
  const length = decoding.readVarUint(decoder)
  if (length > DOCUMENT_NAME_LIMIT_BYTES) refuse('document name too long')
  decoder.pos = start
  const name = decoding.readVarString(decoder)
  if (!isDocumentName(name)) refuse('no document name')
  return name
}

function checkHlc(hlc: number): HybridTime {
  if (!Number.isSafeInteger(hlc) || hlc < 1) refuse('hlc out of range')
  return hlc as HybridTime
}

function readByte(decoder: decoding.Decoder): number {
  if (!decoding.hasContent(decoder)) refuse('ends too early')
  return decoding.readUint8(decoder)
}

function readInteger(decoder: decoding.Decoder): number {
  const value = decoding.readVarUint(decoder)
  if (!Number.isSafeInteger(value)) refuse('integer out of range')
  return value
}

/** A count of things that take at least a byte each: checked against what is left before anything is made of it. */
function readCount(decoder: decoding.Decoder, limit: number): number {
  const count = decoding.readVarUint(decoder)
  if (!(count <= limit && count <= decoder.arr.length - decoder.pos)) refuse('count out of range')
  return count
}

function decode<Value>(bytes: Uint8Array, limitBytes: number, read: (decoder: decoding.Decoder) => Value): Value {
  if (bytes.length > limitBytes) refuse('too many bytes')
  try {
    const decoder = decoding.createDecoder(bytes)
    if (readByte(decoder) !== FORMAT_VERSION) refuse('unknown version')
    const value = read(decoder)
    if (decoding.hasContent(decoder)) refuse('trailing bytes')
    return value
  } catch (thrown) {
    // What lib0 throws where bytes end too early or are no UTF-8.
    throw thrown instanceof CausewayError ? thrown : new CausewayError('protocol/bad-message', {}, { cause: thrown })
  }
}

function refuse(reason: string): never {
  throw new CausewayError('protocol/bad-message', { reason })
}
