/**
 * What replicas ask each other when their documents are compared (the subject `convergence` of `ask`). A replica's
 * documents are the leaves of a tree of digests: by their names they fall into 64 groups of 64 buckets, and a bucket's
 * hash is the XOR over its leaves, each the first 16 bytes of
 *
 *   SHA-256( SHA-256(name) ‖ generation ‖ count ‖ op digest )     the numbers as big-endian doubles
 *
 * The bucket is the first 12 bits of SHA-256(name). So two replicas that hold the same ops find that out from one small
 * question, and others which documents differ from two more:
 *
 *   tree       the asker's 64 groups → the buckets of those groups that differ
 *   leaves     buckets → their leaves, page by page
 *   documents  names → each one's op digest, clock, and the fingerprint of its content at that very digest
 *
 * Each message opens with the version of this page; a side that does not know it refuses it, and counts as unreachable.
 */
import { assert, unreachable } from '../base/assert.js'
import { type Dot, isOrigin, isReplicaName } from '../clock/dot.js'
import { bytesOfHex, hexOf, readVector, type VersionVector, writeVector } from '../clock/version-vector.js'
import { DOCUMENT_NAME_LIMIT_BYTES, isDocumentName } from './document-name.js'
import { badMessage, FrameReader } from './frame-reader.js'
import { OpWriter } from './op-writer.js'

/** 1: the first one. Covers how leaves are hashed, too. */
const VERSION = 1

/** The shape of the tree. */
export const TREE = { groups: 64, bucketsPerGroup: 64, buckets: 64 * 64, hashBytes: 16 } as const

/** What a decoder accepts at most: whole messages stay below `askBytes` and `answerBytes` of peers. */
export const CONVERGENCE_LIMITS = { leaves: 2_000, names: 64, heldBack: 64, clockEntries: 256 } as const

/** Of one life of a document: which ops touched it. `xor`: of their chain values, as 32 hex digits. */
export interface OpDigest {
  readonly generation: number
  readonly count: number
  readonly xor: string
}

export interface Leaf extends OpDigest {
  readonly name: string
}

/** Why a replica has no fingerprint to show: it would have taken too long for now, or cannot be had there at all. */
export type NoFingerprint = 'late' | 'unavailable'

/** A document as a replica has it at one moment: the digest and the clock are of the very state that was fingerprinted. */
export interface DocumentView extends OpDigest {
  /** Highest seq per replica name that touched it: for people. */
  readonly clock: Readonly<Record<string, number>>
  /** 32 hex digits, or why there is none. */
  readonly fingerprint: string | NoFingerprint
}

/** As `HeldBack` of the replica that answers. */
export interface HeldBackOp {
  readonly dot: Dot
  readonly waitsFor: VersionVector
}

export type ConvergenceQuestion =
  /** `groups`: `TREE.groups` hashes, each the XOR of its buckets'. Only documents whose name starts with `prefix`. */
  | { readonly type: 'tree'; readonly prefix: string; readonly groups: Uint8Array }
  /** `cursor`: of the page before; 0 asks for the first. */
  | { readonly type: 'leaves'; readonly prefix: string; readonly buckets: ReadonlySet<number>; readonly cursor: number }
  /** The newest lives of these. Fingerprints that are not known are computed for `budgetMs`. */
  | { readonly type: 'documents'; readonly budgetMs: number; readonly names: readonly string[] }

export type ConvergenceAnswer =
  /** `groups`: the hashes of the buckets of each group that differs. */
  | {
      readonly type: 'tree'
      readonly groups: ReadonlyMap<number, Uint8Array>
      readonly heldBack: readonly HeldBackOp[]
    }
  /** `cursor`: where the next page begins; 0 on the last one. */
  | { readonly type: 'leaves'; readonly cursor: number; readonly leaves: readonly Leaf[] }
  /** In the order of the names; null where there is no such document. Fingerprints of other versions do not compare. */
  | {
      readonly type: 'documents'
      readonly fingerprintVersion: number
      readonly views: readonly (DocumentView | null)[]
    }

const NUMBERS = { tree: 1, leaves: 2, documents: 3 } as const
const TYPES = ['tree', 'leaves', 'documents'] as const
const BITMAP_BYTES = TREE.buckets / 8
const GROUP_BYTES = TREE.bucketsPerGroup * TREE.hashBytes
const FINGERPRINT_BYTES = 16
/** How a view is written: absent, or with what in the place of the fingerprint. */
const VIEWS = { absent: 0, late: 1, unavailable: 2, fingerprint: 3 } as const

export function encodeQuestion(question: ConvergenceQuestion): Uint8Array {
  const out = begin(question.type)
  switch (question.type) {
    case 'tree':
      assert(question.groups.length === TREE.groups * TREE.hashBytes, 'not a tree')
      out.text(question.prefix)
      out.raw(question.groups)
      break
    case 'leaves': {
      const bitmap = new Uint8Array(BITMAP_BYTES)
      for (const bucket of question.buckets) bitmap[bucket >> 3]! |= 1 << (bucket & 7)
      out.text(question.prefix)
      out.varUint(question.cursor)
      out.raw(bitmap)
      break
    }
    case 'documents':
      assert(question.names.length <= CONVERGENCE_LIMITS.names, 'too many names')
      out.varUint(question.budgetMs)
      out.varUint(question.names.length)
      for (const name of question.names) out.text(name)
      break
    default:
      unreachable(question)
  }
  return out.take()
}

/** Throws `protocol/bad-message`, as for a version that is not known. */
export function decodeQuestion(bytes: Uint8Array): ConvergenceQuestion {
  const { from, type } = open(bytes)
  let question: ConvergenceQuestion
  switch (type) {
    case 'tree':
      question = { type, prefix: readPrefix(from), groups: from.raw(TREE.groups * TREE.hashBytes) }
      break
    case 'leaves': {
      const prefix = readPrefix(from)
      const cursor = from.varUint()
      const bitmap = from.raw(BITMAP_BYTES)
      const buckets = new Set<number>()
      for (let bucket = 0; bucket < TREE.buckets; bucket++) {
        if (bitmap[bucket >> 3]! & (1 << (bucket & 7))) buckets.add(bucket)
      }
      question = { type, prefix, buckets, cursor }
      break
    }
    case 'documents': {
      const budgetMs = from.varUint()
      question = { type, budgetMs, names: readMany(from, CONVERGENCE_LIMITS.names, readName) }
      break
    }
  }
  return ended(from, question)
}

export function encodeAnswer(answer: ConvergenceAnswer): Uint8Array {
  const out = begin(answer.type)
  switch (answer.type) {
    case 'tree':
      out.varUint(answer.groups.size)
      for (const [group, hashes] of answer.groups) {
        assert(hashes.length === GROUP_BYTES, 'not a group')
        out.byte(group)
        out.raw(hashes)
      }
      assert(answer.heldBack.length <= CONVERGENCE_LIMITS.heldBack, 'too many ops held back')
      out.varUint(answer.heldBack.length)
      for (const { dot, waitsFor } of answer.heldBack) {
        out.text(dot.origin)
        out.varUint(dot.seq)
        writeVector(out, waitsFor)
      }
      break
    case 'leaves':
      assert(answer.leaves.length <= CONVERGENCE_LIMITS.leaves, 'too many leaves')
      out.varUint(answer.cursor)
      out.varUint(answer.leaves.length)
      for (const leaf of answer.leaves) {
        out.text(leaf.name)
        writeDigest(out, leaf)
      }
      break
    case 'documents':
      assert(answer.views.length <= CONVERGENCE_LIMITS.names, 'too many documents')
      out.varUint(answer.fingerprintVersion)
      out.varUint(answer.views.length)
      for (const view of answer.views) writeView(out, view)
      break
    default:
      unreachable(answer)
  }
  return out.take()
}

/** Throws `protocol/bad-message`, also where it answers another question than one of `type`. */
export function decodeAnswer<Type extends ConvergenceAnswer['type']>(
  type: Type,
  bytes: Uint8Array,
): Extract<ConvergenceAnswer, { type: Type }> {
  const { from, type: found } = open(bytes)
  if (found !== type) throw badMessage('an answer to another question')
  return ended(from, readAnswer(from, found)) as Extract<ConvergenceAnswer, { type: Type }>
}

function readAnswer(from: FrameReader, type: ConvergenceAnswer['type']): ConvergenceAnswer {
  switch (type) {
    case 'tree': {
      const groups = new Map<number, Uint8Array>()
      for (const [group, hashes] of readMany(from, TREE.groups, () => [from.byte(), from.raw(GROUP_BYTES)] as const)) {
        if (group >= TREE.groups || groups.has(group)) throw badMessage('no such group')
        groups.set(group, hashes)
      }
      return { type, groups, heldBack: readMany(from, CONVERGENCE_LIMITS.heldBack, readHeldBack) }
    }
    case 'leaves': {
      const cursor = from.varUint()
      const leaves = readMany(from, CONVERGENCE_LIMITS.leaves, () => ({ name: readName(from), ...readDigest(from) }))
      return { type, cursor, leaves }
    }
    case 'documents': {
      const fingerprintVersion = from.varUint()
      return { type, fingerprintVersion, views: readMany(from, CONVERGENCE_LIMITS.names, readView) }
    }
  }
}

function begin(type: ConvergenceQuestion['type']): OpWriter {
  const out = new OpWriter()
  out.byte(VERSION)
  out.byte(NUMBERS[type])
  return out
}

function open(bytes: Uint8Array): { from: FrameReader; type: ConvergenceQuestion['type'] } {
  const from = new FrameReader(bytes)
  if (from.byte() !== VERSION) throw badMessage('unknown version')
  const number = from.byte()
  const type = TYPES.find((each) => NUMBERS[each] === number)
  if (type === undefined) throw badMessage('unknown message')
  return { from, type }
}

function ended<Message>(from: FrameReader, message: Message): Message {
  if (from.remaining > 0) throw badMessage('bytes behind the message')
  return message
}

function readMany<Item>(from: FrameReader, limit: number, read: (from: FrameReader) => Item): Item[] {
  const count = from.varUint()
  if (count > limit) throw badMessage('too many items')
  return Array.from({ length: count }, () => read(from))
}

const readPrefix = (from: FrameReader): string => from.varString(DOCUMENT_NAME_LIMIT_BYTES)

function readName(from: FrameReader): string {
  const name = from.varString(DOCUMENT_NAME_LIMIT_BYTES)
  if (!isDocumentName(name)) throw badMessage('bad document name')
  return name
}

function writeDigest(out: OpWriter, { generation, count, xor }: OpDigest): void {
  out.varUint(generation)
  out.varUint(count)
  out.raw(bytesOfHex(xor))
}

function readDigest(from: FrameReader): OpDigest {
  return { generation: from.varUint(), count: from.varUint(), xor: hexOf(from.raw(TREE.hashBytes)) }
}

function readHeldBack(from: FrameReader): HeldBackOp {
  const origin = from.varString(ORIGIN_LIMIT_BYTES)
  if (!isOrigin(origin)) throw badMessage('bad origin')
  return { dot: { origin, seq: from.varUint() }, waitsFor: readVector(from) }
}

function writeView(out: OpWriter, view: DocumentView | null): void {
  if (view === null) {
    out.byte(VIEWS.absent)
    return
  }
  const { fingerprint } = view
  const kind = fingerprint === 'late' || fingerprint === 'unavailable' ? fingerprint : 'fingerprint'
  out.byte(VIEWS[kind])
  writeDigest(out, view)
  const entries = Object.entries(view.clock).slice(0, CONVERGENCE_LIMITS.clockEntries)
  out.varUint(entries.length)
  for (const [replica, seq] of entries) {
    out.text(replica)
    out.varUint(seq)
  }
  if (kind === 'fingerprint') out.raw(bytesOfHex(fingerprint))
}

function readView(from: FrameReader): DocumentView | null {
  const byte = from.byte()
  if (byte === VIEWS.absent) return null
  if (byte > VIEWS.fingerprint) throw badMessage('unknown view')
  const digest = readDigest(from)
  const clock = Object.fromEntries(readMany(from, CONVERGENCE_LIMITS.clockEntries, readClockEntry))
  if (byte === VIEWS.fingerprint) return { ...digest, clock, fingerprint: hexOf(from.raw(FINGERPRINT_BYTES)) }
  return { ...digest, clock, fingerprint: byte === VIEWS.late ? 'late' : 'unavailable' }
}

function readClockEntry(from: FrameReader): [string, number] {
  const replica = from.varString(ORIGIN_LIMIT_BYTES)
  if (!isReplicaName(replica)) throw badMessage('bad replica name')
  return [replica, from.varUint()]
}

/** A replica name, a dot, and an incarnation in hex. */
const ORIGIN_LIMIT_BYTES = 32 + 1 + 16
