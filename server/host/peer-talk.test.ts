import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { CausewayError } from '../../shared/errors/error.js'
import { PEER_LIMITS } from '../../shared/protocol/peer.js'
import type { TalkMessage } from '../replica/peer-link.js'
import { LinkTalk } from './peer-talk.js'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)
const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: CausewayError) => error.code,
  )

/** One that has sent what stands in `sent`. */
const alone = (): { talk: LinkTalk; sent: (TalkMessage & { to: string })[] } => {
  const sent: (TalkMessage & { to: string })[] = []
  return { talk: new LinkTalk((to, message) => sent.push({ to, ...message })), sent }
}

/** Two that are linked: what one sends, the other has. */
const pair = (): { a: LinkTalk; b: LinkTalk } => {
  const deliver = (to: () => LinkTalk, from: string) => (_: string, message: TalkMessage) => {
    if (message.type === 'tell') to().told(from, { ...message, type: 'told' })
    else if (message.type === 'ask') to().asked(from, { ...message, type: 'asked' })
    else to().answered(from, { ...message, type: 'answered' })
  }
  const a: LinkTalk = new LinkTalk(deliver(() => b, 'a'))
  const b: LinkTalk = new LinkTalk(deliver(() => a, 'b'))
  a.peerLinked('b')
  b.peerLinked('a')
  return { a, b }
}

describe('what is told', () => {
  test('reaches every linked peer, or one, and those who listen to the topic', () => {
    const { talk, sent } = alone()
    talk.tell('presence', 'notes', bytes(1))
    talk.peerLinked('b')
    talk.peerLinked('c')
    talk.tell('presence', 'notes', bytes(2))
    talk.tell('stateless', 'notes', bytes(3), 'c')
    talk.tell('stateless', 'notes', bytes(4), 'd')
    expect(sent.map((message) => [message.to, message.type === 'tell' && message.payload[0]])).toEqual([
      ['b', 2],
      ['c', 2],
      ['c', 3],
    ])
    const { a, b } = pair()
    const heard: unknown[] = []
    b.onTold('presence', (...told) => heard.push(told))
    a.tell('presence', 'notes', bytes(5))
    a.tell('stateless', 'notes', bytes(6))
    expect(heard).toEqual([['a', 'notes', bytes(5)]])
  })

  test('and is too large to be told is not', () => {
    const { talk, sent } = alone()
    talk.peerLinked('b')
    talk.tell('presence', 'notes', new Uint8Array(PEER_LIMITS.tellBytes + 1))
    expect(sent).toEqual([])
  })
})

describe('a question', () => {
  test('is answered by who listens to its subject', async () => {
    const { a, b } = pair()
    b.onAsked('status', async (from, [value]) => bytes(from.charCodeAt(0), value! + 1))
    expect(await a.ask('b', 'status', bytes(7), 1_000)).toEqual(bytes(97, 8))
    // Whoever waits no more leaves no timer behind.
    expect(vi.getTimerCount()).toBe(0)
  })

  test.each<[string, (b: LinkTalk) => void, string]>([
    ['nobody listens', () => {}, 'request/not-found'],
    [
      'an error of the listener',
      (b) => b.onAsked('status', () => Promise.reject(new CausewayError('storage/busy'))),
      'storage/busy',
    ],
    [
      'a listener that throws at once',
      (b) =>
        b.onAsked('status', () => {
          throw new Error('no')
        }),
      'internal/failure',
    ],
    [
      'an answer too large',
      (b) => b.onAsked('status', async () => new Uint8Array(PEER_LIMITS.answerBytes + 1)),
      'protocol/too-large',
    ],
  ])('%s is told as its code', async (_, prepare, code) => {
    const { a, b } = pair()
    prepare(b)
    expect(await codeOf(a.ask('b', 'status', bytes(), 1_000))).toBe(code)
  })

  test('a code that we do not know is `cell/unreachable`', async () => {
    const { talk } = alone()
    talk.peerLinked('b')
    const asked = codeOf(talk.ask('b', 'status', bytes(), 1_000))
    talk.answered('b', { type: 'answered', ask: 1, code: 'toString', answer: bytes() })
    expect(await asked).toBe('cell/unreachable')
  })

  test('is refused where the peer is not linked, or it is too large', async () => {
    const { talk } = alone()
    expect(await codeOf(talk.ask('b', 'status', bytes(), 1_000))).toBe('cell/unreachable')
    talk.peerLinked('b')
    const large = new Uint8Array(PEER_LIMITS.askBytes + 1)
    expect(await codeOf(talk.ask('b', 'status', large, 1_000))).toBe('protocol/too-large')
  })

  test('ends at its deadline, and a later answer means nothing', async () => {
    const { talk } = alone()
    talk.peerLinked('b')
    let outcome: unknown
    const asked = codeOf(talk.ask('b', 'status', bytes(), 1_000)).then((code) => {
      outcome = code
    })
    await vi.advanceTimersByTimeAsync(999)
    expect(outcome).toBeUndefined()
    await vi.advanceTimersByTimeAsync(1)
    await asked
    expect(outcome).toBe('cell/unreachable')
    talk.answered('b', { type: 'answered', ask: 1, answer: bytes(1) })
  })

  test('ends with its link, and those of others go on', async () => {
    const { talk } = alone()
    talk.peerLinked('b')
    talk.peerLinked('c')
    const lost = Array.from({ length: PEER_LIMITS.asks + 1 }, () => codeOf(talk.ask('b', 'status', bytes(), 1_000)))
    const kept = talk.ask('c', 'status', bytes(), 1_000)
    talk.peerUnlinked('b')
    expect(new Set(await Promise.all(lost))).toEqual(new Set(['cell/unreachable']))
    talk.answered('c', { type: 'answered', ask: PEER_LIMITS.asks + 1, answer: bytes(9) })
    expect(await kept).toEqual(bytes(9))
  })

  test('waits for its turn: a peer has no more at a time than it takes, those that were given up included', async () => {
    const { talk, sent } = alone()
    talk.peerLinked('b')
    const given = Array.from({ length: PEER_LIMITS.asks }, () => codeOf(talk.ask('b', 'status', bytes(), 10)))
    const next = talk.ask('b', 'status', bytes(1), 1_000)
    await vi.advanceTimersByTimeAsync(10)
    await Promise.all(given)
    expect(sent).toHaveLength(PEER_LIMITS.asks)
    talk.answered('b', { type: 'answered', ask: 3, answer: bytes() })
    expect(sent).toHaveLength(PEER_LIMITS.asks + 1)
    talk.answered('b', { type: 'answered', ask: PEER_LIMITS.asks + 1, answer: bytes(5) })
    expect(await next).toEqual(bytes(5))
  })

  test('one that gave up waiting for its turn is not asked', async () => {
    const { talk, sent } = alone()
    talk.peerLinked('b')
    const asked = Array.from({ length: PEER_LIMITS.asks }, () => codeOf(talk.ask('b', 'status', bytes(), 1_000)))
    expect(asked).toHaveLength(PEER_LIMITS.asks)
    const late = codeOf(talk.ask('b', 'status', bytes(), 10))
    await vi.advanceTimersByTimeAsync(10)
    expect(await late).toBe('cell/unreachable')
    talk.answered('b', { type: 'answered', ask: 1, answer: bytes() })
    expect(sent).toHaveLength(PEER_LIMITS.asks)
  })

  test('beyond 64 without an outcome is refused', async () => {
    const { talk } = alone()
    talk.peerLinked('b')
    const asked = Array.from({ length: 64 }, () => codeOf(talk.ask('b', 'status', bytes(), 1_000)))
    expect(await codeOf(talk.ask('b', 'status', bytes(), 1_000))).toBe('access/too-many-requests')
    talk.peerUnlinked('b')
    await Promise.all(asked)
  })
})

describe('an answer', () => {
  test('of an earlier connection is not sent on a later one, where its number is another question', async () => {
    const { talk, sent } = alone()
    let release: (answer: Uint8Array) => void = () => {}
    talk.onAsked('status', () => new Promise((resolve) => (release = resolve)))
    talk.peerLinked('b')
    talk.asked('b', { type: 'asked', ask: 1, subject: 'status', question: bytes() })
    const first = release
    talk.peerUnlinked('b')
    talk.peerLinked('b')
    talk.asked('b', { type: 'asked', ask: 1, subject: 'status', question: bytes() })
    first(bytes(1))
    await vi.advanceTimersByTimeAsync(0)
    expect(sent).toEqual([])
    release(bytes(2))
    await vi.advanceTimersByTimeAsync(0)
    expect(sent).toEqual([{ to: 'b', type: 'answer', ask: 1, answer: bytes(2) }])
  })

  test('that never comes is given up once', async () => {
    const { talk, sent } = alone()
    let release: (answer: Uint8Array) => void = () => {}
    talk.onAsked('status', () => new Promise((resolve) => (release = resolve)))
    talk.peerLinked('b')
    talk.asked('b', { type: 'asked', ask: 1, subject: 'status', question: bytes() })
    await vi.advanceTimersByTimeAsync(60_000)
    release(bytes(2))
    await vi.advanceTimersByTimeAsync(0)
    expect(sent).toMatchObject([{ type: 'answer', ask: 1, code: 'protocol/timeout' }])
  })
})

test('listeners hear of links and of their ends, once each', () => {
  const { talk } = alone()
  const heard: string[] = []
  talk.onLinked((peer) => heard.push(`+${peer} of ${talk.linked}`))
  talk.onUnlinked((peer) => heard.push(`-${peer} of ${talk.linked}`))
  talk.peerLinked('b')
  talk.peerUnlinked('b')
  talk.peerUnlinked('b')
  expect(heard).toEqual(['+b of b', '-b of '])
})
