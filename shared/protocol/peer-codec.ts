/**
 * Bytes of peer messages, one message a frame: a number, then its fields. Each direction of a link has one encoder and
 * one decoder for its whole life, since origins are named once and numbered from then on: an edit of a few bytes would
 * otherwise carry more in names than in content.
 */
import { assert } from '../base/assert.js'
import { type CellIdentity, readCell, writeCell } from '../clock/cell.js'
import { incarnationOf, isOrigin, isReplicaName, makeOrigin, type OriginId, replicaNameOf } from '../clock/dot.js'
import { bytesOfHex, hexOf, readVector, writeVector } from '../clock/version-vector.js'
import { DOCUMENT_NAME_LIMIT_BYTES, isDocumentName } from './document-name.js'
import { badMessage, FrameReader } from './frame-reader.js'
import type { Op } from './op.js'
import { decodeLinkBatch, encodeLinkBatch } from './op-codec.js'
import { OpWriter } from './op-writer.js'
import {
  type ChainHead,
  type Claim,
  type Claims,
  type Hello,
  PEER_LIMITS,
  type PeerMessage,
  STANDINGS,
} from './peer.js'

/** Numbers of retired messages are not given again. */
const NUMBERS = {
  hello: 0,
  ready: 1,
  ops: 2,
  credit: 3,
  pull: 4,
  pulled: 5,
  durable: 6,
  probe: 7,
  relay: 8,
  'state-request': 9,
  'state-begin': 10,
  'state-chunk': 11,
  'state-taken': 12,
  'state-refused': 13,
  birth: 14,
  refuse: 15,
  tell: 16,
  ask: 17,
  answer: 18,
} as const satisfies Record<PeerMessage['type'], number>

/** Every message, by its number. */
export const PEER_MESSAGE_TYPES = Object.keys(NUMBERS) as PeerMessage['type'][]

const TOPICS = ['presence', 'stateless'] as const
const SUBJECTS = ['convergence', 'status'] as const
const OUTCOMES = ['complete', 'pruned', 'busy'] as const
const CHAIN_BYTES = 16
const INCARNATION_BYTES = 8
const CODE_BYTES = 64
const URGENT = 1
/** The origins that the sender numbered so far are forgotten. */
const NUMBERS_ANEW = 2

export class PeerEncoder {
  private readonly numbers = new Map<OriginId, number>()

  /** Throws `cell/too-many-lineages` where a vector is beyond its limit. */
  encode(message: PeerMessage): Uint8Array {
    const out = new OpWriter()
    out.varUint(NUMBERS[message.type])
    switch (message.type) {
      case 'hello':
        writeHello(out, message)
        break
      case 'ready':
      case 'state-refused':
        break
      case 'ops':
        this.writeOps(out, message)
        break
      case 'credit':
        out.varUint(message.amount)
        break
      case 'pull':
        out.varUint(message.pull)
        writeVector(out, message.beyond)
        out.byte(message.upTo ? 1 : 0)
        if (message.upTo) writeVector(out, message.upTo)
        break
      case 'pulled':
        out.varUint(message.pull)
        out.byte(OUTCOMES.indexOf(message.outcome))
        break
      case 'durable':
        out.varUint(message.probe)
        out.byte(STANDINGS.indexOf(message.standing))
        out.varUint(message.life)
        writeVector(out, message.vector)
        writeClaims(out, message.claims)
        break
      case 'probe':
        out.varUint(message.probe)
        break
      case 'relay':
        assert(message.names.length <= PEER_LIMITS.relayNames, 'too many names to relay')
        out.varUint(message.names.length)
        for (const name of message.names) out.text(name)
        break
      case 'state-request':
        out.varUint(message.transfer)
        out.varUint(message.next)
        break
      case 'state-begin':
        out.varUint(message.transfer)
        writeVector(out, message.cut)
        break
      case 'state-chunk':
        assert(message.bytes.length <= PEER_LIMITS.chunkBytes, 'chunk too large')
        out.varUint(message.transfer)
        out.varUint(message.index)
        out.byte(message.isLast ? 1 : 0)
        out.raw(message.bytes)
        break
      case 'state-taken':
        out.varUint(message.transfer)
        break
      case 'birth':
        out.byte(message.isBorn ? 1 : 0)
        writeCell(out, message.identity)
        break
      case 'refuse':
        out.text(message.code)
        out.text(message.details)
        break
      case 'tell':
        assert(message.payload.length <= PEER_LIMITS.tellBytes, 'too much to tell')
        out.byte(TOPICS.indexOf(message.topic))
        out.text(message.document)
        out.raw(message.payload)
        break
      case 'ask':
        assert(message.question.length <= PEER_LIMITS.askBytes, 'question too large')
        out.varUint(message.ask)
        out.byte(SUBJECTS.indexOf(message.subject))
        out.raw(message.question)
        break
      case 'answer':
        assert(message.answer.length <= PEER_LIMITS.answerBytes, 'answer too large')
        out.varUint(message.ask)
        out.byte(message.code === undefined ? 0 : 1)
        if (message.code !== undefined) out.text(message.code)
        out.raw(message.answer)
        break
    }
    return out.take()
  }

  private writeOps(out: OpWriter, message: Extract<PeerMessage, { type: 'ops' }>): void {
    const isAnew = this.numbers.size > PEER_LIMITS.origins / 2
    if (isAnew) this.numbers.clear()
    const known = this.numbers.size
    const batch = encodeLinkBatch(message.ops, (origin) => {
      const number = this.numbers.get(origin) ?? this.numbers.size
      this.numbers.set(origin, number)
      return number
    })
    const added = [...this.numbers.keys()].slice(known)
    assert(this.numbers.size <= PEER_LIMITS.origins, 'too many origins for one message')
    out.byte((message.urgent ? URGENT : 0) | (isAnew ? NUMBERS_ANEW : 0))
    out.varUint(message.pull)
    out.varUint(added.length)
    for (const origin of added) writeOrigin(out, origin)
    out.varBytes(batch)
    for (const origin of originsOf(message.ops)) {
      const chain = message.chains.get(origin)
      assert(chain?.length === CHAIN_BYTES, 'ops without their chain value')
      out.raw(chain)
    }
  }
}

export class PeerDecoder {
  private origins: OriginId[] = []

  /** Updates, chunks, payloads, questions and answers are views of `frame`. Throws `protocol/bad-message`; the decoder is of no use afterwards. */
  decode(frame: Uint8Array): PeerMessage {
    if (frame.length > PEER_LIMITS.messageBytes) throw badMessage('message too large')
    const from = new FrameReader(frame)
    const type = PEER_MESSAGE_TYPES[from.varUint()]
    if (type === undefined) throw badMessage('unknown message')
    const message = this.read(from, type)
    if (from.remaining > 0) throw badMessage('trailing bytes')
    return message
  }

  private read(from: FrameReader, type: PeerMessage['type']): PeerMessage {
    switch (type) {
      case 'hello':
        return readHello(from)
      case 'ready':
      case 'state-refused':
        return { type }
      case 'ops':
        return this.readOps(from)
      case 'credit':
        return { type, amount: from.varUint() }
      case 'pull': {
        const pull = readId(from)
        const beyond = readVector(from)
        return { type, pull, beyond, ...(readFlag(from) && { upTo: readVector(from) }) }
      }
      case 'pulled':
        return { type, pull: readId(from), outcome: readChoice(from, OUTCOMES) }
      case 'durable': {
        const probe = from.varUint()
        const standing = readChoice(from, STANDINGS)
        return { type, probe, standing, life: from.varUint(), vector: readVector(from), claims: readClaims(from) }
      }
      case 'probe':
        return { type, probe: readId(from) }
      case 'relay': {
        const count = readCount(from, PEER_LIMITS.relayNames)
        return { type, names: Array.from({ length: count }, () => readName(from)) }
      }
      case 'state-request':
        return { type, transfer: from.varUint(), next: from.varUint() }
      case 'state-begin':
        return { type, transfer: readId(from), cut: readVector(from) }
      case 'state-chunk': {
        const transfer = readId(from)
        const index = from.varUint()
        const isLast = readFlag(from)
        return { type, transfer, index, isLast, bytes: readRest(from, PEER_LIMITS.chunkBytes, 'chunk too large') }
      }
      case 'state-taken':
        return { type, transfer: readId(from) }
      case 'birth': {
        const isBorn = readFlag(from)
        return { type, isBorn, identity: readCell(from) }
      }
      case 'refuse':
        return { type, code: from.varString(CODE_BYTES), details: from.varString(PEER_LIMITS.refusalBytes) }
      case 'tell': {
        const topic = readChoice(from, TOPICS)
        const document = from.varString(DOCUMENT_NAME_LIMIT_BYTES)
        if (!isDocumentName(document)) throw badMessage('no document name')
        return { type, topic, document, payload: readRest(from, PEER_LIMITS.tellBytes, 'too much told') }
      }
      case 'ask': {
        const ask = readId(from)
        const subject = readChoice(from, SUBJECTS)
        return { type, ask, subject, question: readRest(from, PEER_LIMITS.askBytes, 'question too large') }
      }
      case 'answer': {
        const ask = readId(from)
        const refusal = readFlag(from) ? { code: from.varString(CODE_BYTES) } : {}
        return { type, ask, ...refusal, answer: readRest(from, PEER_LIMITS.answerBytes, 'answer too large') }
      }
    }
  }

  private readOps(from: FrameReader): PeerMessage {
    const flags = from.byte()
    if (flags > (URGENT | NUMBERS_ANEW)) throw badMessage('unknown flags')
    if (flags & NUMBERS_ANEW) this.origins = []
    const pull = from.varUint()
    const added = readCount(from, PEER_LIMITS.origins - this.origins.length)
    for (let index = 0; index < added; index++) this.origins.push(readOrigin(from))
    const ops = decodeLinkBatch(from.varBytes(), (number) => {
      const origin = this.origins[number]
      if (origin === undefined) throw badMessage('no such origin')
      return origin
    })
    if (ops.length === 0) throw badMessage('no ops')
    const chains = new Map<OriginId, Uint8Array>()
    for (const origin of originsOf(ops)) chains.set(origin, from.raw(CHAIN_BYTES))
    return { type: 'ops', pull, urgent: (flags & URGENT) > 0, ops, chains }
  }
}

/** The origins of `ops` by first appearance. Throws `protocol/bad-message` where an origin's are not consecutive. */
function originsOf(ops: readonly Op[]): Iterable<OriginId> {
  const last = new Map<OriginId, number>()
  for (const { kind, dot } of ops) {
    const before = last.get(dot.origin)
    if (before !== undefined && (dot.seq !== before + 1 || kind === 'open')) throw badMessage('ops are not consecutive')
    last.set(dot.origin, dot.seq)
  }
  return last.keys()
}

function writeHello(out: OpWriter, hello: Hello): void {
  assert(hello.heads.length <= PEER_LIMITS.heads, 'too many heads')
  out.varUint(hello.oldest)
  out.varUint(hello.newest)
  out.byte(hello.identity ? 1 : 0)
  if (hello.identity) writeCell(out, hello.identity)
  out.varUint(hello.configEpoch)
  writeOrigin(out, makeOrigin(hello.name, hello.incarnation))
  out.byte(STANDINGS.indexOf(hello.standing))
  out.varUint(hello.life)
  writeVector(out, hello.durable)
  out.varUint(hello.heads.length)
  for (const { origin, seq, chain } of hello.heads) {
    writeOrigin(out, origin)
    out.varUint(seq)
    out.raw(chain)
  }
  writeClaims(out, hello.claims)
  out.varUint(hello.window)
}

function readHello(from: FrameReader): Hello {
  const oldest = from.varUint()
  const newest = from.varUint()
  if (oldest < 1 || newest < oldest) throw badMessage('no range of versions')
  const identity: { identity?: CellIdentity } = readFlag(from) ? { identity: readCell(from) } : {}
  const configEpoch = from.varUint()
  const own = readOrigin(from)
  const standing = readChoice(from, STANDINGS)
  const life = from.varUint()
  const durable = readVector(from)
  const heads = Array.from({ length: readCount(from, PEER_LIMITS.heads) }, (): ChainHead => {
    return { origin: readOrigin(from), seq: readId(from), chain: from.raw(CHAIN_BYTES) }
  })
  const claims = readClaims(from)
  const window = from.varUint()
  const [name, incarnation] = [replicaNameOf(own), incarnationOf(own)]
  if (!isReplicaName(name)) throw badMessage('no replica name')
  const facts = { oldest, newest, ...identity, configEpoch, name, incarnation, standing, life }
  return { type: 'hello', ...facts, durable, heads, claims, window }
}

function writeClaims(out: OpWriter, claims: Claims): void {
  assert(claims.size <= PEER_LIMITS.claims, 'too many claims')
  out.varUint(claims.size)
  for (const [name, { life, vector }] of claims) {
    out.text(name)
    out.varUint(life)
    writeVector(out, vector)
  }
}

function readClaims(from: FrameReader): Claims {
  const count = readCount(from, PEER_LIMITS.claims)
  const claims = new Map<string, Claim>()
  for (let index = 0; index < count; index++) {
    const name = readName(from)
    if (claims.has(name)) throw badMessage('two claims of one member')
    claims.set(name, { life: from.varUint(), vector: readVector(from) })
  }
  return claims
}

/** A name and 8 bytes: shorter than its text. */
function writeOrigin(out: OpWriter, origin: OriginId): void {
  out.text(replicaNameOf(origin))
  out.raw(bytesOfHex(incarnationOf(origin)))
}

function readOrigin(from: FrameReader): OriginId {
  const origin = `${from.varString(32)}.${hexOf(from.raw(INCARNATION_BYTES))}`
  if (!isOrigin(origin)) throw badMessage('no replica name')
  return origin
}

function readName(from: FrameReader): string {
  const name = from.varString(32)
  if (!isReplicaName(name)) throw badMessage('no replica name')
  return name
}

function readCount(from: FrameReader, limit: number): number {
  const count = from.varUint()
  if (count > limit || count > from.remaining) throw badMessage('count out of range')
  return count
}

/** What remains of the message: at most `limit` bytes, as a view of the frame. */
function readRest(from: FrameReader, limit: number, reason: string): Uint8Array {
  if (from.remaining > limit) throw badMessage(reason)
  return from.raw(from.remaining)
}

/** A number from 1. */
function readId(from: FrameReader): number {
  const id = from.varUint()
  if (id < 1) throw badMessage('number below 1')
  return id
}

function readFlag(from: FrameReader): boolean {
  const flag = from.byte()
  if (flag > 1) throw badMessage('neither 0 nor 1')
  return flag === 1
}

function readChoice<Choice>(from: FrameReader, choices: readonly Choice[]): Choice {
  const choice = choices[from.byte()]
  if (choice === undefined) throw badMessage('no such choice')
  return choice
}
