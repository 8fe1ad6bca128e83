/** Whose a client id is, as the two stock endpoints hear it. */
import { afterEach, expect, test } from 'vitest'
import type { Caller } from '../../../server/transport/connection.js'
import { encodeAwareness } from '../../../shared/protocol/awareness.js'
import { eventually, openHocuspocus, openY, type Server, startServer, stopEverything } from './harness.js'

afterEach(stopEverything)

const CALLERS: Readonly<Record<string, Caller>> = {
  ada: { userId: 'ada', can: () => true },
  eve: { userId: 'eve', can: () => true },
  reader: { userId: 'reader', can: (_document, right) => right === 'read' },
  nobody: { can: () => true },
}

const start = (): Promise<Server> => startServer({ authenticate: async ({ token }) => CALLERS[token ?? '']! })
const shows = (...ids: readonly number[]): Uint8Array =>
  encodeAwareness(ids.map((clientId) => ({ clientId, clock: 1, json: '{}' })))

interface Announcing {
  announce(update: Uint8Array): Promise<void>
  leave(): void
}

const ways: readonly { readonly name: string; open(server: Server, token: string): Promise<Announcing> }[] = [
  {
    name: '/y',
    async open(server, token) {
      const client = await openY(server, `doc?token=${token}`)
      await client.next(({ type }) => type === 'step1')
      return {
        announce: async (update) => {
          client.say({ type: 'awareness', update })
          await client.settled()
        },
        leave: () => client.ws.close(),
      }
    },
  },
  {
    name: '/hocuspocus',
    async open(server, token) {
      const client = await openHocuspocus(server)
      client.say({ type: 'token', token })
      await client.next(({ type }) => type === 'authenticated')
      return {
        announce: async (update) => {
          client.say({ type: 'awareness', update })
          await client.settled()
        },
        leave: () => client.ws.close(),
      }
    },
  },
]

test.each(ways)("[SEC] $name: the id that a client shows of itself is its user's, and stays so", async ({ open }) => {
  const server = await start()
  const ada = await open(server, 'ada')
  await ada.announce(shows(7))
  expect(server.documents.ownerOf('doc', 7)).toBe('ada')
  const eve = await open(server, 'eve')
  await eve.announce(shows(7))
  ada.leave()
  await eventually(() => expect(server.transport.stats().connections).toBe(1))
  const late = await open(server, 'eve')
  await late.announce(encodeAwareness([{ clientId: 7, clock: 9, json: '{}' }]))
  expect(server.documents.ownerOf('doc', 7)).toBe('ada')
  expect(server.counts['id-taken']).toBe(1)
})

test.each(ways)('[SEC] $name: one connection owns one id, however many it shows', async ({ open }) => {
  const server = await start()
  const eve = await open(server, 'eve')
  await eve.announce(shows(...Array.from({ length: 50 }, (_, at) => 100 + at)))
  await eve.announce(shows(7))
  expect([100, 101, 149, 7].map((id) => server.documents.ownerOf('doc', id))).toEqual([
    'eve',
    undefined,
    undefined,
    undefined,
  ])
})

test.each(ways)('[SEC] $name: who may not write owns nothing, nor does who is nobody', async ({ open }) => {
  const server = await start()
  for (const [index, token] of ['reader', 'nobody'].entries()) {
    const client = await open(server, token)
    await client.announce(shows(7 + index))
    expect(server.documents.ownerOf('doc', 7 + index)).toBeUndefined()
  }
})
