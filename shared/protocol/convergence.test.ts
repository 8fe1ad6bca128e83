import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { originOf, vectorOf } from '../../test/support/causal-text.js'
import {
  CONVERGENCE_LIMITS,
  type ConvergenceAnswer,
  type ConvergenceQuestion,
  decodeAnswer,
  decodeQuestion,
  encodeAnswer,
  encodeQuestion,
  TREE,
} from './convergence.js'
import { PEER_LIMITS } from './peer.js'

const bytesOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => index * 7)
const DIGEST = { generation: 1, count: 300, xor: '0123456789abcdef0123456789abcdef' }
const FINGERPRINT = 'f'.repeat(32)

const QUESTIONS: readonly ConvergenceQuestion[] = [
  { type: 'tree', prefix: 'team/', groups: bytesOf(TREE.groups * TREE.hashBytes) },
  { type: 'leaves', prefix: '', buckets: new Set([0, 7, 8, TREE.buckets - 1]), cursor: 70_000 },
  { type: 'documents', budgetMs: 1_500, names: ['a', 'team/grüße'] },
]

const ANSWERS: readonly ConvergenceAnswer[] = [
  {
    type: 'tree',
    groups: new Map([[63, bytesOf(TREE.bucketsPerGroup * TREE.hashBytes)]]),
    heldBack: [{ dot: { origin: originOf('a1'), seq: 9 }, waitsFor: vectorOf('b1:4') }],
  },
  { type: 'leaves', cursor: 0, leaves: [{ name: 'a', ...DIGEST }] },
  {
    type: 'documents',
    fingerprintVersion: 1,
    views: [
      null,
      { ...DIGEST, clock: { a: 2, b: 1 }, fingerprint: FINGERPRINT },
      { ...DIGEST, clock: {}, fingerprint: 'late' },
      { ...DIGEST, clock: {}, fingerprint: 'unavailable' },
    ],
  },
]

test.each(QUESTIONS)('a question about $type is read as it was written', (question) => {
  expect(decodeQuestion(encodeQuestion(question))).toEqual(question)
})

test.each(ANSWERS)('an answer about $type is read as it was written', (answer) => {
  expect(decodeAnswer(answer.type, encodeAnswer(answer))).toEqual(answer)
})

test('recorded bytes of the small messages: when they change, the protocol has another version', () => {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
  expect([
    hex(encodeQuestion(QUESTIONS[2]!)),
    ...ANSWERS.slice(1).map((answer) => hex(encodeAnswer(answer))),
  ]).toMatchInlineSnapshot(`
    [
      "0103dc0b0201610c7465616d2f6772c3bcc39f65",
      "01020001016101ac020123456789abcdef0123456789abcdef",
      "01030104000301ac020123456789abcdef0123456789abcdef02016102016201ffffffffffffffffffffffffffffffff0101ac020123456789abcdef0123456789abcdef000201ac020123456789abcdef0123456789abcdef00",
    ]
  `)
})

describe('what a peer sends', () => {
  const isRefused = (decode: () => unknown): boolean => {
    try {
      decode()
      return false
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: 'protocol/bad-message' })
      return true
    }
  }

  test.each([
    ['nothing', []],
    ['another version', [2, 3, 0, 0]],
    ['an unknown message', [1, 4]],
    [
      'more names than a question holds',
      [
        1,
        3,
        0,
        CONVERGENCE_LIMITS.names + 1,
        ...Array(CONVERGENCE_LIMITS.names + 1)
          .fill([1, 0x61])
          .flat(),
      ],
    ],
    ['a name that is none', [1, 3, 0, 1, 1, 0x2f]],
    ['bytes behind the message', [1, 3, 0, 0, 0]],
    ['a tree that is cut off', [1, 1, 0, 1, 2, 3]],
  ])('%s is no question', (_, bytes) => {
    expect(isRefused(() => decodeQuestion(Uint8Array.from(bytes)))).toBe(true)
  })

  test('an answer to another question is refused', () => {
    expect(isRefused(() => decodeAnswer('leaves', encodeAnswer(ANSWERS[0]!)))).toBe(true)
  })

  test('a group that does not exist, or twice, is refused', () => {
    const bytes = encodeAnswer({ type: 'tree', groups: new Map([[64, bytesOf(1024)]]), heldBack: [] })
    expect(isRefused(() => decodeAnswer('tree', bytes))).toBe(true)
    const once = encodeAnswer(ANSWERS[0]!).subarray(3, 3 + 1 + 1024)
    expect(isRefused(() => decodeAnswer('tree', Uint8Array.from([1, 1, 2, ...once, ...once, 0])))).toBe(true)
  })

  test('any bytes are read or refused, and nothing else', () => {
    const types = ['tree', 'leaves', 'documents'] as const
    const some = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .tuple(fc.constantFrom(...ANSWERS.map(encodeAnswer), ...QUESTIONS.map(encodeQuestion)), fc.nat(), fc.nat(255))
        .map(([bytes, at, value]) => bytes.with(at % bytes.length, value)),
    )
    fc.assert(
      fc.property(some, (bytes) => {
        isRefused(() => decodeQuestion(bytes))
        for (const type of types) isRefused(() => decodeAnswer(type, bytes))
      }),
    )
  })
})

test('the largest messages fit into what a peer takes', () => {
  const name = 'n'.repeat(512)
  const clock = Object.fromEntries(Array.from({ length: 256 }, (_, index) => [`${'r'.repeat(28)}-${index}`, 2 ** 50]))
  const digest = { ...DIGEST, generation: 2 ** 50, count: 2 ** 50 }
  const many = <Item>(length: number, item: Item): Item[] => Array.from({ length }, () => item)
  const questions: ConvergenceQuestion[] = [
    { ...(QUESTIONS[0] as Extract<ConvergenceQuestion, { type: 'tree' }>), prefix: name },
    { type: 'leaves', prefix: name, buckets: new Set([1]), cursor: 2 ** 50 },
    { type: 'documents', budgetMs: 2 ** 50, names: many(CONVERGENCE_LIMITS.names, name) },
  ]
  const group = bytesOf(TREE.bucketsPerGroup * TREE.hashBytes)
  const waitsFor = new Map(Array.from({ length: 256 }, (_, index) => [originOf(`a${index}`), 2 ** 50]))
  const answers: ConvergenceAnswer[] = [
    {
      type: 'tree',
      groups: new Map(Array.from({ length: TREE.groups }, (_, index) => [index, group])),
      heldBack: many(CONVERGENCE_LIMITS.heldBack, { dot: { origin: originOf('a1'), seq: 2 ** 50 }, waitsFor }),
    },
    { type: 'leaves', cursor: 2 ** 50, leaves: many(CONVERGENCE_LIMITS.leaves, { name, ...digest }) },
    {
      type: 'documents',
      fingerprintVersion: 1,
      views: many(CONVERGENCE_LIMITS.names, { ...digest, clock, fingerprint: FINGERPRINT }),
    },
  ]
  for (const question of questions) expect(encodeQuestion(question).length).toBeLessThan(PEER_LIMITS.askBytes)
  for (const answer of answers) expect(encodeAnswer(answer).length).toBeLessThan(PEER_LIMITS.answerBytes)
})
