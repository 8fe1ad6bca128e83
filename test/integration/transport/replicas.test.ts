/** The published clients at two replicas that tell each other who is present. */
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { afterEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { Awareness } from 'y-protocols/awareness'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { MemoryDocuments } from '../../models/memory-documents.js'
import { FakeTalk } from '../../support/fake-talk.js'
import { ANYBODY, atEnd, eventually, type Server, startServer, stopEverything } from './harness.js'

afterEach(stopEverything)

interface Cell {
  readonly talk: FakeTalk
  readonly a: Server
  readonly b: Server
}

/** Two transports over the same documents; a token is its bearer's name. */
async function startCell(): Promise<Cell> {
  const talk = new FakeTalk(['a', 'b'], (cell) => setImmediate(() => cell.deliver()))
  const documents = new MemoryDocuments()
  const authenticate = async ({ token = '' }) => ({ ...ANYBODY, userId: `id-${token}`, name: token.toUpperCase() })
  const [a, b] = await Promise.all(
    ['a', 'b'].map((name) => startServer({ documents, authenticate, talk: talk.of(name) })),
  )
  return { talk, a: a!, b: b! }
}

function openY(server: Server, token: string, awareness = new Awareness(new Y.Doc())): WebsocketProvider {
  const provider = new WebsocketProvider(`${server.url}/y`, 'doc', awareness.doc, {
    WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
    disableBc: true,
    maxBackoffTime: 50,
    params: { token },
    awareness,
  })
  atEnd(() => provider.destroy())
  return provider
}

function openHocuspocus(server: Server, token: string): HocuspocusProvider & { heard: string[] } {
  const websocketProvider = new HocuspocusProviderWebsocket({
    url: `${server.url}/hocuspocus`,
    WebSocketPolyfill: WebSocket,
  })
  const heard: string[] = []
  const provider = new HocuspocusProvider({
    websocketProvider,
    name: 'doc',
    document: new Y.Doc(),
    token,
    onStateless: ({ payload }) => void heard.push(payload),
  })
  provider.attach()
  atEnd(() => {
    provider.destroy()
    websocketProvider.destroy()
  })
  return Object.assign(provider, { heard })
}

const synced = (...providers: readonly { synced: boolean }[]) =>
  eventually(() => expect(providers.every((provider) => provider.synced)).toBe(true))

test('cursors cross between replicas and protocols, with the identity of the token, and end with their connection', async () => {
  const { a, b } = await startCell()
  const [alice, bob] = [openY(a, 'alice'), openHocuspocus(b, 'bob')]
  await synced(alice, bob)
  alice.awareness.setLocalState({ cursor: 1, user: { id: 'id-bob', color: 'red' } })
  bob.setAwarenessField('cursor', 2)
  const [alices, bobs] = [alice.awareness.clientID, bob.awareness!.clientID]
  await eventually(() =>
    expect(bob.awareness!.getStates().get(alices)).toEqual({
      cursor: 1,
      user: { id: 'id-alice', name: 'ALICE', color: 'red' },
    }),
  )
  await eventually(() =>
    expect(alice.awareness.getStates().get(bobs)).toEqual({ cursor: 2, user: { id: 'id-bob', name: 'BOB' } }),
  )
  const late = openY(b, 'late')
  await eventually(() => expect([...late.awareness.getStates().keys()]).toEqual(expect.arrayContaining([alices, bobs])))
  alice.disconnect()
  await eventually(() => expect(bob.awareness!.getStates().has(alices)).toBe(false))
  await eventually(() => expect(late.awareness.getStates().has(alices)).toBe(false))
})

test('who opens a document where nobody is sees who is present at another replica', async () => {
  const { a, b } = await startCell()
  const alice = openY(a, 'alice')
  alice.awareness.setLocalState({ cursor: 1 })
  await synced(alice)
  const bob = openHocuspocus(b, 'bob')
  await eventually(() => expect(bob.awareness!.getStates().get(alice.awareness.clientID)).toMatchObject({ cursor: 1 }))
})

test('who moves to another replica stays present, whether its old connection is known to be gone or not', async () => {
  const { a, b } = await startCell()
  const bob = openY(a, 'bob')
  const awareness = new Awareness(new Y.Doc())
  awareness.setLocalState({ cursor: 0 })
  const seen = () => bob.awareness.getStates().get(awareness.clientID)?.['cursor']
  let old = openY(a, 'alice', awareness)
  await synced(bob, old)
  await eventually(() => expect(seen()).toBe(0))
  for (const [round, server] of [b, a, b].entries()) {
    if (round % 2 === 0) old.disconnect()
    const moved = openY(server, 'alice', awareness)
    await synced(moved)
    awareness.setLocalState({ cursor: round + 1 })
    await eventually(() => expect(seen()).toBe(round + 1))
    if (round % 2 === 1) old.disconnect()
    await eventually(() => expect(a.transport.stats().connections + b.transport.stats().connections).toBe(2))
    await eventually(() => expect(seen()).toBe(round + 1))
    old = moved
  }
  expect(awareness.getLocalState()).toEqual({ cursor: 3 })
})

test('a lost link takes its people away after a moment, and they are back with it', async () => {
  const { talk, a, b } = await startCell()
  const [alice, bob] = [openY(a, 'alice'), openY(b, 'bob')]
  await synced(alice, bob)
  alice.awareness.setLocalState({ cursor: 1 })
  const seen = () => bob.awareness.getStates().get(alice.awareness.clientID)
  await eventually(() => expect(seen()).toMatchObject({ cursor: 1 }))
  talk.unlink('a', 'b')
  await b.pass(6)
  await eventually(() => expect(seen()).toBeUndefined())
  talk.link('a', 'b')
  await eventually(() => expect(seen()).toMatchObject({ cursor: 1 }))
  expect(alice.awareness.getLocalState()).toEqual({ cursor: 1 })
})

test('a stateless message reaches every other client of the document once, at both replicas', async () => {
  const { a, b } = await startCell()
  const clients = [openHocuspocus(a, 'alice'), openHocuspocus(a, 'bob'), openHocuspocus(b, 'carol')] as const
  await synced(...clients)
  clients[0].sendStateless('from alice')
  await eventually(() => expect(clients[2].heard).toEqual(['from alice']))
  clients[2].sendStateless('from carol')
  await eventually(() =>
    expect(clients.map(({ heard }) => heard)).toEqual([['from carol'], ['from alice', 'from carol'], ['from alice']]),
  )
})
