import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { asCausewayError } from '../errors/error.js'
import { decodeTelling, encodeChanges, encodeTelling, type PresenceTelling, TellingClock } from './peer-presence.js'

const SHOWN = { clientId: 300, clock: 5, json: '{"a":"é"}', since: 7_000_000_000_000_000 }

const encode = (telling: PresenceTelling): Uint8Array => {
  if (telling.type !== 'changes') return encodeTelling(telling)
  const [message, ...more] = encodeChanges(telling.stamp, telling.entries)
  expect(more).toEqual([])
  return message!
}
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('recorded bytes', () => {
  test.each<[string, PresenceTelling]>([
    ['0005', { type: 'ask', stamp: 5 }],
    ['010502ac0201', { type: 'roll', stamp: 5, clientIds: new Set([300, 1]) }],
    ['0205', { type: 'absent', stamp: 5 }],
    [
      '030502ac0205018080b68be8ceb70c0a7b2261223a22c3a9227d0706020703757365027b7d',
      {
        type: 'changes',
        stamp: 5,
        entries: [SHOWN, { clientId: 7, clock: 6, json: '{}', since: 7, user: 'use' }],
      },
    ],
    [
      '030502010600020703',
      {
        type: 'changes',
        stamp: 5,
        entries: [
          { clientId: 1, clock: 6, json: null, since: 0 },
          { clientId: 2, clock: 7, json: null, since: 0, letGo: true },
        ],
      },
    ],
    ['0401ac0205', { type: 'passed', clocks: [{ clientId: 300, clock: 5 }] }],
  ])('%s', (bytes, telling) => {
    expect(hex(encode(telling))).toBe(bytes)
    expect(decodeTelling(Buffer.from(bytes, 'hex'))).toEqual(telling)
  })
})

const anId = fc.integer({ min: 0, max: 2 ** 32 })
const aClock = fc.integer({ min: 0, max: 2 ** 48 - 1 })
const anEntry = fc.oneof(
  fc.record(
    {
      clientId: anId,
      clock: aClock,
      json: fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })).map((state) => JSON.stringify(state)),
      since: fc.maxSafeNat(),
      user: fc.string({ unit: 'grapheme' }),
    },
    { requiredKeys: ['clientId', 'clock', 'json', 'since'] },
  ),
  fc.record({ clientId: anId, clock: aClock, json: fc.constant(null), since: fc.constant(0) }),
)

test('what does not fit into one message is told in several', () => {
  const messages = encodeChanges(9, Array<typeof SHOWN>(10).fill(SHOWN), 100)
  expect(messages.length).toBeGreaterThan(1)
  for (const message of messages) expect(message.length).toBeLessThanOrEqual(100)
})

test('changes come back as they were told, in messages of a bounded size', () => {
  fc.assert(
    fc.property(fc.array(anEntry), fc.integer({ min: 2000, max: 4000 }), (entries, limitBytes) => {
      const messages = encodeChanges(9, entries, limitBytes)
      for (const message of messages) expect(message.length).toBeLessThanOrEqual(limitBytes)
      const back = messages.map(decodeTelling).flatMap((telling) => (telling.type === 'changes' ? telling.entries : []))
      const small = entries.filter(({ json }) => (json?.length ?? 0) < 500)
      expect(back.filter((entry) => (entry.json?.length ?? 0) < 500)).toEqual(small)
    }),
  )
})

test('what alone is larger than a message is left out, the rest is told', () => {
  const large = { ...SHOWN, json: JSON.stringify({ a: 'x'.repeat(1000) }) }
  const messages = encodeChanges(9, [SHOWN, large, SHOWN], 500)
  expect(messages.map(decodeTelling)).toEqual([{ type: 'changes', stamp: 9, entries: [SHOWN, SHOWN] }])
})

test('[SEC] bytes that are no telling are a bad message, whatever they are', () => {
  const good = encode({ type: 'changes', stamp: 5, entries: [SHOWN, { ...SHOWN, user: 'u' }] })
  const mutated = fc.tuple(fc.nat(good.length - 1), fc.nat(255)).map(([at, byte]) => {
    const bytes = good.slice()
    bytes[at] = byte
    return bytes
  })
  const cut = fc.nat(good.length - 1).map((length) => good.subarray(0, length))
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), mutated, cut), (bytes) => {
      try {
        decodeTelling(bytes)
      } catch (thrown) {
        expect(asCausewayError(thrown).code).toBe('protocol/bad-message')
      }
    }),
    { numRuns: 2000 },
  )
})

test.each([
  ['a state that is no object', { ...SHOWN, json: '[]' }],
  ['a state that is no JSON', { ...SHOWN, json: '{' }],
  ['a state that says gone', { ...SHOWN, json: ' null' }],
  ['a state of more than 128 KiB', { ...SHOWN, json: JSON.stringify({ a: 'x'.repeat(131_072) }) }],
  ['nesting of more than 64', { ...SHOWN, json: `{"a":${'['.repeat(64)}${']'.repeat(64)}}` }],
  ['a clock beyond 2^48', { ...SHOWN, clock: 2 ** 48 }],
  ['a user of more than 4 KiB', { ...SHOWN, user: 'x'.repeat(4097) }],
])('[SEC] %s is a bad message', (_, entry) => {
  const [message] = encodeChanges(1, [entry])
  expect(() => decodeTelling(message!)).toThrow(expect.objectContaining({ code: 'protocol/bad-message' }))
})

test('bytes after the end are a bad message', () => {
  expect(() => decodeTelling(Uint8Array.of(0, 5, 0))).toThrow(
    expect.objectContaining({ code: 'protocol/bad-message', details: { reason: 'bytes after the end' } }),
  )
})

test('stamps rise, also when the wall clock does not', () => {
  let nowMs = 1_700_000_000_000
  const clock = new TellingClock(() => nowMs, 0.5)
  const stamps = [clock.next(), clock.next()]
  nowMs -= 1000
  stamps.push(clock.next())
  nowMs += 5000
  stamps.push(clock.next())
  expect(stamps).toEqual([...stamps].sort((left, right) => left - right))
  expect(new Set(stamps).size).toBe(4)
  expect(stamps.every(Number.isSafeInteger)).toBe(true)
  expect(stamps[0]).not.toBe(new TellingClock(() => 1_700_000_000_000, 0.6).next())
})
