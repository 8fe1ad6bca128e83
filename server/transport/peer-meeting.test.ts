import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeGreeting, encodeGreeting } from '../../shared/protocol/peer-greeting.js'
import { Meeting, type MeetingOptions } from './peer-meeting.js'

let meetings = 0
const sideOf = (name: string, change: Partial<MeetingOptions> = {}): Meeting =>
  new Meeting({
    self: { name, incarnation: name.charCodeAt(0).toString(16).padStart(16, '0') },
    cellName: 'cell',
    secret: 'the secret of the cell',
    nonce: new Uint8Array(32).fill(++meetings),
    ...change,
  })
const dialer = (change: Partial<MeetingOptions> = {}): Meeting => sideOf('a', { expected: 'b', ...change })
const acceptor = (change: Partial<MeetingOptions> = {}): Meeting => sideOf('b', change)

/** Runs a meeting; returns the dialer's frames. */
const meet = (a: Meeting, b: Meeting): Uint8Array[] => {
  const greeting = a.begin()
  const proof = a.receive(b.receive(greeting).reply!).reply!
  expect(b.receive(proof).met).toEqual({ name: 'a', incarnation: '0000000000000061' })
  expect(a.receive(b.accept()).met).toEqual({ name: 'b', incarnation: '0000000000000062' })
  return [greeting, proof]
}
const codeOf = (act: () => unknown): unknown => {
  try {
    act()
    return undefined
  } catch (thrown) {
    return (thrown as { code?: unknown }).code ?? thrown
  }
}

test('two that know the secret meet; without a secret, two that have none', () => {
  meet(dialer(), acceptor())
  meet(dialer({ secret: undefined }), acceptor({ secret: undefined }))
})

describe('[SEC] nobody is met who does not prove the secret, in this meeting, in this role', () => {
  test.each<[string, Partial<MeetingOptions>, Partial<MeetingOptions>, string]>([
    ['another secret', { secret: 'another' }, {}, 'access/unauthenticated'],
    ['no secret', { secret: undefined }, {}, 'access/unauthenticated'],
    ['a secret where there is none', {}, { secret: undefined }, 'access/unauthenticated'],
    ['another cell', { cellName: 'other' }, {}, 'cell/foreign'],
    ['another replica than the one dialled', { expected: 'c' }, {}, 'cell/foreign'],
  ])('%s', (_, ofDialer, ofAcceptor, code) => {
    expect(codeOf(() => meet(dialer(ofDialer), acceptor(ofAcceptor)))).toBe(code)
  })

  test('an acceptor that has another secret proves nothing to the dialer', () => {
    const [a, b] = [dialer(), acceptor({ secret: 'another' })]
    const greeting = b.receive(a.begin()).reply!
    a.receive(greeting)
    expect(codeOf(() => a.receive(b.accept()))).toBe('access/unauthenticated')
  })

  test('recorded frames prove nothing in another meeting', () => {
    const [greeting, proof] = meet(dialer(), acceptor())
    const b = acceptor()
    b.receive(greeting!)
    expect(codeOf(() => b.receive(proof!))).toBe('access/unauthenticated')
  })

  test("a dialer's own proof, sent back to it, proves nothing", () => {
    const a = dialer()
    const ours = decodeGreeting(a.begin())
    if (ours.type !== 'greeting') throw new Error('no greeting')
    // The same nonce, so that only role and names are left to tell the two proofs apart.
    const { reply } = a.receive(encodeGreeting({ ...ours, name: 'b' }))
    expect(codeOf(() => a.receive(reply!))).toBe('access/unauthenticated')
    const alone = sideOf('a', { expected: 'a' })
    expect(codeOf(() => alone.receive(alone.receive(alone.begin()).reply!))).toBe('access/unauthenticated')
  })

  test.each<[string, 'name' | 'incarnation' | 'nonce']>([
    ['a name', 'name'],
    ['an incarnation', 'incarnation'],
    ['a nonce', 'nonce'],
  ])('who changes %s on the way is found out', (_, field) => {
    const [a, b] = [dialer(), acceptor()]
    const greeting = decodeGreeting(a.begin())
    const change = { name: 'c', incarnation: 'f'.repeat(16), nonce: new Uint8Array(32) }
    const changed = encodeGreeting({ ...greeting, [field]: change[field] } as typeof greeting)
    const { reply } = a.receive(b.receive(changed).reply!)
    expect(codeOf(() => b.receive(reply!))).toBe('access/unauthenticated')
  })

  test('an acceptor computes nothing from the secret before it has seen a proof', () => {
    const { reply, met } = acceptor().receive(dialer().begin())
    expect(decodeGreeting(reply!).type).toBe('greeting')
    expect(met).toBeUndefined()
  })
})

test.each<[string, (a: Meeting, b: Meeting) => unknown, string]>([
  [
    'a proof before the greeting',
    (a) => a.receive(encodeGreeting({ type: 'proof', proof: new Uint8Array(32) })),
    'protocol/bad-message',
  ],
  ['a second greeting', (a, b) => [b.receive(a.begin()), b.receive(a.begin())], 'protocol/bad-message'],
  [
    'anything after the proof',
    (a, b) => {
      const [, proof] = meet(a, b)
      b.receive(proof!)
    },
    'protocol/bad-message',
  ],
  ['a later version', (_, b) => b.receive(Uint8Array.of(0, 2, 1, 97)), 'protocol/version-unsupported'],
  [
    'a refusal',
    (a) => a.receive(encodeGreeting({ type: 'refusal', code: 'cell/duplicate-name' })),
    'cell/duplicate-name',
  ],
  [
    'a refusal in words of its own',
    (a) => a.receive(encodeGreeting({ type: 'refusal', code: 'toString' })),
    'protocol/bad-message',
  ],
  ['too much', (a) => a.receive(new Uint8Array(4097)), 'protocol/bad-message'],
  ['trailing bytes', (a, b) => a.receive(Uint8Array.from([...b.begin(), 0])), 'protocol/bad-message'],
])('%s is refused', (_, act, code) => expect(codeOf(() => act(dialer(), acceptor()))).toBe(code))

test('any bytes are a typed refusal, or a greeting of a stranger', () => {
  const codes = [
    'protocol/bad-message',
    'protocol/version-unsupported',
    'cell/foreign',
    'access/unauthenticated',
    undefined,
  ]
  fc.assert(
    fc.property(fc.nat({ max: 3 }), fc.uint8Array({ maxLength: 120 }), fc.boolean(), (number, rest, isGreeted) => {
      const b = acceptor()
      if (isGreeted) b.receive(dialer().begin())
      const code = codeOf(() => b.receive(Uint8Array.from([number, ...rest])))
      if (number !== 2) expect(codes).toContain(code)
    }),
    { numRuns: 2_000 },
  )
})
