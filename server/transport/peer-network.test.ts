import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type RawData, WebSocket, WebSocketServer } from 'ws'
import { CausewayError } from '../../shared/errors/error.js'
import { PEER_LIMITS, type PeerMessage } from '../../shared/protocol/peer.js'
import { PeerDecoder, PeerEncoder } from '../../shared/protocol/peer-codec.js'
import { decodeGreeting, encodeGreeting } from '../../shared/protocol/peer-greeting.js'
import { FaultyProxy, PeerReplica, SECRET } from '../../test/support/peer-replica.js'
import { RawSocket } from '../../test/support/raw-socket.js'
import { peerAddress, retryDelayMs } from './peer-dialer.js'
import { PEER_NETWORK_LIMITS } from './peer-limits.js'
import { Meeting, type MeetingOptions } from './peer-meeting.js'
import type { PeerNetworkOptions } from './peer-network.js'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const listening = async (name: string): Promise<PeerReplica> => {
  const replica = await PeerReplica.listening(name)
  cleanups.push(() => replica.stop())
  return replica
}
const proxyTo = async (replica: PeerReplica): Promise<FaultyProxy> => {
  const proxy = await FaultyProxy.to(replica.port)
  cleanups.push(() => proxy.close())
  return proxy
}
const eventually = (condition: () => unknown): Promise<void> => expect.poll(condition, { interval: 5 }).toBeTruthy()

/** `a`, which dials, and `b`. */
const pair = async (
  ofA: Partial<PeerNetworkOptions> = {},
  ofB: Partial<PeerNetworkOptions> = {},
): Promise<{ a: PeerReplica; b: PeerReplica }> => {
  const [a, b] = [await listening('a'), await listening('b')]
  b.start({ a: a.url, b: b.url }, ofB)
  a.start({ a: a.url, b: b.url }, ofA)
  return { a, b }
}
const linkedPair: typeof pair = async (...options) => {
  const both = await pair(...options)
  await eventually(() => both.a.isLinked && both.b.isLinked)
  return both
}
const probe = (number: number): PeerMessage => ({ type: 'probe', probe: number })
const probesOf = (replica: PeerReplica): unknown[] =>
  replica.received.map(({ message }) => (message.type === 'probe' ? message.probe : message.type))

/** Who dials `b` by hand. */
class Stranger {
  readonly frames: Buffer[] = []
  closeCode: number | undefined
  readonly ws: WebSocket

  private constructor(ws: WebSocket) {
    this.ws = ws
    ws.on('message', (data: RawData) => this.frames.push(data as Buffer))
    ws.on('error', () => {})
    ws.on('close', (code) => {
      this.closeCode = code
    })
  }

  static async at(replica: PeerReplica): Promise<Stranger> {
    const stranger = new Stranger(new WebSocket(`${replica.url}/peer`))
    cleanups.push(() => stranger.ws.terminate())
    await once(stranger.ws, 'open')
    return stranger
  }

  /** As a replica that knows the secret. */
  static async proven(replica: PeerReplica, name = 'a', change: Partial<MeetingOptions> = {}): Promise<Stranger> {
    const stranger = await Stranger.at(replica)
    const meeting = new Meeting({
      self: { name, incarnation: '00000000000000aa' },
      cellName: 'cell',
      secret: SECRET,
      nonce: new Uint8Array(32).fill(1),
      expected: 'b',
      ...change,
    })
    stranger.ws.send(meeting.begin())
    stranger.ws.send(meeting.receive(await stranger.next()).reply!)
    return stranger
  }

  /** As a replica that `b` has linked. */
  static async linked(replica: PeerReplica): Promise<Stranger> {
    const stranger = await Stranger.proven(replica)
    expect(decodeGreeting(await stranger.next()).type).toBe('proof')
    await eventually(() => replica.isLinked)
    return stranger
  }

  async next(): Promise<Buffer> {
    await eventually(() => this.frames.length > 0)
    return this.frames.shift()!
  }

  /** The code that it is refused with before it is linked. */
  async refusal(): Promise<unknown> {
    const message = decodeGreeting(await this.next())
    return message.type === 'refusal' ? message.code : message.type
  }
}

test('two replicas link once, by the lesser name, and say things in order both ways', async () => {
  const { a, b } = await linkedPair()
  for (let number = 1; number <= 200; number++) {
    a.network.send('b', probe(number))
    b.network.send('a', probe(1_000 + number))
  }
  await eventually(() => a.received.length === 200 && b.received.length === 200)
  expect(probesOf(b)).toEqual(Array.from({ length: 200 }, (_, index) => index + 1))
  expect(probesOf(a)).toEqual(Array.from({ length: 200 }, (_, index) => index + 1_001))
  expect([a.changes, b.changes]).toEqual([['+b'], ['+a']])
  expect(a.lines).toMatchObject([{ event: 'peer/linked', peer: 'b', incarnation: b.incarnation, isDialled: true }])
  expect(b.lines).toMatchObject([{ event: 'peer/linked', peer: 'a', incarnation: a.incarnation, isDialled: false }])
  expect(a.counts).toEqual({ linked: 1, 'sent probe': 200, 'got probe': 200 })
})

test('what a turn says leaves when it ends', async () => {
  const { a, b } = await linkedPair()
  a.network.send('b', probe(1))
  // Small writes reach the kernel at once, unless they are held back.
  expect(a.network.bufferedBytes('b')).toBeGreaterThan(0)
  await eventually(() => b.received.length === 1)
  await eventually(() => a.network.bufferedBytes('b') === 0)
})

test('to whom it is not linked, nothing is sent', async () => {
  const { a } = await linkedPair()
  a.network.send('c', probe(1))
  expect(a.network.bufferedBytes('c')).toBe(0)
  a.network.close('c', new CausewayError('cell/forked'))
  expect(a.changes).toEqual(['+b'])
})

describe('[SEC] who is no peer is not let in', () => {
  test.each<[string, Partial<PeerNetworkOptions>, Partial<PeerNetworkOptions>, string]>([
    ['another secret', { secret: `not ${SECRET}` }, {}, 'access/unauthenticated'],
    ['no secret', { secret: undefined }, {}, 'access/unauthenticated'],
    ['a secret where there is none', {}, { secret: undefined }, 'access/unauthenticated'],
    ['another cell', { cellName: 'other' }, {}, 'cell/foreign'],
    ['a name that is no member', {}, { peers: new Map([['0', '']]) }, 'cell/foreign'],
  ])('%s: both sides say so, and nobody is linked', async (_, ofA, ofB, code) => {
    const { a, b } = await pair(ofA, ofB)
    await eventually(() => a.refusals.length > 0 && b.refusals.length > 0)
    await eventually(() => (a.counts['meeting-refused'] ?? 0) > 2)
    // It tries again and again, and says so once.
    expect([a.refusals, b.refusals]).toEqual([[code], [code]])
    expect([...a.changes, ...b.changes]).toEqual([])
  })

  test.each([
    ['our own name', 'b', 'cell/duplicate-name'],
    ['an unknown name', 'aa', 'cell/foreign'],
    ['a peer that we dial', 'c', 'protocol/bad-message'],
  ])('%s, though it knows the secret', async (_, name, code) => {
    const b = (await listening('b')).start({ a: '', c: 'ws://127.0.0.1:1' })
    const stranger = await Stranger.proven(b, name)
    expect(await stranger.refusal()).toBe(code)
    expect(b.changes).toEqual([])
  })

  test('what was recorded of a meeting', async () => {
    const b = (await listening('b')).start({ a: '' })
    const sent: Uint8Array[] = []
    const proxy = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    cleanups.push(() => proxy.close())
    proxy.on('connection', (incoming) => {
      const outgoing = new WebSocket(`${b.url}/peer`)
      cleanups.push(() => outgoing.terminate())
      const early: Buffer[] = []
      incoming.on('message', (data: Buffer) => {
        sent.push(data)
        if (outgoing.readyState === WebSocket.OPEN) outgoing.send(data)
        else early.push(data)
      })
      outgoing.on('open', () => {
        for (const data of early) outgoing.send(data)
      })
      outgoing.on('message', (data: Buffer) => incoming.send(data))
      incoming.on('close', () => outgoing.terminate())
    })
    const a = (await listening('a')).start({ b: `ws://127.0.0.1:${(proxy.address() as AddressInfo).port}` })
    await eventually(() => b.isLinked)
    const [greeting, proof] = sent
    await a.stop()
    await eventually(() => !b.isLinked)
    const replay = await Stranger.at(b)
    replay.ws.send(greeting!)
    await replay.next()
    replay.ws.send(proof!)
    expect(await replay.refusal()).toBe('access/unauthenticated')
    expect(b.isLinked).toBe(false)
  })

  test("a dialer's own words, sent back to it", async () => {
    const mirror = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    cleanups.push(() => mirror.close())
    mirror.on('connection', (ws) => {
      ws.on('message', (data: Buffer) => {
        const message = decodeGreeting(data)
        ws.send(message.type === 'greeting' ? encodeGreeting({ ...message, name: 'b' }) : data)
      })
    })
    const a = (await listening('a')).start({ b: `ws://127.0.0.1:${(mirror.address() as AddressInfo).port}` })
    await eventually(() => a.refusals.length > 0)
    expect(a.refusals[0]).toBe('access/unauthenticated')
    expect(a.changes).toEqual([])
  })

  test('a page in a browser, or whoever comes through a proxy to a cell without a secret', async () => {
    const b = (await listening('b')).start({ a: '' }, { secret: undefined })
    const statusFor = async (header: string): Promise<unknown> => {
      const raw = await RawSocket.to(b.port)
      cleanups.push(() => raw.destroy())
      const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
      const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
      raw.write(['GET /peer?x=1 HTTP/1.1', 'Host: b', ...upgrade, key, header, '', ''].join('\r\n'))
      await eventually(() => raw.status)
      return raw.status
    }
    expect(await statusFor('X-Nothing: 1')).toBe(101)
    expect(await statusFor(`Origin: ${b.url.replace('ws', 'http')}`)).toBe(403)
    expect(await statusFor('X-Forwarded-For: 203.0.113.7')).toBe(401)
    expect(b.refusals).toEqual(['access/origin', 'access/unauthenticated'])
  })

  test('without a secret nothing beyond this machine is dialled', async () => {
    const a = (await listening('a')).start({ b: 'ws://192.0.2.1:4400' }, { secret: undefined })
    expect(a.lines).toMatchObject([{ event: 'peer/refused', peer: 'b', code: 'config/invalid' }])
  })

  test('without a secret, replicas of one machine link by their names', async () => {
    const { a } = await linkedPair({ secret: undefined }, { secret: undefined })
    expect(a.changes).toEqual(['+b'])
  })
})

describe('[SEC] a stranger costs little', () => {
  test.each<[string, (ws: WebSocket) => void, number]>([
    ['garbage', (ws) => ws.send(Uint8Array.of(200, 1, 2)), 4400],
    ['an empty frame', (ws) => ws.send(Uint8Array.of()), 4400],
    ['a peer message', (ws) => ws.send(new PeerEncoder().encode(probe(1))), 4400],
    ['text', (ws) => ws.send('hello'), 1003],
    ['a large message', (ws) => ws.send(new Uint8Array(5_000)), 1009],
  ])('%s ends it', async (_, say, code) => {
    const { b } = await linkedPair()
    const stranger = await Stranger.at(b)
    say(stranger.ws)
    await eventually(() => stranger.closeCode)
    expect(stranger.closeCode).toBe(code)
    expect(b.changes).toEqual(['+a'])
  })

  test('half of a large message is not waited for', async () => {
    const b = (await listening('b')).start({ a: '' })
    const raw = await RawSocket.upgraded(b.port, '/peer')
    cleanups.push(() => raw.destroy())
    const header = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4])
    raw.write(Buffer.concat([header, new Uint8Array(6_000)]))
    await eventually(() => raw.isOver)
    expect(b.refusals).toEqual(['protocol/too-large'])
  })

  test('silence ends at its deadline', async () => {
    let nowMs = 0
    const b = (await listening('b')).start({ a: '' }, { now: () => nowMs })
    const stranger = await Stranger.at(b)
    nowMs = PEER_NETWORK_LIMITS.meetingMs - 1
    b.network.tick(nowMs)
    expect(b.refusals).toEqual([])
    nowMs++
    b.network.tick(nowMs)
    await eventually(() => stranger.closeCode)
    expect(b.refusals).toEqual(['protocol/timeout'])
  })

  test('few of them are taken at a time', async () => {
    const b = (await listening('b')).start({ a: '' }, { limits: { strangersPerAddress: 2 } })
    const first = await Stranger.at(b)
    await Stranger.at(b)
    await expect(Stranger.at(b)).rejects.toThrow('429')
    first.ws.terminate()
    await eventually(async () => await Stranger.at(b).catch(() => undefined))
  })
})

describe('two replicas of one name', () => {
  test('the one that is linked and answers keeps its place', async () => {
    const { a, b } = await linkedPair()
    const other = (await listening('a')).start({ b: b.url })
    await eventually(() => other.refusals.length > 0)
    expect([other.refusals, b.refusals]).toEqual([['cell/duplicate-name'], ['cell/duplicate-name']])
    expect(b.changes).toEqual(['+a'])
    a.network.send('b', probe(1))
    await eventually(() => b.received.length === 1)
    expect(other.changes).toEqual([])
  })

  test('one that does not answer any more loses it', async () => {
    const b = await listening('b')
    const proxy = await proxyTo(b)
    b.start({ a: '' }, { limits: { duplicateMs: 100, closeMs: 100 } })
    const a = (await listening('a')).start({ b: proxy.url }, { limits: { closeMs: 100 } })
    await eventually(() => a.isLinked && b.isLinked)
    proxy.freeze()
    const other = (await listening('a')).start({ b: b.url })
    await eventually(() => other.isLinked)
    expect(b.changes).toEqual(['+a', '-a', '+a'])
    proxy.thaw()
  })

  test('its place is free when its link ends while it is asked', async () => {
    const b = await listening('b')
    const proxy = await proxyTo(b)
    b.start({ a: '' }, { limits: { duplicateMs: 60_000, closeMs: 100 } })
    const a = (await listening('a')).start({ b: proxy.url }, { limits: { closeMs: 100 } })
    await eventually(() => a.isLinked && b.isLinked)
    proxy.freeze()
    const other = await Stranger.proven(b)
    // The greeting has been answered, so the question is under way when the link is closed from within.
    await eventually(() => b.lines.length > 0)
    other.ws.ping()
    await once(other.ws, 'pong')
    b.network.close('a', new CausewayError('cell/forked'))
    expect(decodeGreeting(await other.next()).type).toBe('proof')
    await eventually(() => b.changes.length === 3)
    expect(b.changes).toEqual(['+a', '-a', '+a'])
  })
})

describe('a bad message ends its link alone', () => {
  const bystanders = async (): Promise<{ b: PeerReplica; c: PeerReplica }> => {
    const [b, c] = [await listening('b'), await listening('c')]
    c.start({ b: b.url })
    b.start({ a: '', c: c.url })
    await eventually(() => b.isLinked && c.isLinked)
    return { b, c }
  }
  const refuseOf = (stranger: Stranger): unknown => {
    const decoder = new PeerDecoder()
    return stranger.frames.map((frame) => decoder.decode(frame)).find(({ type }) => type === 'refuse')
  }

  test.each<[string, (ws: WebSocket) => void, string, boolean]>([
    ['garbage', (ws) => ws.send(Uint8Array.of(99)), 'protocol/bad-message', true],
    [
      'a cut message',
      (ws) => ws.send(new PeerEncoder().encode(probe(300)).subarray(0, 2)),
      'protocol/bad-message',
      true,
    ],
    ['text', (ws) => ws.send('hello'), 'protocol/not-binary', false],
  ])('%s', async (_, say, code, isTold) => {
    const { b, c } = await bystanders()
    const stranger = await Stranger.linked(b)
    say(stranger.ws)
    await eventually(() => stranger.closeCode)
    if (isTold) expect(refuseOf(stranger)).toMatchObject({ code })
    await eventually(() => b.changes.includes('-a'))
    expect(b.lines.at(-1)).toMatchObject({ level: 'warn', event: 'peer/refused', peer: 'a', code, by: 'us' })
    b.network.send('c', probe(1))
    await eventually(() => c.received.length === 1)
    expect(c.changes).toEqual(['+b'])
  })

  test('a message above the limit, refused by its length alone', async () => {
    const { b, c } = await bystanders()
    const stranger = await Stranger.linked(b)
    const length = Buffer.alloc(8)
    length.writeBigUInt64BE(BigInt(PEER_LIMITS.messageBytes + 1))
    const raw = (stranger.ws as unknown as { _socket: NodeJS.WritableStream })._socket
    raw.write(Buffer.concat([Buffer.from([0x82, 0xff]), length, Buffer.from([1, 2, 3, 4])]))
    await eventually(() => stranger.closeCode)
    expect(stranger.closeCode).toBe(1009)
    expect(b.refusals).toEqual(['protocol/too-large'])
    expect(c.isLinked).toBe(true)
  })

  test('what the host throws at it', async () => {
    const { b, c } = await bystanders()
    const stranger = await Stranger.linked(b)
    b.onMessage = () => {
      throw new CausewayError('cell/forked', { origin: 'a' })
    }
    stranger.ws.send(new PeerEncoder().encode(probe(1)))
    await eventually(() => stranger.closeCode)
    expect(stranger.closeCode).toBe(4409)
    expect(refuseOf(stranger)).toEqual({ type: 'refuse', code: 'cell/forked', details: '{"origin":"a"}' })
    expect(c.isLinked).toBe(true)
  })

  test("the peer's last word is logged as its own", async () => {
    const { a, b } = await linkedPair()
    b.onMessage = () => {
      throw new CausewayError('cell/forked')
    }
    a.network.send('b', probe(1))
    await eventually(() => a.changes.includes('-b'))
    expect(a.lines[1]).toMatchObject({ event: 'peer/refused', peer: 'b', code: 'cell/forked', by: 'peer' })
    // And it comes back: whatever was wrong may have been mended.
    await eventually(() => a.changes.length >= 3)
    expect(a.changes.slice(0, 3)).toEqual(['+b', '-b', '+b'])
    expect(a.counts).toMatchObject({ relinked: 1, 'refused-by-peer': 1 })
  })
})

describe('a peer that does not read', () => {
  const chunk: PeerMessage = {
    type: 'state-chunk',
    transfer: 1,
    index: 0,
    isLast: false,
    bytes: new Uint8Array(PEER_LIMITS.chunkBytes),
  }
  const told: PeerMessage = { type: 'tell', topic: 'presence', document: 'notes', payload: new Uint8Array(10) }

  test('is not told what can be missed, and its link ends before memory does', async () => {
    const b = (await listening('b')).start({ a: '' })
    const stranger = await Stranger.linked(b)
    b.network.send('a', told)
    expect(b.counts['tell-dropped']).toBeUndefined()
    stranger.ws.pause()
    let sent = 0
    while (b.network.bufferedBytes('a') <= PEER_NETWORK_LIMITS.tellBacklogBytes) {
      b.network.send('a', chunk)
      sent++
    }
    b.network.send('a', told)
    expect(b.counts).toMatchObject({ 'tell-dropped': 1, 'sent tell': 1 })
    for (; b.isLinked && sent < 100; sent++) b.network.send('a', chunk)
    expect(sent * PEER_LIMITS.chunkBytes).toBeLessThan(2 * PEER_NETWORK_LIMITS.backlogBytes)
    expect(b.isLinked).toBe(false)
    // Not from inside the call.
    expect(b.changes).toEqual(['+a'])
    await eventually(() => b.changes.length === 2)
    expect(b.refusals).toEqual(['protocol/slow-consumer'])
  })
})

describe('a connection that is half open', () => {
  test('is found dead by both sides within the silence they allow, and made anew', async () => {
    let nowMs = 0
    const clock = { now: () => nowMs }
    const b = await listening('b')
    const proxy = await proxyTo(b)
    b.start({ a: '' }, clock)
    const a = (await listening('a')).start({ b: proxy.url }, clock)
    await eventually(() => a.isLinked && b.isLinked)
    const tick = (): void => {
      nowMs += 1_000
      for (const { network } of [a, b]) network.tick(nowMs)
    }
    // Alive, it stays: pings arrive between ticks.
    for (let second = 0; second < 20; second++) {
      const before = nowMs
      tick()
      await new Promise((resolve) => setImmediate(resolve))
      b.network.send('a', probe(before + 1))
      a.network.send('b', probe(before + 1))
      await eventually(() => a.received.length === second + 1 && b.received.length === second + 1)
    }
    proxy.freeze()
    const silence = PEER_NETWORK_LIMITS.silenceMs / 1_000
    tick()
    for (let second = 1; second < silence; second++) tick()
    expect([a.changes, b.changes]).toEqual([['+b'], ['+a']])
    tick()
    expect([a.changes, b.changes]).toEqual([
      ['+b', '-b'],
      ['+a', '-a'],
    ])
    expect(b.lines.at(-1)).toMatchObject({ event: 'peer/lost', peer: 'a', by: 'silence' })
    proxy.thaw()
    await eventually(() => a.isLinked && b.isLinked)
  })

  test('pings and their answers alone keep an idle link; without an answer it ends', async () => {
    let nowMs = 0
    const b = (await listening('b')).start({ a: '' }, { now: () => nowMs })
    const stranger = await Stranger.linked(b)
    for (let second = 0; second < 20; second++) {
      const pinged = once(stranger.ws, 'ping')
      nowMs += 1_000
      b.network.tick(nowMs)
      await pinged
    }
    expect(b.changes).toEqual(['+a'])
    stranger.ws.pause()
    // What was under way may still come in.
    for (let second = 0; second < 6 && b.isLinked; second++) {
      await new Promise((resolve) => setImmediate(resolve))
      nowMs += 1_000
      b.network.tick(nowMs)
    }
    expect(b.changes).toEqual(['+a', '-a'])
  })

  test('a replica that stood still itself does not take its peers for dead', async () => {
    let nowMs = 0
    const clock = { now: () => nowMs }
    const { a, b } = await linkedPair(clock, clock)
    // One tick to have read the greetings, before a ping is due.
    for (const at of [500, 60_500]) {
      nowMs = at
      for (const { network } of [a, b]) network.tick(nowMs)
    }
    expect([a.changes, b.changes]).toEqual([['+b'], ['+a']])
  })
})
describe('a link that is lost', () => {
  test('is made again, and each loss is told once', async () => {
    const b = await listening('b')
    const proxy = await proxyTo(b)
    b.start({ a: '' })
    const a = (await listening('a')).start({ b: proxy.url })
    for (let round = 1; round <= 3; round++) {
      await eventually(() => a.isLinked && b.isLinked)
      a.network.send('b', probe(round))
      await eventually(() => b.received.length === round)
      proxy.cut()
      await eventually(() => a.changes.length >= 2 * round && b.changes.length >= 2 * round)
    }
    await eventually(() => a.isLinked && b.isLinked)
    expect(a.changes).toEqual(['+b', '-b', '+b', '-b', '+b', '-b', '+b'])
    expect(b.changes).toEqual(['+a', '-a', '+a', '-a', '+a', '-a', '+a'])
    expect(a.counts).toMatchObject({ linked: 4, relinked: 3, lost: 3 })
  })

  test('waits longer each time, until it has lived for a while', async () => {
    let nowMs = 0
    const b = await listening('b')
    const proxy = await proxyTo(b)
    b.start({ a: '' })
    const timers = vi.spyOn(globalThis, 'setTimeout')
    cleanups.push(() => timers.mockRestore())
    const a = (await listening('a')).start({ b: proxy.url }, { now: () => nowMs, random: () => 0 })
    const { retryLeastMs, retryResetMs } = PEER_NETWORK_LIMITS
    const expected = [retryLeastMs, 2 * retryLeastMs, 4 * retryLeastMs, retryLeastMs]
    for (let loss = 1; loss <= expected.length; loss++) {
      await eventually(() => a.isLinked && b.isLinked)
      nowMs += loss === 4 ? retryResetMs : retryResetMs - 1
      proxy.cut()
      await eventually(() => a.changes.length >= 2 * loss && b.changes.length >= 2 * loss)
    }
    const waits = timers.mock.calls.map(([, wait]) => wait).filter((wait) => expected.includes(wait!))
    expect(waits).toEqual(expected)
  })

  test('a peer that starts later is reached when it is there', async () => {
    const b = await listening('b')
    const { port } = b
    const a = await listening('a')
    b.server.close()
    await once(b.server, 'close')
    a.start({ b: `ws://127.0.0.1:${port}` })
    await eventually(() => (a.counts['dial-failed'] ?? 0) >= 2)
    expect(a.lines).toMatchObject([{ event: 'peer/refused', peer: 'b', code: 'cell/unreachable' }])
    b.start({ a: '' })
    b.server.listen(port, '127.0.0.1')
    await eventually(() => a.isLinked && b.isLinked)
  })

  test('an address that accepts and never answers is given up in time', async () => {
    let nowMs = 0
    const silent = createServer()
    silent.on('upgrade', (_, socket) => cleanups.push(() => socket.destroy()))
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    cleanups.push(() => silent.close())
    const { port } = silent.address() as AddressInfo
    const a = (await listening('a')).start({ b: `ws://127.0.0.1:${port}` }, { now: () => nowMs })
    await once(silent, 'upgrade')
    a.network.tick(PEER_NETWORK_LIMITS.connectMs - 1)
    expect(a.counts).toEqual({})
    nowMs = PEER_NETWORK_LIMITS.connectMs
    a.network.tick(nowMs)
    await eventually(() => a.counts['dial-failed'] === 1)
  })

  test('waits grow from the least to the most, spread over their upper half', () => {
    fc.assert(
      fc.property(fc.nat({ max: 2_000 }), fc.double({ min: 0, max: 0.999, noNaN: true }), (attempts, random) => {
        const { retryLeastMs, retryMostMs } = PEER_NETWORK_LIMITS
        const delay = retryDelayMs(attempts, random, PEER_NETWORK_LIMITS)
        const longest = Math.min(retryLeastMs * 2 ** Math.min(attempts, 20), retryMostMs)
        expect(delay).toBeLessThanOrEqual(longest)
        expect(delay).toBeGreaterThan(longest / 2)
      }),
    )
  })
})

test('other peers: who is none any more is unlinked, who is new is dialled', async () => {
  const [a, b, c] = [await listening('a'), await listening('b'), await listening('c')]
  b.start({ a: '' })
  c.start({ a: '' })
  a.start({ b: b.url })
  await eventually(() => a.isLinked)
  a.network.setPeers(new Map([['c', c.url]]))
  expect(a.network.linked).toEqual([])
  expect(a.changes).toEqual(['+b'])
  await eventually(() => a.changes.includes('+c'))
  expect(a.changes).toEqual(['+b', '-b', '+c'])
  await eventually(() => b.changes.includes('-a'))
})

test('draining closes every link, takes no other, and ends', async () => {
  const { a, b } = await linkedPair()
  await b.network.drain()
  expect(b.changes).toEqual(['+a', '-a'])
  await eventually(() => a.changes.includes('-b'))
  expect(a.lines[1]).toMatchObject({ event: 'peer/lost', by: 'close 1012' })
  await expect(Stranger.at(b)).rejects.toThrow('503')
  expect(b.changes).toEqual(['+a', '-a'])
})

test('a message that cannot be encoded ends its link, not its sender', async () => {
  const { a } = await linkedPair()
  const tooWide = new Map(Array.from({ length: 1_000 }, (_, index) => [`a.${String(index).padStart(16, '0')}`, 1]))
  a.network.send('b', { type: 'state-begin', transfer: 1, cut: tooWide as never })
  expect(a.network.linked).toEqual([])
  await eventually(() => a.changes.includes('-b'))
  expect(a.refusals).toEqual(['cell/too-many-lineages'])
})

test.each([
  ['ws://127.0.0.1:4400', 'ws://127.0.0.1:4400/peer'],
  ['ws://127.0.0.1:4400/', 'ws://127.0.0.1:4400/peer'],
  ['wss://b.example/peer', 'wss://b.example/peer'],
  ['wss://example/cell/b', 'wss://example/cell/b/peer'],
  ['http://127.0.0.1:4400', undefined],
  ['b', undefined],
  ['', undefined],
])('a peer at %s is dialled at %s', (url, expected) => expect(peerAddress(url)?.href).toBe(expected))
