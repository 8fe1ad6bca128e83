/**
 * [SEC] Owned client ids against people who use those of others: over all that a client can reach, with real tokens, and
 * over a restart. Stock providers announce their id by themselves.
 */
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { encodeAwareness } from '../../../shared/protocol/awareness.js'
import { gc, text, update } from '../../fuzz/update-bytes.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'
import { Stranger } from '../../support/stranger.js'
import { SECRET, tokenFor } from '../../support/tokens.js'

const directory = temporaryDirectory()
let port: number
let replica: ReplicaProcess
const start = async (): Promise<void> => {
  replica = await ReplicaProcess.start({
    port,
    data: directory.path,
    args: ['--spaces', '{"strict":{"relay":"deny"}}'],
    environment: { CAUSEWAY_AUTH_SECRET: SECRET },
  })
}
beforeAll(async () => {
  port = await freePort()
  await start()
})
afterAll(async () => {
  await replica.end('SIGKILL')
  directory.remove()
})

const tokenOf = (user: string): string => tokenFor('*:write', { sub: user })

async function post(document: string, bytes: Uint8Array, user: string): Promise<{ status: number; code?: string }> {
  const response = await fetch(`${replica.http}/v1/documents/${encodeURIComponent(document)}/updates`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream', authorization: `Bearer ${tokenOf(user)}` },
    body: Buffer.from(bytes),
  })
  const { error } = (await response.json()) as { error?: { code: string } }
  return { status: response.status, ...(error && { code: error.code }) }
}

async function read(document: string): Promise<Y.Doc> {
  const response = await fetch(`${replica.http}/v1/documents/${encodeURIComponent(document)}`, {
    headers: { accept: 'application/octet-stream', authorization: `Bearer ${tokenOf('reader')}` },
  })
  const doc = new Y.Doc()
  if (response.status === 200) Y.applyUpdate(doc, new Uint8Array(await response.arrayBuffer()))
  return doc
}

/** A stock client of Ada, with some text of hers in the document, and its way to leave. */
const providers: readonly { readonly name: string; open(document: string, doc: Y.Doc): () => void }[] = [
  {
    name: 'y-websocket',
    open(document, doc) {
      const provider = new WebsocketProvider(`${replica.url}/y`, document, doc, {
        WebSocketPolyfill: WebSocket as never,
        params: { token: tokenOf('ada') },
        disableBc: true,
      })
      return () => provider.destroy()
    },
  },
  {
    name: 'Hocuspocus',
    open(document, doc) {
      const url = `${replica.url}/hocuspocus`
      const websocketProvider = new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: WebSocket as never })
      const provider = new HocuspocusProvider({
        websocketProvider,
        name: document,
        document: doc,
        token: tokenOf('ada'),
      })
      provider.attach()
      return () => {
        provider.destroy()
        websocketProvider.destroy()
      }
    },
  },
]

async function writtenByAda(provider: (typeof providers)[number], document: string): Promise<Y.Doc> {
  const doc = new Y.Doc()
  const leave = provider.open(document, doc)
  doc.getText('t').insert(0, 'by ada')
  await vi.waitFor(async () => expect((await read(document)).getText('t').toString()).toBe('by ada'), {
    timeout: 20_000,
  })
  leave()
  return doc
}

const forgeries = (client: number): readonly Uint8Array[] => [
  update([{ client, clock: 6, structs: [text('FORGED', { origin: [client, 5] })] }]),
  update([{ client, clock: 6, structs: [gc(1000)] }]),
]

test.each(providers)(
  '$name: nobody else extends an id that its client has announced, over a restart too',
  async (provider) => {
    const document = `strict/${provider.name}`
    const { clientID } = await writtenByAda(provider, document)
    await replica.end('SIGKILL')
    await start()
    for (const forged of forgeries(clientID)) {
      expect(await post(document, forged, 'eve')).toEqual({ status: 403, code: 'document/foreign-client' })
    }
    // Nor after announcing it as one's own.
    const eve = await Stranger.at(`${replica.url}/y/${document}?token=${tokenOf('eve')}`)
    const update = encodeAwareness([{ clientId: clientID, clock: 1, json: '{}' }])
    eve.sayY({ type: 'awareness', update }, { type: 'update', update: forgeries(clientID)[0]! })
    await eve.over()
    expect(eve.closed).toEqual({ close: 4403, code: 'document/foreign-client' })
    expect((await read(document)).getText('t').toString()).toBe('by ada')
    // Its owner goes on.
    expect(await post(document, forgeries(clientID)[0]!, 'ada')).toEqual({ status: 200 })
  },
)

test('where relay is allowed, others bring structs of an owned id', async () => {
  const document = 'open/relayed'
  const { clientID } = await writtenByAda(providers[0]!, document)
  expect(await post(document, forgeries(clientID)[0]!, 'eve')).toEqual({ status: 200 })
  expect((await read(document)).getText('t').toString()).toBe('by adaFORGED')
})

test('a flood of announcements takes no id from anybody, and harms nobody', async () => {
  const document = 'strict/flood'
  const { clientID } = await writtenByAda(providers[0]!, document)
  const eves = await Promise.all(
    Array.from({ length: 20 }, () => Stranger.at(`${replica.url}/y/${document}?token=${tokenOf('eve')}`)),
  )
  for (const [index, eve] of eves.entries()) {
    for (let round = 0; round < 20; round++) {
      const ids = Array.from({ length: 300 }, (_, at) => ({
        clientId: 1_000_000 * (1 + index) + 300 * round + at,
        clock: 1,
        json: '{}',
      }))
      eve.sayY({ type: 'awareness', update: encodeAwareness([...ids, { clientId: clientID, clock: 99, json: '{}' }]) })
    }
  }
  await Promise.all(
    eves.map(async (eve) => {
      eve.sayY({ type: 'step1', stateVector: Uint8Array.of(0) })
      await eve.until(() => eve.y.some(({ type }) => type === 'step2'))
      eve.leave()
    }),
  )
  expect(await post(document, forgeries(clientID)[0]!, 'eve')).toMatchObject({ code: 'document/foreign-client' })
  expect(await post(document, forgeries(clientID)[0]!, 'ada')).toEqual({ status: 200 })
  // A connection owns the first id that it showed, and no other.
  const other = (client: number): Uint8Array => update([{ client, clock: 0, structs: [text('x')] }])
  expect(await post(document, other(1_000_000), 'bob')).toMatchObject({ code: 'document/foreign-client' })
  expect(await post(document, other(1_000_001), 'bob')).toEqual({ status: 200 })
})
