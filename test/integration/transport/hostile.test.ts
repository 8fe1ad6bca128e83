/**
 * Everything that a stranger may send. After each: the process lives (anything uncaught fails the run), a bystander on
 * the same document neither loses its connection nor waits, and the document is what it was.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import * as Y from 'yjs'
import { encodeAwareness } from '../../../shared/protocol/awareness.js'
import { encodeHocuspocusMessage } from '../../../shared/protocol/hocuspocus.js'
import { encodeYMessage } from '../../../shared/protocol/sync.js'
import {
  eventually,
  openHocuspocus,
  openTcp,
  openY,
  type Server,
  type ServerOptions,
  startServer,
  stopEverything,
  type YClient,
} from './harness.js'

let server: Server
let bystander: YClient
let edits = 0

async function start(options: ServerOptions = {}): Promise<void> {
  server = await startServer(options)
  bystander = await openY(server, 'doc')
  await bystander.next(({ type }) => type === 'step1')
}

beforeEach(() => start())

afterEach(async () => {
  const doc = new Y.Doc()
  const text = `edit ${++edits}`
  doc.getMap('m').set('k', text)
  const update = Y.encodeStateAsUpdate(doc)
  bystander.say({ type: 'update', update })
  await bystander.next((message) => message.type === 'update' && Buffer.compare(message.update, update) === 0)
  expect(bystander.closedWith).toBeUndefined()
  expect([...server.documents.durable('doc').share.keys()], 'nobody else has written').toEqual(['m'])
  await stopEverything()
})

const masked = (first: number, length: number[], rest: number[] = []): Buffer =>
  Buffer.from([first, ...length, 0, 0, 0, 0, ...rest])

/** Frames that RFC 6455 forbids, and the code that it asks for. */
const ILLEGAL: readonly [string, Buffer, number][] = [
  ['rsv1 without an extension', masked(0xc2, [0x81], [0]), 1002],
  ['rsv2', masked(0xa2, [0x81], [0]), 1002],
  ['opcode 3', masked(0x83, [0x81], [0]), 1002],
  ['opcode 15', masked(0x8f, [0x81], [0]), 1002],
  ['a length of 200 MB', masked(0x82, [0xff, 0, 0, 0, 0, 0x0b, 0xeb, 0xc2, 0]), 1009],
  ['a length of 2^53', masked(0x82, [0xff, 0, 0x20, 0, 0, 0, 0, 0, 0]), 1009],
  ['a ping of 126 bytes', masked(0x89, [0xfe, 0, 126], Array(126).fill(0)), 1002],
  ['a fragmented ping', masked(0x09, [0x80]), 1002],
  ['a close of one byte', masked(0x88, [0x81], [3]), 1002],
  ['a close with code 1005', masked(0x88, [0x82], [3, 0xed]), 1002],
  ['a close with a reason that is no UTF-8', masked(0x88, [0x84], [3, 0xe8, 0xc3, 0x28]), 1007],
  ['a continuation of nothing', masked(0x80, [0x81], [0]), 1002],
  ['a new message inside a fragmented one', Buffer.concat([masked(0x02, [0x80]), masked(0x82, [0x80])]), 1002],
  ['a frame without a mask', Buffer.from([0x82, 1, 0]), 1002],
  ['a text message', masked(0x81, [0x82], [0x7b, 0x7d]), 1003],
  ['a text message that is no UTF-8', masked(0x81, [0x82], [0xc3, 0x28]), 1007],
]

describe.each(['/y/doc', '/hocuspocus'])('on %s', (path) => {
  test.each(ILLEGAL)('%s ends its connection alone', async (_, frame, code) => {
    const socket = await openTcp(server, path)
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.write(frame)
    await once(socket, 'end')
    const received = Buffer.concat(chunks)
    const codes = [...received.keys()]
      .filter((at) => received[at] === 0x88 && at + 4 <= received.length)
      .map((at) => received.readUInt16BE(at + 2))
    expect(codes).toContain(code)
  })

  test('random bytes after the handshake', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), async (bytes) => {
        const socket = await openTcp(server, path)
        socket.end(bytes)
        socket.resume()
        await once(socket, 'close')
      }),
      { numRuns: 60 },
    )
  })

  test('a fragmented message of thousands of parts', async () => {
    const socket = await openTcp(server, path)
    socket.resume()
    socket.write(masked(0x02, [0x81], [0]))
    const part = masked(0x00, [0x81], [0])
    socket.write(Buffer.concat(Array(20_000).fill(part)))
    await once(socket, 'close')
  })

  test('a flood of pings', async () => {
    const socket = await openTcp(server, path)
    socket.resume()
    socket.write(Buffer.concat(Array(50_000).fill(masked(0x89, [0x80]))))
    await once(socket, 'close')
  })

  test('a peer that resets, at every moment', async () => {
    const request = `GET ${path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`
    for (const delay of [0, 0, 1, 1, 2, 3]) {
      const socket = connect(server.port, '127.0.0.1')
      socket.on('error', () => {})
      socket.write(request)
      await new Promise((resolve) => setTimeout(resolve, delay))
      socket.resetAndDestroy()
      await once(socket, 'close')
    }
    await eventually(() => expect(server.transport.stats().connections).toBe(1))
  })
})

/** Upgrade requests, byte for byte. */
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
const KEY = 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
test.each([
  ['a URL that is none', `GET http://[ HTTP/1.1\r\nHost: h\r\n${UPGRADE}${KEY}\r\n`, 404],
  ['an absolute URL', `GET http://h/y/doc HTTP/1.1\r\nHost: h\r\n${UPGRADE}${KEY}\r\n`, 404],
  ['a Host that is none', `GET /y/doc HTTP/1.1\r\nHost: [\r\n${UPGRADE}${KEY}\r\n`, 101],
  ['another path', `GET /elsewhere HTTP/1.1\r\nHost: h\r\n${UPGRADE}${KEY}\r\n`, 404],
  ['no key', `GET /y/doc HTTP/1.1\r\nHost: h\r\n${UPGRADE}\r\n`, 400],
  ['a key that is none', `GET /y/doc HTTP/1.1\r\nHost: h\r\n${UPGRADE}Sec-WebSocket-Key: x\r\n\r\n`, 400],
  ['another version', `GET /y/doc HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${KEY}\r\n`, 400],
  ['another method', `POST /y/doc HTTP/1.1\r\nHost: h\r\n${UPGRADE}${KEY}\r\n`, 405],
  ['another protocol', `GET /y/doc HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n${KEY}\r\n`, 400],
  [
    'subprotocols that are none',
    `GET /y/doc HTTP/1.1\r\nHost: h\r\n${UPGRADE}${KEY}Sec-WebSocket-Protocol: a,,b;c\r\n\r\n`,
    400,
  ],
  [
    'subprotocols by the thousand',
    `GET /y/doc HTTP/1.1\r\nHost: h\r\n${UPGRADE}${KEY}Sec-WebSocket-Protocol: ${[...Array(1500).keys()].map((n) => `p${n}`).join(',')}\r\n\r\n`,
    101,
  ],
  [
    'an extension that is none',
    `GET /y/doc HTTP/1.1\r\nHost: h\r\n${UPGRADE}${KEY}Sec-WebSocket-Extensions: a;;;=\r\n\r\n`,
    101,
  ],
  ['a room of 12 KB', `GET /y/${'x'.repeat(12_000)} HTTP/1.1\r\nHost: h\r\n${UPGRADE}${KEY}\r\n`, 101],
  ['a room of odd escapes', `GET /y/%ff%00..%2f HTTP/1.1\r\nHost: h\r\n${UPGRADE}${KEY}\r\n`, 101],
])('an upgrade with %s is answered with its status', async (_, request, status) => {
  const socket = connect(server.port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write(request)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  expect(Number(answer.toString('latin1', 9, 12))).toBe(status)
})

const state = (clientId: number, clock: number, json: string) => ({
  type: 'awareness' as const,
  update: encodeAwareness([{ clientId, clock, json }]),
})
const deep = `{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}`
const raw = (...bytes: number[]): Buffer => Buffer.from(bytes)

/** Messages of `/y`, and whether five of them end it; the same bodies go behind an address on `/hocuspocus`. */
const MESSAGES: readonly [string, Uint8Array, boolean][] = [
  ['an empty frame', raw(), true],
  ['half a number', raw(0x80), true],
  ['an update that claims 2^32 bytes', raw(0, 2, 0x80, 0x80, 0x80, 0x80, 0x10), true],
  ['an update that is empty', raw(0, 2, 0), true],
  ['a step2 that is empty', raw(0, 1, 0), true],
  ['an update of noise', raw(0, 2, 5, 9, 9, 9, 9, 9), true],
  ['an update that claims 32 million structs', raw(0, 2, 7, 1, 0x80, 0x80, 0x80, 0x10, 0, 0), true],
  ['an unknown sync type', raw(0, 9, 1, 0), true],
  ['a step1 with an empty state vector', raw(0, 0, 0), true],
  ['a step1 with a truncated state vector', raw(0, 0, 2, 5, 1), true],
  ['a step1 from the future', raw(0, 0, 4, 1, 1, 0x80, 0x40), false],
  ['awareness 60 KB deep', encodeYMessage(state(1, 1, deep)), false],
  ['awareness of 60 KB', encodeYMessage(state(1, 1, `{"a":"${'x'.repeat(60_000)}"}`)), false],
  ['awareness that is no JSON', encodeYMessage(state(1, 1, '{')), true],
  ['awareness that is no object', encodeYMessage(state(1, 1, '7')), true],
  ['awareness that is no UTF-8', raw(1, 8, 1, 1, 1, 4, 0x22, 0xc3, 0x28, 0x22), true],
  [
    'awareness of a clock of 2^53',
    raw(1, 12, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 2, 0x7b, 0x7d),
    true,
  ],
  [
    'awareness of 6,000 people',
    encodeYMessage({
      type: 'awareness',
      update: encodeAwareness(Array.from({ length: 6000 }, (_, n) => ({ clientId: n, clock: 1, json: '{}' }))),
    }),
    false,
  ],
  ['awareness that claims a billion people', raw(1, 6, 0x80, 0x94, 0xeb, 0xdc, 0x03, 0), true],
  ['a denial', encodeYMessage({ type: 'denied', reason: 'no' }), false],
  ['an unknown type', raw(101, 1, 2, 3), false],
]

test.each(MESSAGES)('%s, again and again, is at most the end of its connection', async (_, message, ends) => {
  const client = await openY(server, 'doc')
  client.say({ type: 'step1', stateVector: Uint8Array.of(0) })
  const provider = await openHocuspocus(server)
  provider.say({ type: 'token', token: 't' })
  const address = Buffer.from('\x03doc')
  for (let n = 0; n < 5; n++) {
    client.ws.send(message)
    provider.ws.send(Buffer.concat([address, message]))
  }
  await client.settled()
  await provider.settled()
  if (ends) expect((await client.closed()).code).toBe(4400)
  else expect(client.closedWith).toBeUndefined()
  if (provider.ws.readyState !== WebSocket.OPEN) expect((await provider.closed()).code).toBe(4400)
})

test('nobody can take or end the presence of a bystander', async () => {
  bystander.say(state(77, 5, '{"me":1}'))
  await bystander.next(({ type }) => type === 'awareness')
  const client = await openY(server, 'doc')
  client.say(state(77, 9, 'null'), state(77, 2 ** 40, '{"me":"forged"}'), state(77, 5, 'null'))
  await client.settled()
  await server.pass(1)
  client.say({ type: 'query-awareness' })
  await client.settled()
  await eventually(() =>
    expect(client.received.filter(({ type }) => type === 'awareness').at(-1)).toEqual(state(77, 5, '{"me":1}')),
  )
  expect(bystander.received).toEqual([])
})

test('a message may be as large as the limit and no larger', async () => {
  await stopEverything()
  await start({ limits: { messageBytes: 100_000 } })
  const client = await openY(server, 'other')
  client.ws.send(encodeYMessage({ type: 'update', update: new Uint8Array(99_000) }))
  await client.settled()
  expect(client.closedWith).toBeUndefined()
  client.ws.send(new Uint8Array(100_001))
  expect((await client.closed()).code).toBe(1009)
})

test('connections are bounded, in total and for one address', async () => {
  await stopEverything()
  await start({ limits: { connectionsPerAddress: 3 } })
  const [one] = [await openY(server, 'doc'), await openY(server, 'doc')]
  await expect(openY(server, 'doc')).rejects.toThrow('429')
  one?.ws.terminate()
  await eventually(() => expect(server.transport.stats().connections).toBe(2))
  await openY(server, 'doc')
  await expect(openHocuspocus(server)).rejects.toThrow('429')
})

test('documents of one socket are bounded', async () => {
  await stopEverything()
  await start({ limits: { documentsPerConnection: 2 } })
  const client = await openHocuspocus(server)
  for (const address of ['a', 'b']) {
    client.say({ type: 'token', token: 't', address } as never)
    await client.next(({ type }) => type === 'authenticated')
  }
  client.ws.send(encodeHocuspocusMessage('c', { type: 'token', token: 't' }))
  expect((await client.closed()).code).toBe(1013)
})

test('a flood of step1s costs one answer at a time', async () => {
  await stopEverything()
  await start()
  const text = 'x'.repeat(1_000_000)
  server.documents.edit('large', (doc) => doc.getText('t').insert(0, text))
  await eventually(() => expect(server.documents.durable('large').getText('t').length).toBe(text.length))
  const socket = await openTcp(server, '/y/large')
  socket.pause()
  const step1 = masked(0x82, [0x84], [0, 0, 1, 0])
  socket.write(Buffer.concat(Array(2000).fill(step1)))
  // A reader that does not read is answered once, and the rest waits until it does.
  await bystander.settled()
  let bytes = 0
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  socket.resume()
  await eventually(() => expect(bytes).toBeGreaterThan(1_000_000))
  await bystander.settled()
  expect(bytes).toBeLessThan(20_000_000)
})
