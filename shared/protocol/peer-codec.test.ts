import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { opOf, originOf, textChain, vectorOf } from '../../test/support/causal-text.js'
import type { CellId } from '../clock/cell.js'
import { makeOrigin, type OriginId } from '../clock/dot.js'
import type { HybridTime } from '../clock/hybrid-clock.js'
import { EMPTY_VECTOR } from '../clock/version-vector.js'
import type { Op } from './op.js'
import { flowCost, opCost, PEER_LIMITS, PEER_VERSIONS, type PeerMessage } from './peer.js'
import { PeerDecoder, PeerEncoder } from './peer-codec.js'

const IDENTITY = { cell: '0f'.repeat(16) as CellId, epoch: { ordinal: 2, id: '00000000000000ff' } }
const CHAIN = Uint8Array.from({ length: 16 }, (_, index) => index)

const opsMessage = (ops: readonly Op[], change: { pull?: number; urgent?: boolean } = {}): PeerMessage => ({
  type: 'ops',
  pull: 0,
  urgent: false,
  ops,
  chains: new Map(ops.map((op) => [op.dot.origin, textChain(undefined, op)])),
  ...change,
})

const HELLO: PeerMessage = {
  type: 'hello',
  ...PEER_VERSIONS,
  identity: IDENTITY,
  configEpoch: 3,
  name: 'a',
  incarnation: '00000000000000a1',
  standing: 'active',
  life: 1,
  durable: vectorOf('a1:300 b2:1'),
  heads: [
    { origin: originOf('a1'), seq: 300, chain: CHAIN },
    { origin: originOf('b2'), seq: 1, chain: CHAIN },
  ],
  claims: new Map([['b', { life: 2, vector: vectorOf('a1:299') }]]),
  window: 4_194_304,
}

const EVERY: readonly PeerMessage[] = [
  HELLO,
  {
    type: 'hello',
    ...PEER_VERSIONS,
    configEpoch: 0,
    name: 'a',
    incarnation: '00000000000000a1',
    standing: 'empty',
    life: 0,
    durable: EMPTY_VECTOR,
    heads: [],
    claims: new Map(),
    window: 1,
  },
  { type: 'ready' },
  opsMessage([opOf('open a1:1'), opOf('a1:2 after b1:4'), opOf('b1:5 after a1:2')], { urgent: true }),
  { type: 'credit', amount: 70_000 },
  { type: 'pull', pull: 7, beyond: vectorOf('a1:300'), upTo: vectorOf('a1:302 b2:9') },
  { type: 'pull', pull: 8, beyond: EMPTY_VECTOR },
  { type: 'pulled', pull: 7, outcome: 'pruned' },
  {
    type: 'durable',
    probe: 9,
    standing: 'recovering',
    life: 3,
    vector: vectorOf('a1:300 coord1:12'),
    claims: new Map([['c', { life: 1, vector: vectorOf('c1:5') }]]),
  },
  { type: 'probe', probe: 9 },
  { type: 'relay', names: ['c', 'd-4'] },
  { type: 'state-request', transfer: 0, next: 0 },
  { type: 'state-begin', transfer: 5, cut: vectorOf('a1:300') },
  { type: 'state-chunk', transfer: 5, index: 3, isLast: true, bytes: Uint8Array.of(1, 2, 3) },
  { type: 'state-taken', transfer: 5 },
  { type: 'state-refused' },
  { type: 'birth', identity: IDENTITY, isBorn: true },
  { type: 'refuse', code: 'cell/forked', details: '{"origin":"a"}' },
  { type: 'tell', topic: 'stateless', document: 'team/notes', payload: Uint8Array.of(1, 2) },
  { type: 'ask', ask: 5, subject: 'status', question: Uint8Array.of(7) },
  { type: 'answer', ask: 5, answer: Uint8Array.of(8, 9) },
  { type: 'answer', ask: 6, code: 'request/not-found', answer: new Uint8Array(0) },
]

/** They end with bytes of any number: cut short, they are another message. */
const OPEN_ENDED = new Set<PeerMessage['type']>(['state-chunk', 'tell', 'ask', 'answer'])

const encode = (message: PeerMessage): Uint8Array => new PeerEncoder().encode(message)
const decode = (bytes: Uint8Array): PeerMessage => new PeerDecoder().decode(bytes)
const refusalOf = (bytes: Uint8Array): unknown => {
  try {
    decode(bytes)
    return undefined
  } catch (thrown) {
    expect(thrown).toMatchObject({ code: 'protocol/bad-message' })
    return (thrown as { details: { reason?: string } }).details.reason
  }
}

test.each(EVERY.map((message) => [message.type, message] as const))('%s is read as it was written', (_, message) => {
  expect(decode(encode(message))).toEqual(message)
})

test('recorded bytes of every message: when they change, the protocol has another version', () => {
  const fixtures = EVERY.map((message) => `${message.type} ${Buffer.from(encode(message)).toString('hex')}`)
  expect(fixtures).toMatchInlineSnapshot(`
    [
      "hello 000101010f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0200000000000000ff03016100000000000000a10201020161010000000000000001ac020162010000000000000002010201610000000000000001ac02000102030405060708090a0b0c0d0e0f0162000000000000000201000102030405060708090a0b0c0d0e0f01016202010161010000000000000001ab0280808002",
      "hello 0001010000016100000000000000a1000000000001",
      "ready 01",
      "ops 020100020161000000000000000101620000000000000001280101056e6f7465730309000101000401010104010000020102000105030200020100010000020105549077ab549077ab549077ab549077ab8eabc2598eabc2598eabc2598eabc259",
      "credit 03f0a204",
      "pull 0407010161010000000000000001ac0201020161010000000000000001ae02016201000000000000000209",
      "pull 04080000",
      "pulled 050701",
      "durable 06090103020161010000000000000001ac0205636f6f72640100000000000000010c0101630101016301000000000000000105",
      "probe 0709",
      "relay 0802016303642d34",
      "state-request 090000",
      "state-begin 0a05010161010000000000000001ac02",
      "state-chunk 0b050301010203",
      "state-taken 0c05",
      "state-refused 0d",
      "birth 0e010f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0200000000000000ff",
      "refuse 0f0b63656c6c2f666f726b65640e7b226f726967696e223a2261227d",
      "tell 10010a7465616d2f6e6f7465730102",
      "ask 11050107",
      "answer 1205000809",
      "answer 12060111726571756573742f6e6f742d666f756e64",
    ]
  `)
})

describe('a link names an origin once', () => {
  const edit = (seq: number): PeerMessage => opsMessage([opOf(`a1:${seq} after b1:1`)])

  test('the second message of the same origins carries numbers', () => {
    const encoder = new PeerEncoder()
    const decoder = new PeerDecoder()
    const first = encoder.encode(edit(2))
    const second = encoder.encode(edit(3))
    expect(first.length - second.length).toBe(2 * 10)
    expect([decoder.decode(first), decoder.decode(second)]).toEqual([edit(2), edit(3)])
    // Alone it means nothing.
    expect(refusalOf(second)).toBe('no such origin')
  })

  test('before numbers run out they begin anew', () => {
    const encoder = new PeerEncoder()
    const decoder = new PeerDecoder()
    for (let index = 1; index <= 3 * PEER_LIMITS.origins; index++) {
      const origin = makeOrigin('a', index.toString(16).padStart(16, '0'))
      const message = opsMessage([{ kind: 'open', dot: { origin, seq: 1 }, deps: EMPTY_VECTOR, hlc: 1 as HybridTime }])
      expect(decoder.decode(encoder.encode(message))).toEqual(message)
    }
  })

  test('more origins than a link may number are refused', () => {
    const encoder = new PeerEncoder()
    const decoder = new PeerDecoder()
    const opening = (index: number): Op => {
      const origin = makeOrigin('a', index.toString(16).padStart(16, '0'))
      return { kind: 'open', dot: { origin, seq: 1 }, deps: EMPTY_VECTOR, hlc: 1 as HybridTime }
    }
    const half = PEER_LIMITS.origins / 2
    const list = (from: number, count: number): Op[] =>
      Array.from({ length: count }, (_, index) => opening(from + index))
    decoder.decode(encoder.encode(opsMessage(list(1, half))))
    decoder.decode(encoder.encode(opsMessage(list(half + 1, half))))
    const forged = new PeerEncoder().encode(opsMessage([opening(9_999)]))
    expect(() => decoder.decode(forged)).toThrow(expect.objectContaining({ code: 'protocol/bad-message' }))
  })
})

test('tags of small edits, several replicas writing at once, cost less than 40 bytes each when batched', () => {
  // What three replicas under load look like: each depends on all it has seen, and they take turns.
  const origins = ['a1', 'b1', 'c1'].map((short) =>
    makeOrigin(short[0]!, short.padStart(16, '7').replace(/[^0-9a-f]/g, '3')),
  )
  const batchOf = (length: number): Op[] =>
    Array.from({ length }, (_, index): Op => {
      const origin = origins[index % 3]!
      const seq = 1_000_000 + Math.floor(index / 3)
      const deps = new Map(
        origins.filter((other) => other !== origin).map((other, at) => [other, seq - 1 - at] as const),
      )
      const hlc = (1_800_000_000_000 * 1_024 + index * 700) as HybridTime
      const parts = [{ document: `team/notes-${index % 5}`, generation: 0, update: new Uint8Array(24) }]
      return { kind: 'data', dot: { origin, seq }, deps, hlc, parts }
    })
  const tagBytes = (length: number): number => {
    const encoder = new PeerEncoder()
    encoder.encode(opsMessage(batchOf(3)))
    const bytes = encoder.encode(opsMessage(batchOf(length))).length
    return (bytes - 24 * length) / length
  }
  expect(tagBytes(10)).toBeLessThan(40)
  expect(tagBytes(100)).toBeLessThan(25)
})

test('cost grows with what a receiver has to keep, whatever the encoding', () => {
  const small = opOf('a1:2')
  expect(flowCost(opsMessage([small, opOf('a1:3')])) - flowCost(opsMessage([small]))).toBe(opCost(small))
  expect(opCost(small)).toBeGreaterThan(300)
  expect(
    flowCost({ type: 'state-chunk', transfer: 1, index: 0, isLast: false, bytes: new Uint8Array(1_000) }),
  ).toBeGreaterThan(1_000)
  expect(flowCost(HELLO)).toBe(0)
})

describe('hostile bytes', () => {
  test('any cut, and any change of a byte, gives a message or a typed refusal', () => {
    fc.assert(
      fc.property(fc.constantFrom(...EVERY), fc.nat(), fc.integer({ min: 1, max: 255 }), (message, at, flip) => {
        const bytes = encode(message)
        const cut = bytes.subarray(0, at % bytes.length)
        if (!OPEN_ENDED.has(message.type)) expect(refusalOf(cut)).toBeDefined()
        const changed = bytes.slice()
        changed[at % bytes.length]! ^= flip
        refusalOf(changed)
      }),
      { numRuns: 2_000 },
    )
  })

  test('arbitrary bytes behind each number', () => {
    fc.assert(
      fc.property(fc.nat({ max: 19 }), fc.uint8Array({ maxLength: 80 }), (number, rest) => {
        refusalOf(Uint8Array.from([number, ...rest]))
      }),
      { numRuns: 2_000 },
    )
  })

  test.each([
    [[], 'truncated number'],
    [[19], 'unknown message'],
    [[1, 0], 'trailing bytes'],
    [[2, 4], 'unknown flags'],
    [[5, 0, 0], 'number below 1'],
    [[5, 1, 3], 'no such choice'],
    [[4, 1, 0, 2], 'neither 0 nor 1'],
    [[8, 17], 'count out of range'],
    [[8, 1, 1, 65], 'no replica name'],
    [[8, 1, 5, 99, 111, 111, 114, 100], 'no replica name'],
    [[0, 0, 1], 'no range of versions'],
    [[0, 3, 2], 'no range of versions'],
    [[6, 0, 0, 0, 0, 2, 1, 97, 0, 0, 1, 97, 0, 0], 'two claims of one member'],
    [[6, 0, 0, 0, 0, 33], 'count out of range'],
    [[16, 2, 1, 97], 'no such choice'],
    [[16, 0, 0], 'no document name'],
    [[16, 0, 2, 97, 47], 'no document name'],
    [[16, 0, 0x81, 0x04], 'length beyond the frame'],
    [[17, 0, 0], 'number below 1'],
    [[17, 1, 2], 'no such choice'],
    [[18, 0, 0], 'number below 1'],
    [[18, 1, 2], 'neither 0 nor 1'],
    [[18, 1, 1, 65, ...new Array(65).fill(97)], 'string too long'],
  ])('%j: %s', (bytes, reason) => expect(refusalOf(Uint8Array.from(bytes))).toBe(reason))

  test.each([
    ['a hole', ['a1:2', 'a1:4']],
    ['an opening in the middle', ['a1:2', 'open a1:3 of b1:2']],
    ['one twice', ['a1:2', 'a1:2']],
  ])('ops of one origin with %s are neither written nor read', (_, texts) => {
    expect(() => encode(opsMessage(texts.map(opOf)))).toThrow(
      expect.objectContaining({ details: { reason: 'ops are not consecutive' } }),
    )
  })

  test('ops without a chain value are not written; an empty batch is not read', () => {
    const message = opsMessage([opOf('a1:2')])
    expect(() => encode({ ...message, chains: new Map<OriginId, Uint8Array>() } as PeerMessage)).toThrow('chain value')
    expect(refusalOf(encode(opsMessage([])))).toBe('no ops')
  })

  test('a chunk and a refusal are bounded', () => {
    const chunk = { type: 'state-chunk', transfer: 1, index: 0, isLast: false } as const
    expect(() => encode({ ...chunk, bytes: new Uint8Array(PEER_LIMITS.chunkBytes + 1) })).toThrow('chunk too large')
    const longer = Uint8Array.from([
      ...encode({ ...chunk, bytes: new Uint8Array(0) }),
      ...new Uint8Array(PEER_LIMITS.chunkBytes + 1),
    ])
    expect(refusalOf(longer)).toBe('chunk too large')
    expect(refusalOf(encode({ type: 'refuse', code: 'x', details: 'y'.repeat(PEER_LIMITS.refusalBytes + 1) }))).toBe(
      'string too long',
    )
    expect(refusalOf(new Uint8Array(PEER_LIMITS.messageBytes + 1))).toBe('message too large')
  })

  test.each<[string, PeerMessage, number, string, string]>([
    [
      'what is told',
      { type: 'tell', topic: 'presence', document: 'a', payload: new Uint8Array(0) },
      PEER_LIMITS.tellBytes,
      'too much to tell',
      'too much told',
    ],
    [
      'a question',
      { type: 'ask', ask: 1, subject: 'status', question: new Uint8Array(0) },
      PEER_LIMITS.askBytes,
      'question too large',
      'question too large',
    ],
    [
      'an answer',
      { type: 'answer', ask: 1, answer: new Uint8Array(0) },
      PEER_LIMITS.answerBytes,
      'answer too large',
      'answer too large',
    ],
  ])('%s is bounded, written and read', (_, message, limit, written, read) => {
    const largest = Buffer.concat([encode(message), new Uint8Array(limit)])
    expect(Buffer.compare(encode(decode(largest)), largest)).toBe(0)
    const field = message.type === 'tell' ? 'payload' : message.type === 'ask' ? 'question' : 'answer'
    expect(() => encode({ ...message, [field]: new Uint8Array(limit + 1) } as PeerMessage)).toThrow(written)
    expect(refusalOf(Buffer.concat([largest, Uint8Array.of(0)]))).toBe(read)
  })
})
