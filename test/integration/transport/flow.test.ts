/** What waits for whom: slow readers, slow answers, silent peers, the end of a replica. */
import { once } from 'node:events'
import { afterEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { encodeAwareness } from '../../../shared/protocol/awareness.js'
import type { YMessage } from '../../../shared/protocol/sync.js'
import { MemoryDocuments } from '../../models/memory-documents.js'
import {
  type Addressed,
  atEnd,
  eventually,
  openHocuspocus,
  openTcp,
  openY,
  startServer,
  stopEverything,
} from './harness.js'

afterEach(stopEverything)

const MIB = 1024 * 1024
const EMPTY = Uint8Array.of(0)
const NOTHING = Uint8Array.of(0, 0)
const type = (wanted: YMessage['type']) => (message: YMessage) => message.type === wanted

const write = (documents: MemoryDocuments, name: string, text: string): void =>
  documents.edit(name, (doc) => doc.getText('t').insert(0, text))

test('a reader that stops reading is closed with 1013, others are not, and it resumes by diff', async () => {
  const documents = new MemoryDocuments()
  const server = await startServer({ documents, limits: { backlogBytes: MIB } })
  const slow = new WebsocketProvider(`${server.url}/y`, 'doc', new Y.Doc(), {
    WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
    disableBc: true,
    maxBackoffTime: 20,
  })
  atEnd(() => slow.destroy())
  const reader = await openY(server, 'doc')
  await eventually(() => expect(slow.synced).toBe(true))
  const socket = slow.ws as unknown as WebSocket
  socket.pause()
  const closed = once(socket, 'close')
  let written = 0
  // More than any kernel keeps for a socket, and then the limit.
  while (server.counts['slow-consumer'] === undefined) {
    write(documents, 'doc', 'x'.repeat(MIB))
    written += MIB
    await reader.next(type('update'))
  }
  await eventually(() => expect(server.transport.stats().connections).toBe(1))
  expect(reader.closedWith).toBeUndefined()
  socket.resume()
  await closed
  await eventually(() => expect(slow.synced).toBe(true))
  expect(slow.doc.getText('t').length).toBe(written)
})

test('a first sync far beyond the backlog passes, to a slow reader and with edits behind it', async () => {
  const documents = new MemoryDocuments()
  const server = await startServer({ documents, limits: { backlogBytes: MIB } })
  write(documents, 'doc', 'x'.repeat(24 * MIB))
  await eventually(() => expect(documents.durable('doc').getText('t').length).toBe(24 * MIB))
  const client = await openY(server, 'doc')
  await client.next(type('step1'))
  client.say({ type: 'step1', stateVector: EMPTY })
  await client.settled()
  client.ws.pause()
  for (let n = 0; n < 10; n++) write(documents, 'doc', 'y')
  await server.pass(5)
  client.ws.resume()
  const { update } = (await client.next(type('step2'))) as { update: Uint8Array }
  expect(update.length).toBeGreaterThan(24 * MIB)
  expect(server.counts['slow-consumer']).toBeUndefined()
})

test('what is delivered while an answer is computed comes behind it, on every document of the socket', async () => {
  const documents = new MemoryDocuments({ diffs: 'by hand' })
  const server = await startServer({ documents })
  const client = await openHocuspocus(server)
  const at = (address: string, message: Addressed): Addressed => ({ ...message, address })
  for (const name of ['a', 'b']) client.say(at(name, { type: 'token', token: 't' }))
  client.say(at('a', { type: 'step1', stateVector: EMPTY }))
  await client.next(({ type, address }) => type === 'step1' && address === 'a')
  write(documents, 'a', 'in a')
  write(documents, 'b', 'in b')
  client.say(at('b', { type: 'update', update: NOTHING }))
  await eventually(() => expect(documents.durable('b').getText('t').toString()).toBe('in b'))
  await client.settled()
  expect(client.received).toEqual([])
  documents.computeDiffs()
  await eventually(() =>
    expect(client.received.map(({ address, type }) => `${address} ${type}`)).toEqual([
      'a step2',
      'a update',
      'b update',
      'b sync-status',
    ]),
  )
})

test('an answer that cannot be computed closes its connection alone', async () => {
  const documents = new MemoryDocuments({ diffs: 'by hand' })
  const server = await startServer({ documents })
  const [client, other] = [await openY(server, 'doc'), await openY(server, 'doc')]
  await Promise.all([client.next(type('step1')), other.next(type('step1'))])
  client.say({ type: 'step1', stateVector: EMPTY })
  await client.settled()
  documents.failDiffs('document/unavailable')
  expect((await client.closed()).code).toBe(4503)
  await other.settled()
  expect(other.closedWith).toBeUndefined()
})

test('a client that goes while its document loads, or its answer is computed, leaves nothing behind', async () => {
  const documents = new MemoryDocuments({ loading: 'by hand', diffs: 'by hand' })
  const server = await startServer({ documents })
  const [loading, asking] = [await openY(server, 'loading'), await openY(server, 'asking')]
  loading.ws.terminate()
  await eventually(() => expect(server.transport.stats().connections).toBe(1))
  documents.load()
  await asking.next(type('step1'))
  asking.say({ type: 'step1', stateVector: EMPTY })
  await asking.settled()
  asking.ws.terminate()
  await eventually(() => expect(server.transport.stats()).toEqual({ connections: 0, documents: 0 }))
  documents.computeDiffs()
  expect([documents.subscriberCount('loading'), documents.subscriberCount('asking')]).toEqual([0, 0])
})

test('a sender beyond its rate loses nothing', async () => {
  const documents = new MemoryDocuments({ trusting: true })
  const server = await startServer({ documents, limits: { messages: { perSecond: 50, burst: 100 } } })
  const client = await openHocuspocus(server)
  client.say({ type: 'token', token: 't' })
  await client.next(({ type }) => type === 'authenticated')
  for (let n = 0; n < 5000; n++) client.say({ type: 'update', update: NOTHING })
  await eventually(() => expect(server.counts.throttled).toBeGreaterThan(0))
  await eventually(async () => {
    await server.pass(1)
    expect(client.received.filter(({ type }) => type === 'sync-status')).toHaveLength(5000)
  })
  expect(client.closedWith).toBeUndefined()
})

test('a peer that answers no ping is dropped after two intervals, and its presence with it', async () => {
  const server = await startServer({ limits: { pingIntervalMs: 30_000 } })
  const alive = await openY(server, 'doc')
  const dead = await openTcp(server, '/y/doc')
  dead.resume()
  const update = Buffer.from(encodeAwareness([{ clientId: 5, clock: 1, json: '{}' }]))
  dead.write(Buffer.concat([Buffer.from([0x82, 0x80 | (update.length + 2), 0, 0, 0, 0, 1, update.length]), update]))
  await alive.next(type('awareness'))
  for (let second = 0; second < 61; second++) {
    await server.pass(1)
    await alive.settled()
  }
  await eventually(() => expect(server.transport.stats().connections).toBe(1))
  expect(server.counts['dead-peer']).toBe(1)
  expect(alive.pings).toBe(2)
  expect(alive.received.at(-1)?.type).toBe('awareness')
})

test('a replica that drains closes everybody with 1012 and takes nobody', async () => {
  const server = await startServer()
  const clients = [await openY(server, 'doc'), await openY(server, 'other'), await openHocuspocus(server)]
  const drained = server.transport.drain()
  expect(await Promise.all(clients.map(async (client) => (await client.closed()).code))).toEqual([1012, 1012, 1012])
  await drained
  await server.transport.drain()
  await expect(openY(server, 'doc')).rejects.toThrow('503')
  expect(server.transport.stats()).toEqual({ connections: 0, documents: 0 })
})

test('every frame of a fan-out is the same bytes for all', async () => {
  const server = await startServer()
  const clients = await Promise.all(Array.from({ length: 50 }, () => openY(server, 'doc')))
  await Promise.all(clients.map((client) => client.next(type('step1'))))
  const sender = clients[0]!
  const doc = new Y.Doc()
  doc.on('update', (update: Uint8Array) => sender.say({ type: 'update', update }))
  for (let n = 0; n < 20; n++) doc.getText('t').insert(n, 'x')
  for (const client of clients) {
    const copy = new Y.Doc()
    await eventually(() => expect(client.received.filter(type('update'))).toHaveLength(20))
    for (const message of client.received) if (message.type === 'update') Y.applyUpdate(copy, message.update)
    expect(copy.getText('t').length).toBe(20)
  }
})
