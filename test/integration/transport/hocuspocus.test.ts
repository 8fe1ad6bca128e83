import { afterEach, expect, test } from 'vitest'
import * as Y from 'yjs'
import type { Caller } from '../../../server/transport/connection.js'
import { CausewayError } from '../../../shared/errors/error.js'
import { encodeAwareness } from '../../../shared/protocol/awareness.js'
import { MemoryDocuments } from '../../models/memory-documents.js'
import {
  type Addressed,
  ANYBODY,
  eventually,
  type HocuspocusClient,
  openHocuspocus,
  startServer,
  stopEverything,
} from './harness.js'

afterEach(stopEverything)

const EMPTY = Uint8Array.of(0)
const NOTHING = Uint8Array.of(0, 0)
const TOKEN: Addressed = { type: 'token', token: 't', version: '4.8.0' }
const STEP1: Addressed = { type: 'step1', stateVector: EMPTY }
const type = (wanted: Addressed['type']) => (message: Addressed) => message.type === wanted
const types = (client: HocuspocusClient): string[] => client.received.map((message) => message.type)
const at = (address: string, message: Addressed): Addressed => ({ ...message, address })

function updateOf(change: (doc: Y.Doc) => void): Uint8Array {
  const doc = new Y.Doc()
  change(doc)
  return Y.encodeStateAsUpdate(doc)
}

/** As a provider opens a document: token, step1, and the step2 that answers ours. */
async function attach(client: HocuspocusClient, address = 'doc'): Promise<void> {
  const own = ({ address: its = 'doc' }: Addressed): boolean => its === address
  client.say(at(address, TOKEN), at(address, STEP1))
  await client.next((message) => own(message) && message.type === 'step2')
  client.say(at(address, { type: 'step2', update: NOTHING }))
  await client.next((message) => own(message) && message.type === 'sync-status')
}

/** The same where nothing is committed. */
async function attachUnsaved(client: HocuspocusClient): Promise<void> {
  client.say(TOKEN, STEP1)
  await client.next(type('step2'))
}

const present = (clientId: number, clock: number, state: unknown): Addressed => ({
  type: 'awareness',
  update: encodeAwareness([{ clientId, clock, json: JSON.stringify(state) }]),
})

test('a document is opened by token and step1: authenticated, our step1, a step2', async () => {
  const client = await openHocuspocus(await startServer())
  client.say(TOKEN, STEP1)
  await eventually(() =>
    expect(client.received).toEqual([
      { type: 'authenticated', scope: 'read-write' },
      { type: 'step1', stateVector: EMPTY },
      { type: 'step2', update: NOTHING },
    ]),
  )
})

test('[DU1] exactly one status for each step2 and update, in order, when it is durable; none for a step1', async () => {
  const documents = new MemoryDocuments({ autoCommit: false })
  const client = await openHocuspocus(await startServer({ documents }))
  client.say(TOKEN, STEP1)
  await client.next(type('step2'))
  const update = updateOf((doc) => doc.getText('t').insert(0, 'x'))
  client.say({ type: 'step2', update: NOTHING }, { type: 'update', update }, { type: 'update', update })
  client.say({ type: 'update', update: Uint8Array.of(9) }, STEP1)
  await client.next(type('step2'))
  expect(client.received).toEqual([])
  documents.commit()
  await client.settled()
  const statuses = client.received.flatMap((message) => (message.type === 'sync-status' ? [message.applied] : []))
  expect(statuses).toEqual([true, true, true, false])
  expect(types(client).indexOf('update'), 'what a commit made durable precedes its statuses').toBe(0)
})

test('a gap brings no status, one step1, and with the step2 as many as were left unanswered', async () => {
  const server = await startServer()
  const client = await openHocuspocus(server)
  await attach(client)
  const doc = new Y.Doc()
  const updates: Uint8Array[] = []
  doc.on('update', (update: Uint8Array) => updates.push(update))
  for (const letter of 'abc') doc.getText('t').insert(doc.getText('t').length, letter)
  client.say({ type: 'update', update: updates[1]! }, { type: 'update', update: updates[2]! })
  await client.next(type('step1'))
  await client.settled()
  expect(client.received).toEqual([])
  client.say({ type: 'step2', update: Y.encodeStateAsUpdate(doc) })
  await client.next(type('sync-status'))
  await client.settled()
  expect(types(client)).toEqual(['sync-status'])
})

test('20 documents on one socket stay apart, each answered under its address', async () => {
  const server = await startServer()
  const client = await openHocuspocus(server)
  const names = Array.from({ length: 20 }, (_, n) => `space/${n}`)
  for (const name of names) client.say(at(name, TOKEN), at(name, STEP1))
  for (const name of names) {
    await eventually(() => {
      const own = client.received.filter(({ address }) => address === name)
      expect(own.map((message) => message.type)).toEqual(['authenticated', 'step1', 'step2'])
    })
  }
  expect(server.transport.stats()).toEqual({ connections: 1, documents: 20 })
})

test('two sessions of one document on one socket are two clients', async () => {
  const client = await openHocuspocus(await startServer())
  const [one, two] = ['doc\0one', 'doc\0two'] as const
  await attach(client, one)
  await attach(client, two)
  const update = updateOf((doc) => doc.getText('t').insert(0, 'x'))
  client.say(at(one, { type: 'update', update }))
  await eventually(() => {
    const seen = client.received.map(({ address, type }) => `${address?.slice(4)} ${type}`)
    expect(seen.toSorted()).toEqual(['one sync-status', 'one update', 'two update'])
  })
})

test.each([
  ['access/unauthenticated', 'denied'],
  ['access/forbidden', 'denied'],
  ['access/expired', 'denied'],
] as const)('an address refused with %s is %s, and the socket and its other documents stay', async (code, told) => {
  const server = await startServer({
    authenticate: async ({ token }) => {
      if (token === 'bad') throw new CausewayError(code)
      return ANYBODY
    },
  })
  const client = await openHocuspocus(server)
  await attach(client, 'other')
  client.say({ type: 'token', token: 'bad' }, STEP1, { type: 'update', update: NOTHING })
  expect((await client.next(() => true)).type).toBe(told)
  client.say({ type: 'update', update: NOTHING })
  await client.settled()
  expect(client.received).toEqual([])
  await attach(client)
  expect(client.closedWith).toBeUndefined()
})

test('what fails while a token is judged closes the socket, so that the provider comes back', async () => {
  const server = await startServer({
    authenticate: async () => {
      throw new CausewayError('cell/starting')
    },
  })
  const client = await openHocuspocus(server)
  client.say(TOKEN)
  expect((await client.closed()).code).toBe(1013)
})

test('a name that is none is refused', async () => {
  const client = await openHocuspocus(await startServer())
  client.say(at('a//b', TOKEN))
  await client.next(type('denied'))
  client.say(at('\0session', TOKEN))
  await client.next(({ address, type }) => address === '\0session' && type === 'denied')
})

test('[SEC] a reader’s edits are refused, a step2 that brings nothing new is not', async () => {
  const reader: Caller = { can: (_, right) => right === 'read' }
  const server = await startServer({ authenticate: async ({ token }) => (token === 'reader' ? reader : ANYBODY) })
  const [client, writer] = [await openHocuspocus(server), await openHocuspocus(server)]
  await attach(writer)
  const shared = updateOf((doc) => {
    doc.getText('t').insert(0, 'shared')
    doc.getText('t').delete(0, 1)
  })
  writer.say({ type: 'update', update: shared })
  await writer.next(type('sync-status'))
  client.say({ type: 'token', token: 'reader' }, STEP1)
  expect(await client.next(type('authenticated'))).toEqual({ type: 'authenticated', scope: 'readonly' })
  await client.next(type('step2'))
  const forbidden = updateOf((doc) => doc.getText('t').insert(0, 'forbidden'))
  client.say({ type: 'step2', update: shared }, { type: 'update', update: forbidden })
  client.say({ type: 'step2', update: forbidden }, { type: 'stateless', payload: '{}' }, present(7, 1, { here: true }))
  await writer.next(type('awareness'))
  await client.settled()
  const statuses = client.received.flatMap((message) => (message.type === 'sync-status' ? [message.applied] : []))
  expect(statuses).toEqual([true, false, false])
  expect(types(writer)).not.toContain('stateless')
  expect(server.documents.durable('doc').getText('t').toString()).toBe('hared')
})

test('a token is asked for again before it ends, and a fresh one changes the right in place', async () => {
  let writes = true
  const server = await startServer({
    authenticate: async ({ token }) => {
      const endsAtMs = token === 't' ? 1_000_000 + 50_000 : Number.MAX_SAFE_INTEGER
      return { can: (_, right) => right === 'read' || writes, expiresAtMs: endsAtMs }
    },
  })
  const client = await openHocuspocus(server)
  await attach(client)
  await server.pass(39)
  await client.settled()
  expect(types(client)).not.toContain('token-request')
  await server.pass(1)
  await client.next(type('token-request'))
  await server.pass(5)
  await client.settled()
  expect(types(client), 'it is asked for once').not.toContain('token-request')
  writes = false
  client.say({ type: 'token', token: 'fresh' }, { type: 'update', update: NOTHING })
  expect(await client.next(type('authenticated'))).toEqual({ type: 'authenticated', scope: 'readonly' })
  expect(await client.next(type('sync-status')), 'judged by the fresh token').toMatchObject({ applied: false })
  await server.pass(30)
  await client.settled()
  expect(types(client)).not.toContain('denied')
})

test('a right that ends is denied for its address alone, and a late token brings the document back', async () => {
  const server = await startServer({
    authenticate: async ({ token }) =>
      token === 't' ? { ...ANYBODY, expiresAtMs: 1_000_000 + 10_000 } : { ...ANYBODY },
  })
  const client = await openHocuspocus(server)
  await attach(client)
  client.say(at('other', { type: 'token', token: 'long' }), at('other', STEP1))
  await client.next(({ address, type }) => address === 'other' && type === 'step2')
  await server.pass(10)
  await client.next(type('denied'))
  client.say({ type: 'update', update: updateOf((doc) => doc.getText('t').insert(0, 'unseen')) })
  await client.settled()
  expect(server.documents.subscriberCount('doc')).toBe(0)
  expect(server.documents.subscriberCount('other')).toBe(1)
  client.say({ type: 'token', token: 'late' })
  await client.next(type('authenticated'))
  await client.next(type('step1'))
  client.say({ type: 'step2', update: updateOf((doc) => doc.getText('t').insert(0, 'offline')) })
  await eventually(() => expect(server.documents.durable('doc').getText('t').toString()).toBe('offline'))
})

test('a fresh token under judgement decides, even if the old one ends meanwhile', async () => {
  let accept = (): void => {}
  const server = await startServer({
    authenticate: ({ token }) =>
      token === 't'
        ? Promise.resolve({ ...ANYBODY, expiresAtMs: 1_000_000 + 10_000 })
        : new Promise((resolve) => {
            accept = () => resolve(ANYBODY)
          }),
  })
  const client = await openHocuspocus(server)
  await attach(client)
  await server.pass(8)
  await client.next(type('token-request'))
  client.say({ type: 'token', token: 'fresh' })
  await client.settled()
  await server.pass(5)
  accept()
  await client.next(type('authenticated'))
  client.say(STEP1)
  await client.next(type('step2'))
  expect(types(client)).not.toContain('denied')
})

test.each([
  ['that showed a version gets a ping', TOKEN, '09'],
  ['that showed none gets awareness of nobody', { type: 'token', token: 't' } as Addressed, '03646f63010100'],
])('an idle provider %s, every 20 s at least', async (_, token, expected) => {
  const server = await startServer()
  const client = await openHocuspocus(server)
  client.say(token, STEP1)
  await client.next(type('step2'))
  for (let round = 1; round <= 3; round++) {
    await server.pass(18)
    await client.settled()
    const kept = client.frames.map((frame) => frame.toString('hex')).filter((hex) => hex === expected)
    expect(kept.length).toBeGreaterThanOrEqual(round)
  }
  expect(client.received.every(({ type }) => type === 'unknown' || type === 'awareness')).toBe(true)
})

test('a session token behind the token is not part of it', async () => {
  const tokens: (string | undefined)[] = []
  const server = await startServer({
    authenticate: async ({ token }) => {
      tokens.push(token)
      return ANYBODY
    },
  })
  const client = await openHocuspocus(server)
  client.say({ type: 'token', token: 'a.b.c;session=xyz' }, at('two', { type: 'token', token: '' }))
  await client.next(({ address, type }) => address === 'two' && type === 'authenticated')
  expect(tokens).toEqual(['a.b.c', undefined])
})

test('frames before, while and after a token is judged are handled in order', async () => {
  const documents = new MemoryDocuments({ loading: 'by hand' })
  let accept = (): void => {}
  const server = await startServer({
    documents,
    authenticate: () =>
      new Promise((resolve) => {
        accept = () => resolve(ANYBODY)
      }),
  })
  const client = await openHocuspocus(server)
  const update = updateOf((doc) => doc.getText('t').insert(0, 'x'))
  client.say({ type: 'update', update }, TOKEN, STEP1)
  await client.settled()
  expect(client.received).toEqual([])
  accept()
  await client.next(type('authenticated'))
  client.say({ type: 'step2', update: NOTHING })
  await client.settled()
  expect(client.received).toEqual([])
  documents.load()
  await client.settled()
  await eventually(() => expect(types(client).filter((name) => name === 'sync-status')).toHaveLength(2))
  expect(types(client)).toEqual(['step1', 'step2', 'update', 'sync-status', 'sync-status'])
})

test('detached and attached again at once, a document loses no status and brings none too many', async () => {
  const client = await openHocuspocus(await startServer())
  const update = updateOf((doc) => doc.getText('t').insert(0, 'x'))
  client.say(TOKEN, STEP1, { type: 'update', update }, { type: 'close' }, TOKEN, STEP1)
  await client.next(type('authenticated'))
  await client.next(type('authenticated'))
  await client.next(type('step2'))
  client.received.length = 0
  // The step1 of the first attachment, answered by the provider that is there now, and that of the second.
  client.say({ type: 'step2', update }, { type: 'step2', update }, { type: 'update', update })
  await client.next(type('sync-status'))
  await client.settled()
  await eventually(() => expect(types(client)).toEqual(['sync-status']))
})

test('after a detach nothing is sent under the address any more, and its presence is gone', async () => {
  const server = await startServer()
  const [alice, bob] = [await openHocuspocus(server), await openHocuspocus(server)]
  await attach(alice)
  await attach(bob)
  alice.say(present(5, 1, { a: 1 }))
  await bob.next(type('awareness'))
  await alice.settled()
  alice.received.length = 0
  alice.say({ type: 'close' })
  expect(await bob.next(type('awareness'))).toEqual(present(5, 2, null))
  bob.say({ type: 'update', update: updateOf((doc) => doc.getText('t').insert(0, 'x')) })
  await bob.next(type('sync-status'))
  await alice.settled()
  expect(alice.received).toEqual([])
  expect(server.documents.subscriberCount('doc')).toBe(1)
})

test('a stateless message goes to the document’s other clients', async () => {
  const server = await startServer()
  const [alice, bob, carol] = [await openHocuspocus(server), await openHocuspocus(server), await openHocuspocus(server)]
  await attach(alice)
  await attach(bob)
  await attach(carol, 'elsewhere')
  alice.say({ type: 'stateless', payload: '{"hello":1}' })
  expect(await bob.next(type('stateless'))).toEqual({ type: 'stateless', payload: '{"hello":1}' })
  await alice.settled()
  await carol.settled()
  expect([...alice.received, ...carol.received]).toEqual([])
})

test('[SEC] what only servers say, and what cannot be decoded, closes that document alone; the third the socket', async () => {
  const client = await openHocuspocus(await startServer())
  await attach(client)
  await attach(client, 'other')
  client.say({ type: 'broadcast-stateless', payload: '{}' })
  await client.next(type('close'))
  client.ws.send(Buffer.from([3, 0x64, 0x6f, 0x63, 0, 7]))
  client.say(at('other', STEP1))
  await client.next(({ address, type }) => address === 'other' && type === 'step2')
  client.ws.send(Buffer.from([200, 1]))
  expect((await client.closed()).code).toBe(4400)
})

test('a pong, a ping and an unknown type are no mistakes', async () => {
  const client = await openHocuspocus(await startServer())
  await attach(client)
  for (let n = 0; n < 5; n++) {
    client.ws.send(Buffer.from([10]))
    client.ws.send(Buffer.from([9]))
    client.ws.send(Buffer.from([3, 0x64, 0x6f, 0x63, 99, 1, 2]))
    client.say({ type: 'sync-status', applied: true })
  }
  client.say(STEP1)
  await client.next(type('step2'))
  expect(client.closedWith).toBeUndefined()
})

test('a sync reply is not answered with a step1', async () => {
  const client = await openHocuspocus(await startServer())
  await attach(client)
  const update = updateOf((doc) => doc.getText('t').insert(0, 'x'))
  client.say({ type: 'sync-reply', sync: { type: 'step1', stateVector: EMPTY } })
  client.say({ type: 'sync-reply', sync: { type: 'step2', update } })
  await client.next(type('sync-status'))
  expect(types(client)).not.toContain('step1')
})

test('whoever attaches is shown who is present, before anything else', async () => {
  const server = await startServer()
  const [alice, bob] = [await openHocuspocus(server), await openHocuspocus(server)]
  await attach(alice)
  alice.say(present(5, 1, { a: 1 }))
  await alice.next(type('awareness'))
  bob.say(TOKEN, STEP1)
  await bob.next(type('step2'))
  bob.say({ type: 'query-awareness' })
  expect(await bob.next(type('awareness'))).toEqual(present(5, 1, { a: 1 }))
})

test('[SEC] what a socket may send before anybody is authenticated is bounded', async () => {
  const server = await startServer({ limits: { queuedMessages: 10, unauthenticatedDocuments: 5 } })
  const [many, wide] = [await openHocuspocus(server), await openHocuspocus(server)]
  for (let n = 0; n < 11; n++) many.say({ type: 'update', update: NOTHING })
  expect((await many.closed()).code).toBe(1013)
  for (let n = 0; n < 6; n++) wide.say(at(`doc${n}`, STEP1))
  expect((await wide.closed()).code).toBe(1013)
})

test('[SEC] tokens, and what is told to others, have a rate', async () => {
  const limits = { authentications: { perSecond: 1, burst: 3 }, statelessBytes: { perSecond: 1, burst: 100 } }
  const server = await startServer({ limits })
  const [guesser, shouter, other] = [
    await openHocuspocus(server),
    await openHocuspocus(server),
    await openHocuspocus(server),
  ]
  await attach(shouter)
  await attach(other)
  for (let n = 0; n < 4; n++) guesser.say(at(`doc${n}`, TOKEN))
  expect((await guesser.closed()).code).toBe(1013)
  for (let n = 0; n < 3; n++) shouter.say({ type: 'stateless', payload: 'x'.repeat(60) })
  expect((await shouter.closed()).code).toBe(1013)
  await other.settled()
  expect(types(other).filter((name) => name === 'stateless')).toHaveLength(2)
})

test('[SEC] outcomes that wait behind an open request take room, too', async () => {
  const documents = new MemoryDocuments({ autoCommit: false })
  const server = await startServer({ documents, limits: { requestsInFlight: 10 } })
  const client = await openHocuspocus(server)
  client.say(TOKEN, { type: 'update', update: updateOf((doc) => doc.getText('t').insert(0, 'x')) })
  await client.next(type('authenticated'))
  for (let n = 0; n < 30; n++) client.say({ type: 'update', update: Uint8Array.of(9) })
  await eventually(() => expect(server.counts['update-refused']).toBeGreaterThanOrEqual(10))
  const other = await openHocuspocus(server)
  await attachUnsaved(other)
  client.say({ type: 'stateless', payload: 'not read yet' })
  await other.settled()
  expect(types(other)).not.toContain('stateless')
  documents.commit()
  await other.next(type('stateless'))
})

test('[SEC] a queue behind a token under judgement is bounded by reading no more', async () => {
  let accept = (): void => {}
  const server = await startServer({
    limits: { queuedMessages: 10 },
    authenticate: () =>
      new Promise((resolve) => {
        accept = () => resolve(ANYBODY)
      }),
  })
  const client = await openHocuspocus(server)
  client.say(TOKEN, STEP1)
  await client.settled()
  for (let n = 0; n < 2000; n++) client.say({ type: 'update', update: NOTHING })
  accept()
  await eventually(() => expect(types(client).filter((name) => name === 'sync-status')).toHaveLength(2000))
})

test('[SEC] a socket on which nobody is ever authenticated is closed, however much it says', async () => {
  const server = await startServer()
  const client = await openHocuspocus(server)
  for (let second = 0; second < 59; second++) {
    client.ws.send(Buffer.from([10]))
    await server.pass(1)
  }
  await client.settled()
  expect(client.closedWith).toBeUndefined()
  await server.pass(1)
  expect((await client.closed()).code).toBe(4508)
})

test('[SEC] a revoked caller loses its documents, other callers on the socket keep theirs', async () => {
  const server = await startServer({ authenticate: async ({ document }) => ({ ...ANYBODY, tokenId: document }) })
  const client = await openHocuspocus(server)
  await attach(client)
  await attach(client, 'other')
  server.transport.revoke(({ tokenId }) => tokenId === 'doc')
  await client.next(type('denied'))
  expect(server.documents.subscriberCount('doc')).toBe(0)
  expect(server.documents.subscriberCount('other')).toBe(1)
})

test('a document that is gone is closed on its address, one that cannot be read closes the socket', async () => {
  const server = await startServer()
  const client = await openHocuspocus(server)
  await attach(client)
  await attach(client, 'other')
  server.documents.closeDocument('doc', 'document/too-large')
  await client.next(type('close'))
  expect(client.closedWith).toBeUndefined()
  server.documents.closeDocument('other', 'document/unavailable')
  expect((await client.closed()).code).toBe(4503)
})

test('3,000 updates in one turn are taken', async () => {
  const documents = new MemoryDocuments({ trusting: true })
  const server = await startServer({ documents })
  const client = await openHocuspocus(server)
  await attach(client)
  const doc = new Y.Doc()
  doc.on('update', (update: Uint8Array) => client.say({ type: 'update', update }))
  for (let n = 0; n < 3000; n++) doc.getText('t').insert(n, 'x')
  await eventually(() => expect(types(client).filter((name) => name === 'sync-status')).toHaveLength(3000))
  expect(documents.durable('doc').getText('t').length).toBe(3000)
})
