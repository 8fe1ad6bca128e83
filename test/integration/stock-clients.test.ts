/** Unmodified clients from npm against a real replica process. */
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { HocuspocusProvider as Provider3, HocuspocusProviderWebsocket as Socket3 } from 'hocuspocus-provider-3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import { WebsocketProvider as WebsocketProvider1 } from 'y-websocket-1'
import { WebsocketProvider as WebsocketProvider2 } from 'y-websocket-2'
import * as Y from 'yjs'
import { freePort, ReplicaProcess, temporaryDirectory } from '../support/replica-process.js'

const directory = temporaryDirectory()
let replica: ReplicaProcess
beforeAll(async () => {
  replica = await ReplicaProcess.start({ port: await freePort(), data: directory.path })
})
afterAll(async () => {
  expect(await replica.end()).toBe(0)
  directory.remove()
})

/** Resolves when `condition` holds after an update of `doc`. */
function until(doc: Y.Doc, condition: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const check = (): void => {
      if (!condition()) return
      doc.off('update', check)
      resolve()
    }
    doc.on('update', check)
    check()
  })
}

interface AnyProvider {
  readonly awareness: {
    setLocalState(state: unknown): void
    getStates(): Map<number, unknown>
    on(name: 'change', f: () => void): void
  } | null
  connect(): unknown
  /** Resolves when the socket is gone: a provider that still thinks it is connected would not connect again. */
  disconnect(): Promise<void>
  destroy(): unknown
}

interface Flavour {
  readonly name: string
  make(document: string, doc: Y.Doc): AnyProvider
  synced(provider: AnyProvider): Promise<void>
}

function yFlavour(name: string, Provider: typeof WebsocketProvider): Flavour {
  return {
    name,
    make: (document, doc) => {
      const provider = new Provider(`${replica.url}/y`, document, doc, {
        WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
        disableBc: true,
      })
      const disconnect = provider.disconnect.bind(provider)
      return Object.assign(provider as unknown as AnyProvider, {
        disconnect: async () => disconnect(),
      })
    },
    synced: (provider) =>
      new Promise((resolve) => {
        const typed = provider as unknown as WebsocketProvider
        if (typed.synced) resolve()
        else typed.on('sync', (isSynced: boolean) => isSynced && resolve())
      }),
  }
}

function closed(socket: HocuspocusProviderWebsocket): Promise<void> {
  return new Promise((resolve) => {
    socket.on('disconnect', () => resolve())
    socket.disconnect()
  })
}

function hocuspocusFlavour(
  name: string,
  Provider: typeof HocuspocusProvider,
  Socket: typeof HocuspocusProviderWebsocket,
): Flavour {
  return {
    name,
    make: (document, doc) => {
      const socket = new Socket({ url: `${replica.url}/hocuspocus`, WebSocketPolyfill: WebSocket })
      const provider = new Provider({ websocketProvider: socket, name: document, document: doc, token: null })
      provider.attach()
      const plain = provider as unknown as AnyProvider
      return {
        awareness: plain.awareness,
        connect: () => socket.connect(),
        disconnect: () => closed(socket),
        destroy: () => {
          provider.destroy()
          socket.destroy()
        },
        provider,
      } as AnyProvider
    },
    synced: (wrapped) =>
      new Promise((resolve) => {
        const { provider } = wrapped as unknown as { provider: HocuspocusProvider }
        if (provider.isSynced) resolve()
        else provider.on('synced', () => resolve())
      }),
  }
}

const flavours: Flavour[] = [
  yFlavour('y-websocket 3', WebsocketProvider),
  yFlavour('y-websocket 2', WebsocketProvider2 as unknown as typeof WebsocketProvider),
  yFlavour('y-websocket 1', WebsocketProvider1 as unknown as typeof WebsocketProvider),
  hocuspocusFlavour('hocuspocus 4', HocuspocusProvider, HocuspocusProviderWebsocket),
  hocuspocusFlavour(
    'hocuspocus 3',
    Provider3 as unknown as typeof HocuspocusProvider,
    Socket3 as unknown as typeof HocuspocusProviderWebsocket,
  ),
]

describe.each(flavours)('$name', (flavour) => {
  const slug = flavour.name.replace(' ', '-')

  test('[CV] two clients converge', async () => {
    const docs = [new Y.Doc(), new Y.Doc()] as const
    const providers = docs.map((doc) => flavour.make(`stock/${slug}/converge`, doc))
    await Promise.all(providers.map((provider) => flavour.synced(provider)))
    docs[0].getText('t').insert(0, 'hello ')
    docs[1].getText('t').insert(0, 'world ')
    await Promise.all(docs.map((doc) => until(doc, () => doc.getText('t').length === 12)))
    expect(docs[0].getText('t').toString()).toBe(docs[1].getText('t').toString())
    for (const provider of providers) provider.destroy()
  })

  test('[DU3] edits made offline arrive after reconnecting, and others are merged', async () => {
    const docs = [new Y.Doc(), new Y.Doc()] as const
    const providers = docs.map((doc) => flavour.make(`stock/${slug}/offline`, doc))
    await Promise.all(providers.map((provider) => flavour.synced(provider)))
    await providers[0]?.disconnect()
    docs[0].getText('t').insert(0, 'offline ')
    docs[1].getText('t').insert(0, 'meanwhile ')
    providers[0]?.connect()
    await Promise.all(docs.map((doc) => until(doc, () => doc.getText('t').length === 18)))
    expect(docs[0].getText('t').toString()).toBe(docs[1].getText('t').toString())
    for (const provider of providers) provider.destroy()
  })

  test('presence is seen, and gone when its client goes', async () => {
    const docs = [new Y.Doc(), new Y.Doc()] as const
    const providers = docs.map((doc) => flavour.make(`stock/${slug}/presence`, doc))
    await Promise.all(providers.map((provider) => flavour.synced(provider)))
    const awareness = providers[1]?.awareness
    if (!awareness) throw new Error('no awareness')
    const seen = (isThere: boolean): Promise<void> =>
      new Promise((resolve) => {
        const check = (): void => {
          if (awareness.getStates().has(docs[0].clientID) === isThere) resolve()
        }
        awareness.on('change', check)
        check()
      })
    providers[0]?.awareness?.setLocalState({ user: { name: 'Ada' } })
    await seen(true)
    expect(awareness.getStates().get(docs[0].clientID)).toMatchObject({ user: { name: 'Ada' } })
    providers[0]?.destroy()
    await seen(false)
    providers[1]?.destroy()
  })

  test('a large document: 2 MB in one first sync, read by another client', async () => {
    const [writer, reader] = [new Y.Doc(), new Y.Doc()]
    const map = writer.getMap<string>('m')
    for (let i = 0; i < 20_000; i++) map.set(`key-${i}`, 'x'.repeat(90))
    const up = flavour.make(`stock/${slug}/large`, writer)
    await flavour.synced(up)
    const down = flavour.make(`stock/${slug}/large`, reader)
    await until(reader, () => reader.getMap('m').size === 20_000)
    up.destroy()
    down.destroy()
  })
})

test('twenty documents on one Hocuspocus socket; unsyncedChanges returns to 0 after a reconnect', async () => {
  const socket = new HocuspocusProviderWebsocket({ url: `${replica.url}/hocuspocus`, WebSocketPolyfill: WebSocket })
  const docs = Array.from({ length: 20 }, () => new Y.Doc())
  const providers = docs.map((document, index) => {
    const provider = new HocuspocusProvider({ websocketProvider: socket, name: `stock/many/${index}`, document })
    provider.attach()
    return provider
  })
  const settled = (provider: HocuspocusProvider): Promise<void> =>
    new Promise((resolve) => {
      const check = (): void => {
        if (provider.isSynced && provider.unsyncedChanges === 0) resolve()
      }
      provider.on('synced', check)
      provider.on('unsyncedChanges', check)
      check()
    })
  await Promise.all(providers.map(settled))
  for (const [index, doc] of docs.entries()) doc.getText('t').insert(0, `document ${index}`)
  await Promise.all(providers.map(settled))
  await closed(socket)
  for (const doc of docs) doc.getText('t').insert(0, 'offline ')
  await socket.connect()
  await Promise.all(providers.map(settled))
  const reader = new Y.Doc()
  const check = flavours[0]?.make('stock/many/7', reader)
  await until(reader, () => reader.getText('t').toString() === 'offline document 7')
  check?.destroy()
  for (const provider of providers) provider.destroy()
  socket.destroy()
})
