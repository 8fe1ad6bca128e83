/** Unmodified clients from npm in a cell of three: what was promised to them holds when they, or replicas, go elsewhere. */
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import * as Y from 'yjs'
import { Random } from '../../../shared/base/random.js'
import { type CellProcesses, cellStarter } from '../../support/cell-processes.js'
import { StockClient } from '../../support/stock-client.js'

const startCell = cellStarter()
const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end()
})

const NAMES = ['a', 'b', 'c'] as const

function open(cell: CellProcesses, replica: string, params: Record<string, string> = {}, doc?: Y.Doc): StockClient {
  const client = new StockClient(cell.replica(replica).url, 'stock', params, doc)
  ends.push(() => client.close())
  return client
}

async function synced(...clients: readonly StockClient[]): Promise<void> {
  for (const { provider } of clients) await expect.poll(() => provider.synced).toBe(true)
}

interface Answer {
  readonly status: number
  readonly text: string
}

async function read(cell: CellProcesses, replica: string, query: string, session?: string): Promise<Answer> {
  const response = await fetch(`${cell.replica(replica).http}/v1/documents/stock?types=t:text&${query}`, {
    headers: session === undefined ? {} : { 'Causeway-Session': session },
  })
  const body = (await response.json()) as { types?: { t: string } }
  return { status: response.status, text: body.types?.t ?? '' }
}

async function textAt(cell: CellProcesses, replica: string): Promise<string> {
  return (await read(cell, replica, 'level=eventual')).text
}

/** Until it has met the others, a member counts for no `fresh` read. */
async function restart(cell: CellProcesses, replica: string): Promise<void> {
  await cell.restart(replica)
  expect((await read(cell, replica, 'level=fresh&r=3&timeoutMs=20000')).status).toBe(200)
}

/** A provider of Hocuspocus on a socket of its own, or on one that others share. */
interface Hocuspocus {
  readonly doc: Y.Doc
  readonly provider: HocuspocusProvider
  /** The newest session token that it was told. */
  token: string | undefined
}

function socketTo(cell: CellProcesses, replica: string, query = ''): HocuspocusProviderWebsocket {
  const url = `${cell.replica(replica).url}/hocuspocus${query}`
  const socket = new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: WebSocket })
  ends.push(() => socket.destroy())
  return socket
}

function attach(
  socket: HocuspocusProviderWebsocket,
  name = 'stock',
  { doc = new Y.Doc(), token = null }: { readonly doc?: Y.Doc; readonly token?: string | null } = {},
): Hocuspocus {
  const provider = new HocuspocusProvider({ websocketProvider: socket, name, document: doc, token })
  const client: Hocuspocus = { doc, provider, token: undefined }
  provider.on('stateless', ({ payload }: { payload: string }) => {
    const said = JSON.parse(payload) as { type: string; token: string }
    if (said.type === 'causeway/session') client.token = said.token
  })
  provider.attach()
  ends.push(() => provider.destroy())
  return client
}

describe('[DU2] [DU3] the replica is killed in mid-sentence', () => {
  test.each([1, 2])(
    'y-websocket: what was echoed is at the others, and nothing typed is lost (seed %s)',
    async (seed) => {
      const random = new Random(seed)
      const cell = await startCell()
      const [first, ...others] = NAMES
      const client = open(cell, first)
      await synced(client)
      let typed = 0
      let at: string = first
      for (let round = 0; round < 2; round++) {
        const untilEchoed = typed + 5 + random.below(40)
        while (client.echoed.size < untilEchoed) {
          for (let burst = random.below(4); burst >= 0; burst--) client.type(`[${typed++}]`)
          await new Promise((resolve) => setTimeout(resolve, random.below(3)))
        }
        await cell.kill(at)
        const echoed = [...client.echoed]
        client.provider.disconnect()
        const rest = NAMES.filter((name) => name !== at)
        for (const name of rest) {
          const { status, text } = await read(cell, name, 'level=fresh&timeoutMs=20000')
          expect(status).toBe(200)
          expect(echoed.filter((edit) => !text.includes(edit))).toEqual([])
        }
        for (let offline = 0; offline < 3; offline++) client.type(`[${typed++}]`)
        const next = rest[random.below(rest.length)]!
        client.hopTo(cell.replica(next).url)
        await expect.poll(() => textAt(cell, next)).toBe(client.text)
        await restart(cell, at)
        at = next
      }
      expect(client.edits.filter((edit) => !client.text.includes(edit))).toEqual([])
      for (const name of [first, ...others]) await expect.poll(() => textAt(cell, name)).toBe(client.text)
    },
  )

  test('Hocuspocus: what counted as synced is at the others, and nothing typed is lost', async () => {
    const cell = await startCell()
    const doc = new Y.Doc()
    let typed = 0
    const type = (): void => doc.getText('t').insert(doc.getText('t').length, `[${typed++}]`)
    let socket = socketTo(cell, 'a')
    let { provider } = attach(socket, 'stock', { doc })
    await expect.poll(() => provider.isSynced).toBe(true)
    let saved = ''
    const note = ({ number }: { number: number }): void => {
      if (number === 0) saved = doc.getText('t').toString()
    }
    provider.on('unsyncedChanges', note)
    for (const at of ['a', 'b']) {
      const before = saved
      for (let round = 0; round < 20 || saved === before; round++) {
        type()
        await new Promise((resolve) => setTimeout(resolve, (round % 4) * 10))
      }
      await cell.kill(at)
      const savedAtKill = saved
      provider.destroy()
      socket.destroy()
      for (const name of NAMES.filter((other) => other !== at)) {
        expect((await read(cell, name, 'level=fresh&timeoutMs=20000')).text).toContain(savedAtKill)
      }
      type()
      const next = at === 'a' ? 'b' : 'c'
      socket = socketTo(cell, next)
      provider = attach(socket, 'stock', { doc }).provider
      provider.on('unsyncedChanges', note)
      await expect.poll(() => provider.isSynced && provider.unsyncedChanges).toBe(0)
      await restart(cell, at)
    }
    for (const name of NAMES) await expect.poll(() => textAt(cell, name)).toBe(doc.getText('t').toString())
    expect(doc.getText('t').toString()).toBe(Array.from({ length: typed }, (_, n) => `[${n}]`).join(''))
  })
})

describe('[SG] a session token', () => {
  test('y-websocket: who shows it to a replica that is behind waits, is refused, and never sees less', async () => {
    const cell = await startCell()
    const writer = open(cell, 'a', { session: '' })
    await synced(writer)
    cell.partition(['c'])
    writer.type('seen')
    await expect.poll(() => writer.echoed.size).toBe(1)
    await expect.poll(() => writer.token).toBeDefined()
    const session = writer.token!
    expect(await read(cell, 'c', 'timeoutMs=100', session)).toMatchObject({ status: 503 })

    const early = open(cell, 'c', { session })
    await expect.poll(() => early.closedWith.length).toBeGreaterThan(0)
    expect(early.closedWith[0]).toBe(4503)
    expect(early.provider.synced).toBe(false)
    early.close()

    const patient = open(cell, 'c', { session })
    const textWhenSynced = new Promise((resolve) => patient.provider.once('sync', () => resolve(patient.text)))
    const waiting = read(cell, 'c', 'timeoutMs=30000', session)
    cell.heal()
    expect(await textWhenSynced).toBe('seen')
    expect(await waiting).toEqual({ status: 200, text: 'seen' })
  })

  test('Hocuspocus: the same, by its token or its address', async () => {
    const cell = await startCell()
    const writer = attach(socketTo(cell, 'a'), 'stock', { token: ';session=' })
    await expect.poll(() => writer.provider.isSynced).toBe(true)
    cell.partition(['c'])
    writer.doc.getText('t').insert(0, 'seen')
    await expect.poll(() => writer.provider.unsyncedChanges).toBe(0)
    await expect.poll(() => writer.token).toBeDefined()
    const session = writer.token!
    expect(await read(cell, 'c', 'timeoutMs=100', session)).toMatchObject({ status: 503 })
    const readers = [
      attach(socketTo(cell, 'c'), 'stock', { token: `;session=${session}` }),
      attach(socketTo(cell, 'c', `?session=${encodeURIComponent(session)}`)),
    ]
    const shown = readers.map(
      ({ provider, doc }) =>
        new Promise((resolve) => provider.on('synced', () => resolve(doc.getText('t').toString()))),
    )
    cell.heal()
    expect(await Promise.all(shown)).toEqual(['seen', 'seen'])
  })

  test('one that nobody can read begins a session anew', async () => {
    const cell = await startCell({ names: ['a'] })
    const client = open(cell, 'a', { session: 'no-token' })
    await synced(client)
    client.type('x')
    await expect.poll(() => client.token).toBeDefined()
    expect(await read(cell, 'a', '', client.token)).toEqual({ status: 200, text: 'x' })
  })
})

test('[SG2] a client that shows more than the replica has gets all that belongs to it', async () => {
  const cell = await startCell()
  const earlier = open(cell, 'a')
  const later = open(cell, 'a')
  await synced(earlier, later)
  cell.delay(150, 'a', 'b')
  earlier.doc.getMap('m').set('earlier', true)
  await expect.poll(() => later.doc.getMap('m').has('earlier')).toBe(true)
  later.doc.getMap('n').set('later', true)
  const ahead = async (): Promise<number> => {
    const response = await fetch(`${cell.replica('b').http}/v1/cell`)
    const { members } = (await response.json()) as { members: { name: string; lagOps: number }[] }
    return members.find(({ name }) => name === 'b')!.lagOps
  }
  for (let round = 0; (await ahead()) === 0; round++) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    if (round % 40 === 39) later.doc.getMap('n').set('later', round)
  }
  // It has what came last, and not what that was written after: no client is in such a state, which shows what is sent.
  const doc = new Y.Doc()
  Y.applyUpdate(doc, onlyOf(later.doc))
  const hopped = open(cell, 'b', {}, doc)
  const has = new Promise((resolve) => {
    hopped.provider.once('sync', () => resolve(doc.getMap('m').has('earlier')))
  })
  expect(await has).toBe(true)
})

/** What a document's own client wrote. */
function onlyOf(doc: Y.Doc): Uint8Array {
  const others = Y.decodeStateVector(Y.encodeStateVector(doc))
  others.delete(doc.clientID)
  return Y.encodeStateAsUpdate(doc, Y.encodeStateVector(others))
}

test('[DU2] the echo comes when a majority has it on disk; others see it at once, and `w=local` is echoed at once', async () => {
  const cell = await startCell()
  const [writer, hasty, reader] = [open(cell, 'a'), open(cell, 'a', { w: 'local' }), open(cell, 'a')]
  const hocuspocus = attach(socketTo(cell, 'a'))
  await synced(writer, hasty, reader)
  await expect.poll(() => hocuspocus.provider.isSynced).toBe(true)
  for (const name of ['b', 'c']) await cell.stop(name)
  writer.type('saved?')
  hocuspocus.doc.getMap('h').set('saved', true)
  await expect.poll(() => reader.text).toBe('saved?')
  await expect.poll(() => reader.doc.getMap('h').has('saved')).toBe(true)
  hasty.type(' local')
  await expect.poll(() => hasty.echoed.size).toBe(1)
  // A later edit of somebody else is shown to who waits.
  await expect.poll(() => writer.text).toBe('saved? local')
  expect([writer.echoed.size, hocuspocus.provider.unsyncedChanges]).toEqual([0, 1])
  cell.cont('b')
  await expect.poll(() => writer.echoed.size).toBe(1)
  await expect.poll(() => hocuspocus.provider.unsyncedChanges).toBe(0)
  expect(writer.closedWith).toEqual([])
  cell.cont('c')
})

test('[CV] [CD] two clients type at different replicas; on one socket no comment comes before the text that it is about', async () => {
  const cell = await startCell()
  cell.delay(60, 'a', 'c')
  const socket = socketTo(cell, 'c')
  const [text, comments] = [attach(socket, 'text'), attach(socket, 'comments')]
  const author = attach(socketTo(cell, 'a'), 'text')
  const critics = socketTo(cell, 'b')
  const [seen, critic] = [attach(critics, 'text'), attach(critics, 'comments')]
  for (const { provider } of [text, comments, author, seen, critic]) {
    await expect.poll(() => provider.isSynced).toBe(true)
  }
  seen.doc.on('update', () => {
    // Whatever of the text is there is commented on, at once.
    const list = critic.doc.getArray<number>('n')
    if (list.length < seen.doc.getArray('n').length) list.push([list.length])
  })
  const early: string[] = []
  comments.doc.on('update', () => {
    const [commented, written] = [comments.doc, text.doc].map((doc) => doc.getArray('n').length) as [number, number]
    if (commented > written) early.push(`${commented} comments on ${written}`)
  })
  for (let n = 0; n < 25; n++) {
    author.doc.getArray('n').push([n])
    await expect.poll(() => critic.doc.getArray('n').length, { interval: 2 }).toBe(n + 1)
  }
  await expect.poll(() => comments.doc.getArray('n').length).toBe(25)
  expect(early).toEqual([])

  const [left, right] = [open(cell, 'a'), open(cell, 'b')]
  await synced(left, right)
  for (let n = 0; n < 20; n++) {
    left.type(`l${n} `)
    right.type(`r${n} `)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await expect.poll(() => left.echoed.size + right.echoed.size).toBe(40)
  await expect.poll(() => left.text.length).toBe([...left.edits, ...right.edits].join('').length)
  await expect.poll(() => right.text).toBe(left.text)
  await expect.poll(() => textAt(cell, 'c')).toBe(left.text)
})

test('[DU3] a large first sync through one replica is whole at another; what was typed offline goes through a third', async () => {
  const cell = await startCell()
  const doc = new Y.Doc()
  const map = doc.getMap<string>('m')
  for (let n = 0; n < 20_000; n++) map.set(`key-${n}`, 'x'.repeat(90))
  const writer = open(cell, 'a', {}, doc)
  await synced(writer)
  const reader = open(cell, 'c')
  await expect.poll(() => reader.doc.getMap('m').size).toBe(20_000)

  writer.provider.disconnect()
  writer.type('offline ')
  reader.type('meanwhile ')
  await expect.poll(() => reader.echoed.size).toBe(1)
  writer.hopTo(cell.replica('b').url)
  await expect.poll(() => [...reader.text].length).toBe('offline meanwhile '.length)
  await expect.poll(() => writer.text).toBe(reader.text)
  for (const name of NAMES) await expect.poll(() => textAt(cell, name)).toBe(reader.text)
})
