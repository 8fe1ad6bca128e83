import { afterEach, expect, test } from 'vitest'
import * as Y from 'yjs'
import type { Caller } from '../../../server/transport/connection.js'
import { CausewayError } from '../../../shared/errors/error.js'
import { encodeAwareness } from '../../../shared/protocol/awareness.js'
import type { YMessage } from '../../../shared/protocol/sync.js'
import { MemoryDocuments } from '../../models/memory-documents.js'
import { ANYBODY, eventually, openY, startServer, stopEverything, type YClient } from './harness.js'

afterEach(stopEverything)

const EMPTY = Uint8Array.of(0)
const NOTHING = Uint8Array.of(0, 0)
const type = (wanted: YMessage['type']) => (message: YMessage) => message.type === wanted

function updateOf(change: (doc: Y.Doc) => void): Uint8Array {
  const doc = new Y.Doc()
  change(doc)
  return Y.encodeStateAsUpdate(doc)
}

/** Two updates of one person, the second of which needs the first. */
function typed(): [Uint8Array, Uint8Array, Y.Doc] {
  const doc = new Y.Doc()
  const updates: Uint8Array[] = []
  doc.on('update', (update: Uint8Array) => updates.push(update))
  doc.getText('t').insert(0, 'a')
  doc.getText('t').insert(1, 'b')
  return [updates[0]!, updates[1]!, doc]
}

const present = (clientId: number, clock: number, state: unknown): YMessage => ({
  type: 'awareness',
  update: encodeAwareness([{ clientId, clock, json: JSON.stringify(state) }]),
})

test('a client gets our step1 without asking, and an empty document is a step2, too', async () => {
  const client = await openY(await startServer(), 'doc')
  await eventually(() => expect(client.received).toEqual([{ type: 'step1', stateVector: EMPTY }]))
  client.say({ type: 'step1', stateVector: EMPTY })
  await eventually(() => expect(client.received.at(-1)).toEqual({ type: 'step2', update: NOTHING }))
})

test('what arrives while the document loads waits, in order', async () => {
  const documents = new MemoryDocuments({ loading: 'by hand' })
  const server = await startServer({ documents })
  const client = await openY(server, 'doc')
  const update = updateOf((doc) => doc.getText('t').insert(0, 'early'))
  client.say({ type: 'step1', stateVector: EMPTY }, { type: 'update', update }, { type: 'step1', stateVector: EMPTY })
  await client.settled()
  expect(client.received).toEqual([])
  documents.load()
  await client.next(type('step1'))
  expect(await client.next(type('step2'))).toEqual({ type: 'step2', update: NOTHING })
  expect(await client.next(type('update'))).toEqual({ type: 'update', update })
})

test('[DU1] an update reaches nobody, its sender included, before it is durable', async () => {
  const documents = new MemoryDocuments({ autoCommit: false })
  const server = await startServer({ documents })
  const [alice, bob] = [await openY(server, 'doc'), await openY(server, 'doc')]
  await Promise.all([alice.next(type('step1')), bob.next(type('step1'))])
  const update = updateOf((doc) => doc.getText('t').insert(0, 'x'))
  alice.say({ type: 'update', update })
  await alice.settled()
  await bob.settled()
  expect([...alice.received, ...bob.received]).toEqual([])
  documents.commit()
  expect(await alice.next(type('update'))).toEqual({ type: 'update', update })
  expect(await bob.next(type('update'))).toEqual({ type: 'update', update })
})

test('an update that changes nothing is echoed to its sender alone', async () => {
  const server = await startServer()
  const [alice, bob] = [await openY(server, 'doc'), await openY(server, 'doc')]
  const update = updateOf((doc) => doc.getText('t').insert(0, 'x'))
  alice.say({ type: 'update', update })
  await Promise.all([alice.next(type('update')), bob.next(type('update'))])
  alice.say({ type: 'update', update })
  expect(await alice.next(type('update'))).toEqual({ type: 'update', update })
  await bob.settled()
  expect(bob.received).toEqual([])
})

test('a gap is asked about once, and the answer heals it', async () => {
  const server = await startServer()
  const client = await openY(server, 'doc')
  const [, second, doc] = typed()
  await client.next(type('step1'))
  client.say({ type: 'step2', update: NOTHING }, { type: 'update', update: second }, { type: 'update', update: second })
  await client.next(type('step1'))
  await client.settled()
  expect(client.received.filter(type('step1'))).toEqual([])
  client.say({ type: 'step2', update: Y.encodeStateAsUpdate(doc) })
  await eventually(() => expect(server.documents.durable('doc').getText('t').toString()).toBe('ab'))
})

test('after a full disk a step1 asks for what was refused', async () => {
  const server = await startServer()
  const client = await openY(server, 'doc')
  const [first, , doc] = typed()
  await client.next(type('step1'))
  client.say({ type: 'step2', update: NOTHING })
  await client.settled()
  server.documents.refuseWith = 'storage/full'
  client.say({ type: 'update', update: first })
  await client.settled()
  expect(client.closedWith).toBeUndefined()
  server.documents.resync()
  await client.next(type('step1'))
  client.say({ type: 'step2', update: Y.encodeStateAsUpdate(doc) })
  await eventually(() => expect(server.documents.durable('doc').getText('t').toString()).toBe('ab'))
})

test('names are decoded leniently: an escaped slash is a slash, a malformed escape stands for itself', async () => {
  const server = await startServer()
  const [escaped, plain, odd] = [
    await openY(server, 'x%2Fy'),
    await openY(server, 'x/y'),
    await openY(server, '100%?other=1&w=local'),
  ]
  await Promise.all([escaped, plain, odd].map((client) => client.next(type('step1'))))
  expect(server.documents.subscriberCount('x/y')).toBe(2)
  expect(server.documents.subscriberCount('100%')).toBe(1)
})

test.each(['', '%00', 'a//b', `${'x'.repeat(600)}`])('the name %j is refused for good', async (name) => {
  const client = await openY(await startServer(), name)
  const { code, reason } = await client.closed()
  expect(code).toBe(4400)
  expect(reason).toMatch(/^document\/bad-name: /)
  expect(client.received).toMatchObject([{ type: 'denied' }])
})

test.each([
  ['access/unauthenticated', 4401, true],
  ['access/forbidden', 4403, true],
  ['access/expired', 4501, false],
  ['cell/starting', 1013, false],
  ['internal/failure', 1011, false],
] as const)('a caller refused with %s is closed with %i, told so first: %s', async (code, close, told) => {
  const client = await openY(
    await startServer({
      authenticate: async () => {
        throw new CausewayError(code)
      },
    }),
    'doc',
  )
  expect((await client.closed()).code).toBe(close)
  expect(client.received.map((message) => message.type)).toEqual(told ? ['denied'] : [])
})

test('what fails while a caller is judged closes its connection alone, and is logged', async () => {
  const server = await startServer({
    authenticate: async ({ token }) => {
      if (token === 'boom') throw new TypeError('a bug')
      return ANYBODY
    },
  })
  const [good, bad] = [await openY(server, 'doc'), await openY(server, 'doc?token=boom')]
  expect((await bad.closed()).code).toBe(1011)
  expect(server.logged).toContainEqual([expect.objectContaining({ event: 'connection-failed' }), expect.anything()])
  await good.settled()
})

test('a token comes as a parameter or as a subprotocol, and an offered subprotocol is answered', async () => {
  const tokens: (string | undefined)[] = []
  const server = await startServer({
    authenticate: async ({ token }) => {
      tokens.push(token)
      return ANYBODY
    },
  })
  const clients = [
    await openY(server, 'doc?token=a.b.c&session='),
    await openY(server, 'doc', { protocols: ['yauth-d.e.f'] }),
    await openY(server, 'doc', { protocols: ['causeway-token.g.h.i', 'y'] }),
    await openY(server, 'doc', { protocols: ['y'] }),
    await openY(server, 'doc?token='),
  ]
  expect(tokens).toEqual(['a.b.c', 'd.e.f', 'g.h.i', undefined, undefined])
  expect(clients.map(({ ws }) => ws.protocol)).toEqual(['', 'yauth-d.e.f', 'y', 'y', ''])
})

test('[SEC] a reader reads, is seen, and changes nothing', async () => {
  const reader: Caller = { userId: 'r', can: (_, right) => right === 'read' }
  const server = await startServer({ authenticate: async ({ token }) => (token === 'reader' ? reader : ANYBODY) })
  const [client, writer] = [await openY(server, 'doc?token=reader'), await openY(server, 'doc')]
  const update = updateOf((doc) => doc.getText('t').insert(0, 'forbidden'))
  client.say({ type: 'update', update }, { type: 'step2', update }, present(5, 1, { a: 1 }))
  await writer.next(type('awareness'))
  const allowed = updateOf((doc) => doc.getText('t').insert(0, 'allowed'))
  writer.say({ type: 'update', update: allowed })
  expect(await client.next(type('update'))).toEqual({ type: 'update', update: allowed })
  client.say({ type: 'step1', stateVector: EMPTY })
  const { update: whole } = (await client.next(type('step2'))) as { update: Uint8Array }
  const seen = new Y.Doc()
  Y.applyUpdate(seen, whole)
  expect(seen.getText('t').toString()).toBe('allowed')
  expect(client.closedWith).toBeUndefined()
})

test('a right that ends closes the connection with a code that clients retry', async () => {
  const server = await startServer({
    authenticate: async () => ({ ...ANYBODY, expiresAtMs: 1_000_000 + 5_000 }),
  })
  const client = await openY(server, 'doc')
  await client.next(type('step1'))
  await server.pass(4)
  await client.settled()
  expect(client.closedWith).toBeUndefined()
  await server.pass(1)
  expect((await client.closed()).code).toBe(4501)
})

test('[SEC] a revoked caller is closed for good, others are not', async () => {
  const server = await startServer({ authenticate: async ({ token = '' }) => ({ ...ANYBODY, userId: token }) })
  const [ada, eve] = [await openY(server, 'doc?token=ada'), await openY(server, 'doc?token=eve')]
  await Promise.all([ada.next(type('step1')), eve.next(type('step1'))])
  server.transport.revoke(({ userId }) => userId === 'eve')
  expect((await eve.closed()).code).toBe(4401)
  await ada.settled()
  expect(ada.closedWith).toBeUndefined()
})

test('a document that is gone, or cannot be read, ends with its own code', async () => {
  const server = await startServer()
  const [gone, unavailable] = [await openY(server, 'gone'), await openY(server, 'unavailable')]
  await Promise.all([gone.next(type('step1')), unavailable.next(type('step1'))])
  server.documents.closeDocument('gone', 'document/too-large')
  server.documents.closeDocument('unavailable', 'document/unavailable')
  expect((await gone.closed()).code).toBe(4413)
  expect((await unavailable.closed()).code).toBe(4503)
})

test('whoever joins is shown who is present; whoever leaves is gone for the others', async () => {
  const server = await startServer()
  const alice = await openY(server, 'doc')
  alice.say(present(5, 1, { name: 'alice' }))
  await alice.next(type('awareness'))
  const bob = await openY(server, 'doc')
  expect(await bob.next(type('awareness'))).toEqual(present(5, 1, { name: 'alice' }))
  bob.say({ type: 'query-awareness' })
  expect(await bob.next(type('awareness'))).toEqual(present(5, 1, { name: 'alice' }))
  alice.ws.terminate()
  expect(await bob.next(type('awareness'))).toEqual(present(5, 2, null))
})

async function strike(client: YClient, message: YMessage, times: number): Promise<void> {
  for (let n = 0; n < times; n++) client.say(message)
  await client.settled()
}

test('[SEC] three updates that are none close the connection, two do not', async () => {
  const client = await openY(await startServer(), 'doc')
  const bad: YMessage = { type: 'update', update: Uint8Array.of(1, 2, 3) }
  await strike(client, bad, 2)
  expect(client.closedWith).toBeUndefined()
  client.say(bad)
  expect((await client.closed()).code).toBe(4400)
})
