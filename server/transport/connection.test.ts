import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { expect, test } from 'vitest'
import type { WebSocket } from 'ws'
import type { ErrorCodeName } from '../../shared/errors/codes.js'
import { CausewayError } from '../../shared/errors/error.js'
import { Connection, type ConnectionHost, type ProtocolHandler } from './connection.js'
import { TRANSPORT_LIMITS, type TransportLimits } from './limits.js'
import { NO_LOG } from './observer.js'
import { Turn } from './turn.js'
import { PING_FRAME } from './websocket-frame.js'

/** A socket that keeps what is written, and takes it when told to. */
class FakeSocket extends EventEmitter {
  readonly writes: Uint8Array[] = []
  bytesWritten = 0
  writableLength = 0
  writeCalls = 0
  private corked = 0

  write(bytes: Uint8Array): boolean {
    this.writes.push(bytes)
    this.bytesWritten += bytes.length
    this.writableLength += bytes.length
    if (this.corked === 0) this.writeCalls++
    return false
  }

  cork(): void {
    this.corked++
  }

  uncork(): void {
    if (--this.corked === 0) this.writeCalls++
  }

  /** The peer reads. */
  take(bytes = this.writableLength): void {
    this.writableLength -= bytes
    if (this.writableLength === 0) this.emit('drain')
  }
}

class FakeWebSocket extends EventEmitter {
  readyState = 1
  isPaused = false
  closedWith: number | undefined
  isTerminated = false

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
  }

  close(code: number): void {
    this.closedWith = code
  }

  terminate(): void {
    this.isTerminated = true
  }
}

class World implements ConnectionHost {
  readonly limits: TransportLimits
  readonly clock = { nowMs: 0 }
  readonly log = NO_LOG
  readonly counts: string[] = []
  readonly metrics = { count: (event: string) => void this.counts.push(event) }
  readonly received: string[] = []
  readonly socket = new FakeSocket()
  readonly ws = new FakeWebSocket()
  readonly connection: Connection
  endings = 0
  private turns: (() => void)[] = []
  readonly turn = new Turn((run) => void this.turns.push(run))

  constructor(limits: Partial<TransportLimits> = {}) {
    this.limits = { ...TRANSPORT_LIMITS, ...limits }
    this.connection = new Connection(this, this.socket as unknown as Socket, this.ws as unknown as WebSocket, '::1')
    const handler: ProtocolHandler = {
      receive: (frame) => {
        if (frame.toString() === 'bad') throw new CausewayError('protocol/bad-message')
        if (frame.toString() === 'boom') throw new TypeError('a bug')
        this.received.push(frame.toString())
      },
      tick: () => {},
      keepAliveFrame: () => Buffer.from('alive'),
      revoke: () => {},
      ended: () => void this.endings++,
    }
    this.connection.handler = handler
  }

  connectionClosed(): void {}

  endTurn(): void {
    for (const run of this.turns.splice(0)) run()
  }

  message(text: string): void {
    this.ws.emit('message', Buffer.from(text), true)
  }

  pass(ms: number): void {
    this.clock.nowMs += ms
    this.connection.tick()
    this.endTurn()
  }

  get written(): string {
    return Buffer.concat(this.socket.writes).toString()
  }
}

const bytes = (length: number): Buffer => Buffer.alloc(length, 'x')

test('frames of a turn leave in one write, in order', () => {
  const world = new World()
  for (const text of ['a', 'b', 'c']) world.connection.send(Buffer.from(text))
  expect(world.socket.writeCalls).toBe(0)
  world.endTurn()
  expect([world.written, world.socket.writeCalls]).toEqual(['abc', 1])
  world.connection.send(bytes(40_000))
  world.connection.send(Buffer.from('d'))
  world.endTurn()
  expect(world.socket.writeCalls).toBe(2)
})

test('a shared buffer is written as it is, not copied', () => {
  const world = new World()
  const shared = bytes(100)
  world.connection.send(shared)
  world.endTurn()
  expect(world.socket.writes[0]).toBe(shared)
})

test('what is sent while an answer is computed stands behind it; answers keep their order', () => {
  const world = new World()
  const [first, second] = [world.connection.hold(), world.connection.hold()]
  world.connection.send(Buffer.from('after both'))
  world.connection.fill(second, [Buffer.from('second ')])
  world.endTurn()
  expect(world.written).toBe('')
  world.connection.fill(first, [Buffer.from('first '), Buffer.from('and ')])
  world.connection.send(Buffer.from('.'))
  world.endTurn()
  expect(world.written).toBe('first and second after both.')
})

test('signs of life do not wait behind an answer', () => {
  const world = new World()
  world.connection.hold()
  world.pass(TRANSPORT_LIMITS.keepAliveMs)
  expect(world.written).toBe('alive')
  world.pass(TRANSPORT_LIMITS.keepAliveMs)
  expect(world.socket.writes.some((write) => Buffer.from(write).includes(PING_FRAME))).toBe(true)
})

test('a data frame goes to an idle client within 20 s, and none where there was one', () => {
  const world = new World()
  let lastMs = 0
  for (let second = 0; second < 120; second++) {
    const before = world.written.length
    world.ws.emit('pong')
    world.pass(1000)
    if (world.written.length === before) continue
    const nowMs = world.clock.nowMs
    if (world.written.endsWith('alive')) {
      expect(nowMs - lastMs).toBeLessThanOrEqual(20_000)
      lastMs = nowMs
    }
  }
  expect(world.written.match(/alive/g)?.length).toBeLessThanOrEqual(8)
})

test.each<[string, (world: World) => void, boolean]>([
  ['silent', () => {}, true],
  ['answering pings', (world) => world.ws.emit('pong'), false],
  ['talking', (world) => world.message('hello'), false],
  ['pinging', (world) => world.ws.emit('ping'), false],
  ['taking a large answer slowly', (world) => world.socket.take(1), false],
  ['read slowly', (world) => world.message('m'.repeat(1000)), false],
  ['waiting for what does not come', (world) => world.connection.queueIsLong(), true],
])('a peer that is %s: dropped after two intervals: %#', (_, act, isDropped) => {
  const world = new World({ bytes: { perSecond: 1, burst: 1000 } })
  world.connection.answer([bytes(100_000)])
  world.endTurn()
  for (let second = 0; second < 60; second++) {
    act(world)
    world.pass(1000)
  }
  expect(world.ws.isTerminated).toBe(isDropped)
})

test('a reader that does not keep up is closed with 1013, and nothing more is kept for it', () => {
  const world = new World({ backlogBytes: 1000 })
  world.connection.send(bytes(900))
  world.endTurn()
  expect(world.ws.closedWith).toBeUndefined()
  world.connection.send(bytes(200))
  world.endTurn()
  expect(world.ws.closedWith, 'what a turn adds, nobody has had a chance to read').toBeUndefined()
  world.connection.send(bytes(200))
  world.endTurn()
  expect(world.ws.closedWith).toBe(1013)
  expect(world.counts).toContain('slow-consumer')
  world.connection.send(bytes(200))
  world.endTurn()
  expect(world.socket.bytesWritten).toBe(1100)
  expect(world.endings).toBe(1)
})

test('a large answer is not held against its reader, what comes behind it is', () => {
  const world = new World({ backlogBytes: 1000, answerBacklogBytes: 100 })
  world.connection.answer([bytes(50_000)])
  world.connection.send(bytes(900))
  world.endTurn()
  expect(world.ws.closedWith).toBeUndefined()
  world.socket.take()
  world.connection.answer([bytes(10)])
  world.connection.send(bytes(1200))
  world.endTurn()
  world.connection.send(bytes(1))
  world.endTurn()
  expect(world.ws.closedWith, 'the allowance ends with the answer').toBe(1013)
})

test('what waits behind an answer is bounded', () => {
  const world = new World({ backlogBytes: 1000 })
  world.connection.hold()
  world.connection.send(bytes(600))
  world.connection.send(bytes(600))
  expect(world.ws.closedWith).toBe(1013)
})

test('the next answer is computed when little waits before it', () => {
  const world = new World({ answerBacklogBytes: 100 })
  const asker = {
    answers: 0,
    answer() {
      this.answers++
      world.connection.answer([bytes(1000)])
    },
  }
  const other = { ...asker }
  world.connection.ask(asker)
  world.connection.ask(other)
  world.connection.ask(other)
  world.endTurn()
  expect([asker.answers, other.answers]).toEqual([1, 0])
  world.socket.take()
  expect([asker.answers, other.answers]).toEqual([1, 1])
  world.connection.ask(asker)
  world.connection.forget(asker)
  world.endTurn()
  world.socket.take()
  expect(asker.answers).toBe(1)
})

test('answers have a rate, and who waits for it is served by a tick', () => {
  const world = new World({ answerBytes: { perSecond: 100, burst: 1000 } })
  const asker = {
    answers: 0,
    answer() {
      this.answers++
      world.connection.answer([bytes(1200)])
    },
  }
  for (let n = 0; n < 3; n++) world.connection.ask(asker)
  world.endTurn()
  world.socket.take()
  expect(asker.answers).toBe(1)
  world.pass(1000)
  expect(asker.answers).toBe(1)
  world.pass(2000)
  expect(asker.answers).toBe(2)
})

test('a sender beyond its rate is read more slowly, not closed', () => {
  const world = new World({ messages: { perSecond: 10, burst: 20 } })
  for (let n = 0; n < 21; n++) world.message('m')
  expect(world.ws.isPaused).toBe(true)
  expect(world.received).toHaveLength(21)
  world.pass(1000)
  expect(world.ws.isPaused).toBe(false)
  expect(world.ws.closedWith).toBeUndefined()
  expect(world.counts.filter((count) => count === 'throttled')).toHaveLength(1)
})

test('one sender does not fill a turn', () => {
  const world = new World({ messagesPerTurn: 5 })
  for (let n = 0; n < 5; n++) world.message('m')
  expect(world.ws.isPaused).toBe(true)
  world.endTurn()
  expect(world.ws.isPaused).toBe(false)
})

test('a sender of updates without an outcome is not read until half of them have one', () => {
  const world = new World({ requestsInFlight: 10 })
  for (let n = 0; n < 11; n++) world.connection.requestBegins()
  expect(world.ws.isPaused).toBe(true)
  world.connection.queueIsLong()
  world.connection.requestsEnd(5)
  world.connection.queueIsShort()
  expect(world.ws.isPaused).toBe(true)
  world.connection.requestsEnd(2)
  expect(world.ws.isPaused).toBe(false)
})

test.each<[string[], number | undefined]>([
  [['bad', 'bad', 'good'], undefined],
  [['bad', 'bad', 'bad'], 4400],
  [['boom'], 1011],
])('messages %j close with %s', (messages, code) => {
  const world = new World()
  for (const message of messages) world.message(message)
  expect(world.ws.closedWith).toBe(code)
})

test('more pings than honest peers send close the connection', () => {
  const world = new World({ pings: 3 })
  for (let round = 0; round < 5; round++) {
    for (let n = 0; n < 3; n++) world.ws.emit('ping')
    world.pass(1000)
  }
  expect(world.ws.closedWith).toBeUndefined()
  for (let n = 0; n < 4; n++) world.ws.emit('ping')
  expect(world.ws.closedWith).toBe(1013)
})

test.each<ErrorCodeName>(['access/forbidden', 'cell/draining'])('what was sent goes out before a close: %s', (code) => {
  const world = new World()
  world.connection.send(Buffer.from('last words'))
  world.connection.close(new CausewayError(code))
  expect(world.written).toBe('last words')
  expect(world.ws.closedWith).toBe(new CausewayError(code).info.close)
  world.ws.emit('close')
  expect(world.endings).toBe(1)
  world.message('too late')
  expect(world.received).toEqual([])
})
