/** An idle client stays connected: stock clients give up after 30 s without a message that a page can see. */
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { HocuspocusProvider as Provider3, HocuspocusProviderWebsocket as Socket3 } from 'hocuspocus-provider-3'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import { WebsocketProvider as WebsocketProvider1 } from 'y-websocket-1'
import * as Y from 'yjs'
import { freePort, ReplicaProcess, temporaryDirectory } from '../support/replica-process.js'

/** Two of the clients' patience, and a little: the property is about real time, so this test takes it. */
const idleMs = 64_000

test('no stock client reconnects within a minute of silence, with or without presence', {
  timeout: idleMs + 30_000,
}, async () => {
  const directory = temporaryDirectory()
  const replica = await ReplicaProcess.start({ port: await freePort(), data: directory.path })
  const connects = new Map<string, number>()
  const count = (name: string): void => void connects.set(name, (connects.get(name) ?? 0) + 1)
  const ends: (() => void)[] = []

  for (const [name, Provider] of [
    ['y-websocket 3', WebsocketProvider],
    ['y-websocket 1', WebsocketProvider1 as unknown as typeof WebsocketProvider],
  ] as const) {
    for (const hasPresence of [true, false]) {
      const provider = new Provider(`${replica.url}/y`, `idle/${name}/${hasPresence}`, new Y.Doc(), {
        WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
        disableBc: true,
      })
      if (!hasPresence) provider.awareness.setLocalState(null)
      provider.on('status', ({ status }: { status: string }) => {
        if (status === 'connected') count(`${name}, presence: ${hasPresence}`)
      })
      ends.push(() => provider.destroy())
    }
  }
  for (const [name, Provider, Socket] of [
    ['hocuspocus 4', HocuspocusProvider, HocuspocusProviderWebsocket],
    [
      'hocuspocus 3',
      Provider3 as unknown as typeof HocuspocusProvider,
      Socket3 as unknown as typeof HocuspocusProviderWebsocket,
    ],
  ] as const) {
    for (const hasPresence of [true, false]) {
      const socket = new Socket({ url: `${replica.url}/hocuspocus`, WebSocketPolyfill: WebSocket })
      const provider = new Provider({ websocketProvider: socket, name: `idle/${name}/${hasPresence}`, token: null })
      if (!hasPresence) provider.awareness?.setLocalState(null)
      provider.attach()
      socket.on('connect', () => count(`${name}, presence: ${hasPresence}`))
      ends.push(() => {
        provider.destroy()
        socket.destroy()
      })
    }
  }

  await new Promise((resolve) => setTimeout(resolve, idleMs))
  expect(connects.size).toBe(8)
  expect(Object.fromEntries(connects)).toEqual(Object.fromEntries([...connects.keys()].map((name) => [name, 1])))
  for (const end of ends) end()
  expect(await replica.end()).toBe(0)
  directory.remove()
})
