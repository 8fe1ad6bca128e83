/** How long an update of a stock client waits for its outcome. */
import { afterEach, expect, test } from 'vitest'
import * as Y from 'yjs'
import { MemoryDocuments } from '../../models/memory-documents.js'
import { openHocuspocus, openY, type Server, startServer, stopEverything } from './harness.js'

afterEach(stopEverything)

function updateOf(text: string): Uint8Array {
  const doc = new Y.Doc()
  doc.getText('t').insert(0, text)
  return Y.encodeStateAsUpdate(doc)
}

const ways = [
  {
    name: '/y',
    async open(server: Server) {
      const client = await openY(server, 'doc')
      await client.next(({ type }) => type === 'step1')
      const edit = async (text: string): Promise<void> => {
        client.say({ type: 'update', update: updateOf(text) })
        await client.settled()
      }
      return { edit, client }
    },
  },
  {
    name: '/hocuspocus',
    async open(server: Server) {
      const client = await openHocuspocus(server)
      client.say({ type: 'token', token: '' })
      await client.next(({ type }) => type === 'authenticated')
      const edit = async (text: string): Promise<void> => {
        client.say({ type: 'update', update: updateOf(text) })
        await client.settled()
      }
      return { edit, client }
    },
  },
]

test.each(ways)(
  '$name: an update without an outcome ends its connection in time, to be tried again',
  async ({ open }) => {
    const server = await startServer({ documents: new MemoryDocuments({ autoCommit: false }) })
    const { edit, client } = await open(server)
    await edit('a')
    await server.pass(29)
    expect(client.closedWith).toBeUndefined()
    await server.pass(3)
    expect(await client.closed()).toMatchObject({ code: 1013, reason: expect.stringContaining('storage/slow') })
    expect(server.counts['update-late']).toBe(1)
  },
)

test.each(ways)('$name: each update has its own time, and a slow disk that moves ends nobody', async ({ open }) => {
  const documents = new MemoryDocuments({ autoCommit: false })
  const server = await startServer({ documents })
  const { edit, client } = await open(server)
  for (let round = 0; round < 4; round++) {
    await edit(`a${round}`)
    await server.pass(20)
    // The next one is under way before this one ends.
    await edit(`b${round}`)
    documents.commit()
    await client.settled()
  }
  expect(client.closedWith).toBeUndefined()
  await edit('last')
  documents.commit()
  await server.pass(60)
  expect(client.closedWith).toBeUndefined()
})

test('/y: who is behind others is not later than they are', async () => {
  const server = await startServer({ documents: new MemoryDocuments({ autoCommit: false }) })
  const { edit, client } = await ways[0]!.open(server)
  await edit('first')
  await server.pass(15)
  await edit('second')
  server.documents.commit()
  await edit('third')
  await server.pass(25)
  expect(client.closedWith).toBeUndefined()
  await server.pass(7)
  expect((await client.closed()).code).toBe(1013)
})

test.each(ways)(
  '[DU3] $name: what is on disk here waits for other replicas however long it takes',
  async ({ open }) => {
    const documents = new MemoryDocuments({ autoCommit: false })
    const subscribe = documents.subscribe.bind(documents)
    const acknowledge: (() => void)[] = []
    let isStored = false
    documents.subscribe = (name, subscriber) =>
      subscribe(name, {
        ...subscriber,
        attached: () => subscriber.attached(),
        deliver: (batch) => subscriber.deliver(batch),
        acknowledge: (request, acknowledgement) => {
          isStored = true
          subscriber.stored(request)
          acknowledge.push(() => subscriber.acknowledge(request, acknowledgement))
        },
        refuse: (request, error) => subscriber.refuse(request, error),
        closed: (error) => subscriber.closed(error),
      })
    const server = await startServer({ documents })
    const { edit, client } = await open(server)
    await edit('a')
    documents.commit()
    expect(isStored).toBe(true)
    await server.pass(120)
    // One that is not on disk ends it as ever.
    await edit('b')
    await server.pass(29)
    expect(client.closedWith).toBeUndefined()
    await server.pass(3)
    expect(await client.closed()).toMatchObject({ reason: expect.stringContaining('storage/slow') })
  },
)
