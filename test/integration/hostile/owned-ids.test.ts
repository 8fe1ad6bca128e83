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

interface Client {
  /** Resolves when its user is told that what it shows is not what is stored; to the words or code that say so. */
  readonly told: Promise<unknown>
  leave(): void
}

/** Stock clients of Ada. */
const providers: readonly { readonly name: string; open(document: string, doc: Y.Doc): Client }[] = [
  {
    name: 'y-websocket',
    open(document, doc) {
      const provider = new WebsocketProvider(`${replica.url}/y`, document, doc, {
        WebSocketPolyfill: WebSocket as never,
        params: { token: tokenOf('ada') },
        disableBc: true,
      })
      const told = new Promise((resolve) => {
        provider.on('connection-close', (event) => {
          if (event?.code === 4409) resolve('The update holds other content for structs that the document already has.')
        })
      })
      const leave = (): void => {
        // It says goodbye under the id that the document has now, which is another one once somebody has used it.
        doc.clientID = provider.awareness.clientID
        provider.destroy()
      }
      return { told, leave }
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
      const told = new Promise((resolve) =>
        provider.on('close', ({ event }: { event: { reason: string } }) => resolve(event.reason)),
      )
      provider.attach()
      return {
        told,
        leave: () => {
          provider.destroy()
          websocketProvider.destroy()
        },
      }
    },
  },
]

async function writtenByAda(provider: (typeof providers)[number], document: string): Promise<Y.Doc> {
  const doc = new Y.Doc()
  const { leave } = provider.open(document, doc)
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

const ways = providers.flatMap((provider) =>
  [
    { name: 'text', at: 0 },
    { name: 'collected structs', at: 1 },
  ].map((forgery) => ({ ...forgery, provider, by: provider.name })),
)

test.each(ways)(
  '[DU3] $by: $name under the id of its user who is away: it is told when it comes back',
  async ({ name, at, provider }) => {
    const document = `open/away/${provider.name}/${name}`
    const doc = await writtenByAda(provider, document)
    doc.getText('t').insert(0, 'while away, ')
    expect(await post(document, forgeries(doc.clientID)[at]!, 'eve')).toEqual({ status: 200 })
    // Longer than a document stays open that nobody uses, as far as it can tell.
    await replica.end('SIGKILL')
    await start()
    const back = provider.open(document, doc)
    expect(await back.told).toBe('The update holds other content for structs that the document already has.')
    back.leave()
  },
)

test.each(providers)(
  '[DU3] $name: what an honest hop brought under the id of its user is confirmed by its return',
  async (provider) => {
    const document = `open/hop/${provider.name}`
    const doc = await writtenByAda(provider, document)
    const before = Y.encodeStateVector(doc)
    doc.getText('t').insert(0, 'while away, ')
    expect(await post(document, Y.encodeStateAsUpdate(doc, before), 'bob')).toEqual({ status: 200 })
    doc.getText('t').insert(0, 'and more, ')
    const back = provider.open(document, doc)
    await vi.waitFor(
      async () => expect((await read(document)).getText('t').toString()).toBe('and more, while away, by ada'),
      {
        timeout: 20_000,
      },
    )
    doc.getText('t').insert(0, 'on and on, ')
    await vi.waitFor(
      async () => expect((await read(document)).getText('t').toString()).toMatch(/^on and on, and more/),
      {
        timeout: 20_000,
      },
    )
    back.leave()
  },
)

test('[DU3] an edit that crosses collected structs under its own id is refused, and its author told', async () => {
  const document = 'open/crossing'
  const doc = await writtenByAda(providers[0]!, document)
  expect(await post(document, forgeries(doc.clientID)[1]!, 'eve')).toEqual({ status: 200 })
  const before = Y.encodeStateVector(doc)
  doc.getText('t').insert(0, 'mine, ')
  const ada = await Stranger.at(`${replica.url}/y/${document}?token=${tokenOf('ada')}`)
  ada.sayY({ type: 'update', update: Y.encodeStateAsUpdate(doc, before) })
  await ada.over()
  expect(ada.closed).toEqual({ close: 4409, code: 'document/equivocation' })
})

test('[DU3] an owner who shows no presence is asked what it stands on before its edit is taken', async () => {
  const document = 'open/silent'
  const doc = await writtenByAda(providers[0]!, document)
  expect(await post(document, forgeries(doc.clientID)[0]!, 'eve')).toEqual({ status: 200 })
  doc.getText('t').insert(6, 'a text that is longer')
  const ada = await Stranger.at(`${replica.url}/y/${document}?token=${tokenOf('ada')}`)
  const questions = () => ada.y.flatMap((message) => (message.type === 'step1' ? [message.stateVector] : []))
  for (let asked = 1; asked <= 2; asked++) {
    await ada.until(() => questions().length >= asked)
    ada.sayY({ type: 'step2', update: Y.encodeStateAsUpdate(doc, questions()[asked - 1]) })
  }
  await ada.over()
  expect(questions().map((vector) => Y.decodeStateVector(vector).get(doc.clientID))).toEqual([12, 6])
  expect(ada.closed).toEqual({ close: 4409, code: 'document/equivocation' })
  expect((await read(document)).getText('t').toString()).toBe('by adaFORGED')
})

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
