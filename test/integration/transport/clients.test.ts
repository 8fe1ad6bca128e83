/** The published clients, unchanged. */
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import * as provider3 from 'hocuspocus-provider-3'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import type { Awareness } from 'y-protocols/awareness'
import { WebsocketProvider } from 'y-websocket'
import { WebsocketProvider as WebsocketProvider1 } from 'y-websocket-1'
import { WebsocketProvider as WebsocketProvider2 } from 'y-websocket-2'
import * as Y from 'yjs'
import type { Caller } from '../../../server/transport/connection.js'
import { CausewayError } from '../../../shared/errors/error.js'
import { MemoryDocuments } from '../../models/memory-documents.js'
import { ANYBODY, atEnd, eventually, type Server, startServer, stopEverything } from './harness.js'

afterEach(stopEverything)

interface Client {
  readonly doc: Y.Doc
  readonly awareness: Awareness
  isSynced(): boolean
  isConnected(): boolean
  socket(): WebSocket | null
  disconnect(): void
  connect(): void
}

function openYWebsocket(Provider: typeof WebsocketProvider, server: Server, name: string, token?: string): Client {
  const doc = new Y.Doc()
  const provider = new Provider(`${server.url}/y`, name, doc, {
    WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
    disableBc: true,
    maxBackoffTime: 50,
    params: token === undefined ? {} : { token },
  })
  atEnd(() => provider.destroy())
  return {
    doc,
    awareness: provider.awareness,
    isSynced: () => provider.synced,
    isConnected: () => provider.wsconnected,
    socket: () => provider.ws as unknown as WebSocket,
    disconnect: () => provider.disconnect(),
    connect: () => provider.connect(),
  }
}

const RETRY = { delay: 20, minDelay: 20, maxDelay: 50, WebSocketPolyfill: WebSocket }

function openHocuspocus(server: Server, name: string, token?: string): Client & { provider: HocuspocusProvider } {
  const websocketProvider = new HocuspocusProviderWebsocket({ url: `${server.url}/hocuspocus`, ...RETRY })
  const doc = new Y.Doc()
  const provider = new HocuspocusProvider({ websocketProvider, name, document: doc, token: token ?? null })
  provider.attach()
  atEnd(() => {
    provider.destroy()
    websocketProvider.destroy()
  })
  return {
    provider,
    doc,
    awareness: provider.awareness!,
    isSynced: () => provider.synced && provider.unsyncedChanges === 0,
    isConnected: () => websocketProvider.status === 'connected',
    socket: () => websocketProvider.webSocket as unknown as WebSocket,
    disconnect: () => websocketProvider.disconnect(),
    connect: () => void websocketProvider.connect(),
  }
}

function openHocuspocus3(server: Server, name: string, token?: string): Client {
  const websocketProvider = new provider3.HocuspocusProviderWebsocket({ url: `${server.url}/hocuspocus`, ...RETRY })
  const doc = new Y.Doc()
  const provider = new provider3.HocuspocusProvider({ websocketProvider, name, document: doc, token: token ?? null })
  provider.attach()
  atEnd(() => {
    provider.destroy()
    websocketProvider.destroy()
  })
  return {
    doc,
    awareness: provider.awareness!,
    isSynced: () => provider.synced && provider.unsyncedChanges === 0,
    isConnected: () => websocketProvider.status === 'connected',
    socket: () => websocketProvider.webSocket as unknown as WebSocket,
    disconnect: () => websocketProvider.disconnect(),
    connect: () => void websocketProvider.connect(),
  }
}

type Open = (server: Server, name: string, token?: string) => Client
const KINDS: readonly [string, Open][] = [
  ['y-websocket 1', (...rest) => openYWebsocket(WebsocketProvider1 as unknown as typeof WebsocketProvider, ...rest)],
  ['y-websocket 2', (...rest) => openYWebsocket(WebsocketProvider2 as unknown as typeof WebsocketProvider, ...rest)],
  ['y-websocket 3', (...rest) => openYWebsocket(WebsocketProvider, ...rest)],
  ['Hocuspocus 3', openHocuspocus3],
  ['Hocuspocus 4', openHocuspocus],
]

const textOf = ({ doc }: Client): string => doc.getText('t').toString()
const type = ({ doc }: Client, text: string): void => doc.getText('t').insert(doc.getText('t').length, text)
const synced = (...clients: Client[]) =>
  eventually(() => expect(clients.every((client) => client.isSynced())).toBe(true))

describe.each(KINDS)('%s', (_, open) => {
  test('two clients converge, and offline edits of both are merged', async () => {
    const server = await startServer()
    const [alice, bob] = [open(server, 'team/notes'), open(server, 'team/notes')]
    await synced(alice, bob)
    type(alice, 'online ')
    await eventually(() => expect(textOf(bob)).toBe('online '))
    alice.disconnect()
    await eventually(() => expect(alice.isConnected()).toBe(false))
    type(alice, 'alice ')
    type(bob, 'bob ')
    await eventually(() => expect(server.documents.durable('team/notes').getText('t').toString()).toBe('online bob '))
    alice.connect()
    await eventually(() => expect(textOf(alice)).toMatch(/^online (alice bob |bob alice )$/))
    await eventually(() => expect(textOf(bob)).toBe(textOf(alice)))
    await synced(alice, bob)
  })

  test('the server’s end and return are survived', async () => {
    const documents = new MemoryDocuments()
    const server = await startServer({ documents })
    const alice = open(server, 'doc')
    await synced(alice)
    alice.socket()?.terminate()
    await eventually(() => expect(alice.isSynced()).toBe(false))
    type(alice, 'meanwhile')
    await eventually(() => expect(documents.durable('doc').getText('t').toString()).toBe('meanwhile'))
    await synced(alice)
  })

  test('presence is seen with the identity of the token, and gone when its client is', async () => {
    const server = await startServer({
      authenticate: async ({ token = '' }) => ({ ...ANYBODY, userId: `id-${token}`, name: token.toUpperCase() }),
    })
    const [alice, bob] = [open(server, 'doc', 'alice'), open(server, 'doc', 'bob')]
    await synced(alice, bob)
    const seen = () => bob.awareness.getStates().get(alice.doc.clientID)
    alice.awareness.setLocalStateField('user', { name: 'Bob, honestly', color: 'red' })
    await eventually(() => expect(seen()).toEqual({ user: { id: 'id-alice', name: 'ALICE', color: 'red' } }))
    alice.disconnect()
    await eventually(() => expect(seen()).toBeUndefined())
  })

  test('who loses the connection and returns with an unchanged state is seen again, without waiting for a renewal', async () => {
    const server = await startServer()
    const [alice, bob] = [open(server, 'doc'), open(server, 'doc')]
    await synced(alice, bob)
    for (const { awareness } of [alice, bob]) {
      clearInterval((awareness as unknown as { _checkInterval: NodeJS.Timeout })._checkInterval)
    }
    alice.awareness.setLocalState({ here: true })
    const seen = () => bob.awareness.getStates().get(alice.doc.clientID)
    for (let round = 0; round < 3; round++) {
      await eventually(() => expect(seen()).toEqual({ here: true }))
      const gone = eventually(() => expect(seen()).toBeUndefined())
      alice.socket()?.terminate()
      await gone
    }
    await eventually(() => expect(seen()).toEqual({ here: true }))
    expect(alice.awareness.getLocalState()).toEqual({ here: true })
  })

  test('an idle client without presence hears from us, changes nothing and stays connected', async () => {
    const server = await startServer()
    const alice = open(server, 'doc')
    await synced(alice)
    alice.awareness.setLocalState(null)
    await eventually(() => expect(server.transport.stats().connections).toBe(1))
    const socket = alice.socket()!
    let frames = 0
    let changes = 0
    socket.on('message', () => frames++)
    alice.awareness.on('update', () => changes++)
    alice.doc.on('update', () => changes++)
    for (let round = 1; round <= 4; round++) {
      const before = frames
      await server.pass(16)
      await eventually(() => expect(frames).toBeGreaterThan(before))
    }
    expect(alice.socket()).toBe(socket)
    expect(changes).toBe(0)
    type(alice, 'still here')
    await eventually(() => expect(server.documents.durable('doc').getText('t').toString()).toBe('still here'))
  })

  test('a client that refers to what the server does not have is asked, and all of it arrives', async () => {
    const server = await startServer()
    const alice = open(server, 'doc')
    await synced(alice)
    // From another provider: this one does not forward what it did not see happen.
    const elsewhere = new Y.Doc()
    elsewhere.getText('t').insert(0, 'elsewhere ')
    const socket = alice.socket()!
    const send = socket.send
    socket.send = () => {}
    Y.applyUpdate(alice.doc, Y.encodeStateAsUpdate(elsewhere))
    socket.send = send
    type(alice, 'here')
    await eventually(() => expect(server.documents.durable('doc').getText('t').toString()).toBe('elsewhere here'))
  })

  test('[SEC] a reader sees edits of others, and its own stay its own', async () => {
    const reader: Caller = { can: (_, right) => right === 'read' }
    const server = await startServer({ authenticate: async ({ token }) => (token === 'reader' ? reader : ANYBODY) })
    const [alice, eve] = [open(server, 'doc'), open(server, 'doc', 'reader')]
    await synced(alice, eve)
    type(eve, 'graffiti')
    type(alice, 'text')
    await eventually(() => expect(textOf(eve)).toContain('text'))
    expect(textOf(alice)).toBe('text')
    expect(server.documents.durable('doc').getText('t').toString()).toBe('text')
    expect(eve.socket()?.readyState).toBe(WebSocket.OPEN)
  })

  test('a first sync of more than 2 MB passes both ways', async () => {
    const server = await startServer()
    const alice = open(server, 'doc')
    alice.doc.getText('t').insert(0, 'x'.repeat(2_500_000))
    await synced(alice)
    await eventually(() => expect(server.documents.durable('doc').getText('t').length).toBe(2_500_000))
    const bob = open(server, 'doc')
    await synced(bob)
    expect(bob.doc.getText('t').length).toBe(2_500_000)
  })
})

describe('y-websocket 3', () => {
  const open = (server: Server): WebsocketProvider => {
    const provider = new WebsocketProvider(`${server.url}/y`, 'doc', new Y.Doc(), {
      WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
      disableBc: true,
      maxBackoffTime: 20,
    })
    atEnd(() => provider.destroy())
    return provider
  }

  test('stops after a final refusal', async () => {
    const server = await startServer({ authenticate: async () => ({ can: () => false }) })
    const provider = open(server)
    const closed = await new Promise((resolve) => provider.on('closed', resolve))
    expect(closed).toMatchObject({ code: 4403, reason: expect.stringContaining('access/forbidden') })
    expect(provider.shouldConnect).toBe(false)
  })

  test('comes back after a refusal that may heal', async () => {
    let refusals = 0
    const server = await startServer({
      authenticate: async () => {
        if (++refusals < 3) throw new CausewayError('cell/starting')
        return ANYBODY
      },
    })
    const provider = open(server)
    await eventually(() => expect(provider.synced).toBe(true))
    expect(refusals).toBe(3)
  })
})

describe('Hocuspocus 4', () => {
  const counts = (clients: readonly { provider: HocuspocusProvider }[]) =>
    clients.map(({ provider }) => provider.unsyncedChanges)

  test('[DU1] the count of unsynced changes stands until they are durable, and is 0 after every reconnect', async () => {
    const documents = new MemoryDocuments({ autoCommit: false })
    const server = await startServer({ documents })
    const alice = openHocuspocus(server, 'doc')
    // Commits only while the test allows it.
    const committed = (n: number) =>
      eventually(() => {
        documents.commit()
        expect(counts([alice])).toEqual([n])
      })
    await eventually(() => expect(alice.provider.isAuthenticated).toBe(true))
    await committed(0)
    for (let round = 0; round < 4; round++) {
      type(alice, 'a')
      type(alice, 'b')
      expect(counts([alice])).toEqual([2])
      await committed(0)
      type(alice, 'c')
      alice.socket()?.terminate()
      type(alice, 'd')
      await eventually(() => expect(alice.provider.isAuthenticated).toBe(false))
      await eventually(() => expect(alice.provider.isAuthenticated).toBe(true))
      expect(counts([alice])[0]).toBeGreaterThan(0)
      await committed(0)
    }
    expect(documents.durable('doc').getText('t').toString()).toBe(textOf(alice))
  })

  test('20 documents on one socket are saved each for itself', async () => {
    const server = await startServer()
    const websocketProvider = new HocuspocusProviderWebsocket({ url: `${server.url}/hocuspocus`, ...RETRY })
    const providers = Array.from({ length: 20 }, (_, n) => {
      const provider = new HocuspocusProvider({ websocketProvider, name: `doc/${n}`, token: 't' })
      provider.attach()
      return provider
    })
    atEnd(() => {
      for (const provider of providers) provider.destroy()
      websocketProvider.destroy()
    })
    for (let round = 0; round < 2; round++) {
      await eventually(() => expect(providers.every((provider) => provider.synced)).toBe(true))
      for (const [n, { document }] of providers.entries()) document.getText('t').insert(0, `${n};`)
      await eventually(() => {
        for (const [n, { document }] of providers.entries()) {
          expect(server.documents.durable(`doc/${n}`).getText('t').toString()).toBe(document.getText('t').toString())
        }
        expect(providers.map((provider) => provider.unsyncedChanges)).toEqual(Array(20).fill(0))
      })
      websocketProvider.webSocket?.close()
      await eventually(() => expect(providers.some((provider) => provider.isAuthenticated)).toBe(false))
      await eventually(() => expect(providers.every((provider) => provider.isAuthenticated)).toBe(true))
    }
    expect(server.transport.stats().connections).toBe(1)
  })

  test('one document twice on one socket, by session awareness', async () => {
    const server = await startServer()
    const websocketProvider = new HocuspocusProviderWebsocket({ url: `${server.url}/hocuspocus`, ...RETRY })
    const [one, two] = [1, 2].map(() => {
      const provider = new HocuspocusProvider({ websocketProvider, name: 'doc', sessionAwareness: true, token: 't' })
      provider.attach()
      atEnd(() => provider.destroy())
      return provider
    }) as [HocuspocusProvider, HocuspocusProvider]
    atEnd(() => websocketProvider.destroy())
    await eventually(() => expect([one.synced, two.synced]).toEqual([true, true]))
    one.document.getText('t').insert(0, 'from one')
    await eventually(() => expect(two.document.getText('t').toString()).toBe('from one'))
    await eventually(() => expect(one.unsyncedChanges).toBe(0))
    one.setAwarenessField('here', 1)
    await eventually(() => expect(two.awareness?.getStates().get(one.document.clientID)).toMatchObject({ here: 1 }))
  })

  test('detached and attached at once, edits in between, the count comes back to 0', async () => {
    const server = await startServer()
    const alice = openHocuspocus(server, 'doc')
    await synced(alice)
    for (let round = 0; round < 5; round++) {
      type(alice, 'a')
      alice.provider.detach()
      type(alice, 'b')
      alice.provider.attach()
      type(alice, 'c')
      await eventually(() => expect(server.documents.durable('doc').getText('t').toString()).toBe(textOf(alice)))
      await eventually(() => expect(counts([alice])).toEqual([0]))
    }
  })

  test('a token is fetched anew when the server asks, and the document goes on', async () => {
    let fetched = 0
    const server = await startServer({
      authenticate: async ({ token }) =>
        token === 'token-1' ? { ...ANYBODY, expiresAtMs: 1_000_000 + 100_000 } : { ...ANYBODY },
    })
    const websocketProvider = new HocuspocusProviderWebsocket({ url: `${server.url}/hocuspocus`, ...RETRY })
    const token = async () => `token-${++fetched}`
    const provider = new HocuspocusProvider({ websocketProvider, name: 'doc', token })
    provider.attach()
    atEnd(() => {
      provider.destroy()
      websocketProvider.destroy()
    })
    await eventually(() => expect(provider.synced).toBe(true))
    await server.pass(80)
    await eventually(() => expect(fetched).toBe(2))
    provider.document.getText('t').insert(0, 'x')
    await eventually(() => expect(provider.unsyncedChanges).toBe(0))
    await server.pass(40)
    provider.document.getText('t').insert(0, 'y')
    await eventually(() => expect(provider.unsyncedChanges).toBe(0))
    expect(server.documents.durable('doc').getText('t').toString()).toBe('yx')
  })

  test('refused, it tries again with a new token on the same socket', async () => {
    const server = await startServer({
      authenticate: async ({ token }) => {
        if (token === 'old') throw new CausewayError('access/unauthenticated')
        return ANYBODY
      },
    })
    const websocketProvider = new HocuspocusProviderWebsocket({ url: `${server.url}/hocuspocus`, ...RETRY })
    atEnd(() => websocketProvider.destroy())
    const doc = new Y.Doc()
    const open = (token: string): HocuspocusProvider => {
      const provider = new HocuspocusProvider({ websocketProvider, name: 'doc', document: doc, token })
      provider.attach()
      atEnd(() => provider.destroy())
      return provider
    }
    const refused = open('old')
    await new Promise((resolve) => refused.on('authenticationFailed', resolve))
    doc.getText('t').insert(0, 'kept')
    const socket = websocketProvider.webSocket
    refused.destroy()
    const accepted = open('new')
    await eventually(() => expect([accepted.synced, accepted.unsyncedChanges]).toEqual([true, 0]))
    expect(websocketProvider.webSocket).toBe(socket)
    await eventually(() => expect(server.documents.durable('doc').getText('t').toString()).toBe('kept'))
  })

  test('a reader sees its scope, and that its edit is not saved', async () => {
    const server = await startServer({ authenticate: async () => ({ can: (_, right) => right === 'read' }) })
    const alice = openHocuspocus(server, 'doc')
    await synced(alice)
    expect(alice.provider.authorizedScope).toBe('readonly')
    type(alice, 'x')
    await eventually(() => expect(server.counts['update-refused']).toBe(1))
    expect(counts([alice])).toEqual([1])
  })

  test('a stateless message arrives at the others', async () => {
    const server = await startServer()
    const [alice, bob] = [openHocuspocus(server, 'doc'), openHocuspocus(server, 'doc')]
    await synced(alice, bob)
    const heard = new Promise((resolve) => bob.provider.on('stateless', resolve))
    alice.provider.sendStateless('{"to":"all"}')
    expect(await heard).toMatchObject({ payload: '{"to":"all"}' })
  })

  test('a flush delay merges edits into one, and the count comes back to 0', async () => {
    const server = await startServer()
    const websocketProvider = new HocuspocusProviderWebsocket({ url: `${server.url}/hocuspocus`, ...RETRY })
    const provider = new HocuspocusProvider({ websocketProvider, name: 'doc', flushDelay: 5 })
    provider.attach()
    atEnd(() => {
      provider.destroy()
      websocketProvider.destroy()
    })
    await eventually(() => expect(provider.synced).toBe(true))
    for (let n = 0; n < 50; n++) provider.document.getText('t').insert(0, 'x')
    await eventually(() => expect(provider.unsyncedChanges).toBe(0))
    expect(server.documents.durable('doc').getText('t').length).toBe(50)
  })
})
