import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Awareness, applyAwarenessUpdate, encodeAwarenessUpdate } from 'y-protocols/awareness'
import { Doc } from 'yjs'
import { decodeAwareness, encodeAwareness, parseAwarenessState } from './awareness.js'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
const LIMITS = { stateBytes: 16 * 1024, stateDepth: 8 }
const badMessage = expect.objectContaining({ code: 'protocol/bad-message' })
const tooLarge = expect.objectContaining({ code: 'protocol/too-large' })

/** Recorded bytes: client 5 at clock 2 with a state, client 300 gone at clock 1. */
const FIXTURE = '02 05 02 07 7b2261223a317d ac02 01 04 6e756c6c'

test('recorded bytes are encoded and decoded', () => {
  const update = encodeAwareness([
    { clientId: 5, clock: 2, json: '{"a":1}' },
    { clientId: 300, clock: 1, json: null },
  ])
  expect(update).toEqual(bytes(FIXTURE))
  const [here, gone] = decodeAwareness(update, 10)
  expect(here).toEqual({ clientId: 5, clock: 2, json: utf8('{"a":1}') })
  expect(parseAwarenessState(gone!.json, LIMITS)).toBeNull()
})

test('what y-protocols writes is understood, and it applies what we write', () => {
  const ours = new Awareness(new Doc())
  const theirs = new Awareness(new Doc())
  try {
    theirs.setLocalState({ user: { name: 'Ada' }, cursor: null })
    const [entry] = decodeAwareness(encodeAwarenessUpdate(theirs, [theirs.clientID]), 1)
    expect(parseAwarenessState(entry!.json, LIMITS)).toEqual({ user: { name: 'Ada' }, cursor: null })
    const { clientId, clock } = entry!
    applyAwarenessUpdate(ours, encodeAwareness([{ clientId, clock: clock + 1, json: '{"x":2}' }]), 'test')
    expect(ours.getStates().get(clientId)).toEqual({ x: 2 })
    applyAwarenessUpdate(ours, encodeAwareness([{ clientId, clock: clock + 1, json: null }]), 'test')
    expect(ours.getStates().has(clientId)).toBe(false)
    applyAwarenessUpdate(ours, encodeAwareness([]), 'test')
  } finally {
    ours.destroy()
    theirs.destroy()
  }
})

test.each([
  ['empty', ''],
  ['a million entries in three bytes', 'c0843d'],
  ['one entry more than allowed', '03 01 01 02 7b7d 02 01 02 7b7d 03 01 02 7b7d'],
  ['truncated state', '01 05 02 07 7b22'],
  ['clock of 2^48', '01 05 808080808080 40 02 7b7d'],
  ['clock of 2^53 and more', '01 05 ffffffffffffffff7f 02 7b7d'],
  ['client id of 2^53 and more', '01 ffffffffffffffff7f 01 02 7b7d'],
])('%s is a bad message', (_, hex) => {
  expect(() => decodeAwareness(bytes(hex), 2)).toThrow(badMessage)
})

test.each([
  ['{', badMessage],
  ['[1]', badMessage],
  ['"text"', badMessage],
  ['7', badMessage],
  ['{"a":undefined}', badMessage],
  [`${'[1'.repeat(30_000)}`, tooLarge],
  [`{"a":${'['.repeat(7)}1${']'.repeat(7)}}`, 'accepted'],
  [`{"a":${'['.repeat(8)}1${']'.repeat(8)}}`, tooLarge],
  [`{"a":"${'['.repeat(9)}"}`, 'accepted'],
  [`{"a\\"${'['.repeat(9)}":1}`, 'accepted'],
  [`{"a":"${'x'.repeat(20_000)}"}`, tooLarge],
])('state %.30s: %o', (json, expected) => {
  const parse = () => parseAwarenessState(utf8(json), LIMITS)
  if (expected === 'accepted') expect(parse()).toEqual(JSON.parse(json))
  else expect(parse).toThrow(expected)
})

test('a state that is no UTF-8 is a bad message', () => {
  expect(() => parseAwarenessState(bytes('7b22c3282231'), LIMITS)).toThrow(badMessage)
})

test('a key named __proto__ sets no prototype', () => {
  const state = parseAwarenessState(utf8('{"__proto__":{"isAdmin":true}}'), LIMITS)
  expect((state as { isAdmin?: boolean }).isAdmin).toBeUndefined()
})

test('whatever arrives decodes or is a bad message', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (update) => {
      try {
        decodeAwareness(update, 100)
      } catch (error) {
        expect(error).toMatchObject({ code: 'protocol/bad-message' })
      }
    }),
    { numRuns: 1000 },
  )
})
