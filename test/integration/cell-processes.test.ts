/** The tools of tests with a cell of processes: a network that breaks as told, and processes that do. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { type CellProcesses, cellStarter } from '../support/cell-processes.js'
import { isAlive } from '../support/command-process.js'
import { TcpProxy } from '../support/tcp-proxy.js'

describe('the network', () => {
  const ends: (() => void | Promise<void>)[] = []
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end()
  })

  /** One side of a connection, and what it has heard. */
  class Side {
    readonly socket: Socket
    heard = ''
    isEnded = false
    isReset = false
    constructor(socket: Socket) {
      this.socket = socket
      ends.push(() => void socket.destroy())
      socket.setEncoding('utf8').on('data', (text: string) => {
        this.heard += text
      })
      socket.on('end', () => {
        this.isEnded = true
      })
      socket.on('error', (error: NodeJS.ErrnoException) => {
        this.isReset ||= error.code === 'ECONNRESET'
      })
    }
  }

  /** A proxy before a server that keeps its connections. */
  async function wired() {
    const accepted: Side[] = []
    const server = createServer({ allowHalfOpen: true }, (socket) => accepted.push(new Side(socket))).listen(
      0,
      '127.0.0.1',
    )
    await once(server, 'listening')
    ends.push(() => void server.close())
    const proxy = await TcpProxy.start((server.address() as AddressInfo).port)
    ends.push(() => proxy.close())
    const dial = (): Side => new Side(connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true }))
    return { proxy, accepted, dial }
  }

  /** As `wired`, with one connection that is open at both sides. */
  async function connected() {
    const world = await wired()
    const near = world.dial()
    near.socket.write('hello')
    await expect.poll(() => world.accepted[0]?.heard).toBe('hello')
    return { ...world, near, far: world.accepted[0]! }
  }

  test('passes everything on, ends included, each direction by itself', async () => {
    const { near, far } = await connected()
    const much = 'x'.repeat(3_000_000)
    near.socket.end(much)
    await expect.poll(() => far.isEnded).toBe(true)
    expect(far.heard.length).toBe(much.length + 5)
    far.socket.end('bye')
    await expect.poll(() => near.isEnded).toBe(true)
    expect(near.heard).toBe('bye')
  })

  test('a cut holds back one direction, and what was held arrives in order when it is healed', async () => {
    const { proxy, near, far } = await connected()
    proxy.forth.isCut = true
    near.socket.write(' held')
    far.socket.write('one ')
    await expect.poll(() => near.heard).toBe('one ')
    near.socket.end(' and over')
    far.socket.write('two')
    await expect.poll(() => near.heard).toBe('one two')
    expect([far.heard, far.isEnded]).toEqual(['hello', false])
    proxy.forth.isCut = false
    await expect.poll(() => far.isEnded).toBe(true)
    expect(far.heard).toBe('hello held and over')
  })

  test('no connection is opened across a cut; it is when it is healed', async () => {
    const { proxy, accepted, dial } = await wired()
    proxy.forth.isCut = true
    dial().socket.write('late')
    await expect.poll(() => proxy.accepted).toBe(1)
    expect(accepted).toEqual([])
    proxy.forth.isCut = false
    await expect.poll(() => accepted[0]?.heard).toBe('late')
  })

  test('a side that dies is not noticed across a cut, and is afterwards', async () => {
    const { proxy, near, far } = await connected()
    proxy.back.isCut = true
    far.socket.resetAndDestroy()
    near.socket.write('still there?')
    const other = await connected() // As long as this takes.
    expect([near.isReset, near.isEnded]).toEqual([false, false])
    expect(other.near.isReset).toBe(false)
    proxy.back.isCut = false
    await expect.poll(() => near.isReset).toBe(true)
  })

  test('who sends without end into a cut is slowed down, and nothing is lost', async () => {
    const { proxy, near, far } = await connected()
    proxy.forth.isCut = true
    const much = 'x'.repeat(20_000_000)
    let isFlushed = false
    near.socket.write(much, () => {
      isFlushed = true
    })
    await connected()
    expect(isFlushed).toBe(false)
    proxy.forth.isCut = false
    await expect.poll(() => far.heard.length).toBe(much.length + 5)
  })

  test('a delay holds everything back for so long, and keeps the order', async () => {
    const { proxy, near, far } = await connected()
    proxy.forth.delayMs = 300
    const sentMs = performance.now()
    near.socket.write(' slow')
    far.socket.write('at once')
    await expect.poll(() => near.heard).toBe('at once')
    proxy.forth.delayMs = 0
    near.socket.write(' fast')
    await expect.poll(() => far.heard).toBe('hello slow fast')
    expect(performance.now() - sentMs).toBeGreaterThanOrEqual(299)
  })

  test('a reset ends both sides, and the way stays open', async () => {
    const { proxy, near, far, accepted, dial } = await connected()
    proxy.reset()
    await expect.poll(() => [near.isReset, far.isReset]).toEqual([true, true])
    dial().socket.write('again')
    await expect.poll(() => accepted[1]?.heard).toBe('again')
  })
})

describe('the processes', () => {
  const startCell = cellStarter()
  const all = ['a', 'b', 'c']

  async function write(cell: CellProcesses, name: string, text: string): Promise<void> {
    const response = await fetch(`${cell.replica(name).http}/v1/documents/notes?w=local`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ operations: [{ op: 'insertText', path: ['title'], text }] }),
    })
    expect(response.status).toBe(200)
  }

  /** Whether `/healthz` of `to` answers over the way that `from` has to it. */
  const reaches = async (cell: CellProcesses, from: string, to: string, signal?: AbortSignal): Promise<boolean> =>
    (await fetch(`${cell.peerUrl(from, to).replace('ws:', 'http:')}/healthz`, signal ? { signal } : {})).ok

  test('each replica is told its own ways to the others, and each way is one of those that break', async () => {
    const cell = await startCell()
    expect(new Set(all.flatMap((from) => all.map((to) => cell.peerUrl(from, to)))).size).toBe(9)
    const pairs = all.flatMap((from) => all.filter((to) => to !== from).map((to) => [from, to] as const))
    expect(await Promise.all(pairs.map(([from, to]) => reaches(cell, from, to)))).not.toContain(false)

    cell.partition(['a'], ['b', 'c'])
    const late = new AbortController()
    const across = pairs.filter((pair) => pair.includes('a'))
    const answered: string[] = []
    const waiting = across.map(async ([from, to]) => {
      await reaches(cell, from, to, late.signal)
      answered.push(`${from} ${to}`)
    })
    expect(await Promise.all([reaches(cell, 'b', 'c'), reaches(cell, 'c', 'b')])).toEqual([true, true])
    expect(answered).toEqual([])
    cell.heal()
    await Promise.all(waiting)
    expect(answered.length).toBe(4)

    // One way: the question arrives, the answer does not.
    cell.cut('b', 'a')
    const question = reaches(cell, 'a', 'b', late.signal)
    expect(await reaches(cell, 'a', 'c')).toBe(true)
    cell.reset('a', 'b')
    await expect(question).rejects.toThrow()
    late.abort()
  })

  test('a stopped one stands still and goes on where it stood', async () => {
    const cell = await startCell({ names: ['a', 'b'] })
    await cell.stop('b')
    const { pid, http } = cell.replica('b')
    let isAnswered = false
    const answer = fetch(`${http}/healthz`).then(({ ok }) => {
      isAnswered = true
      return ok
    })
    expect(await reaches(cell, 'b', 'a')).toBe(true)
    expect(isAnswered).toBe(false)
    cell.cont('b')
    expect(await answer).toBe(true)
    expect([cell.replica('b').pid, isAlive(pid)]).toEqual([pid, true])
  })

  test('a killed one starts again on its disk, on an empty one, or on an old copy', async () => {
    const cell = await startCell({ names: ['a'] })
    const read = async (): Promise<string> => (await fetch(`${cell.replica('a').http}/v1/documents/notes`)).text()
    await write(cell, 'a', 'old ')
    await cell.stop('a')
    const copy = cell.copyData('a')
    cell.cont('a')
    expect(() => cell.copyData('a')).toThrow(/runs/)
    await write(cell, 'a', 'new ')

    const { pid } = cell.replica('a')
    expect(await cell.kill('a')).toBe(null)
    expect(isAlive(pid)).toBe(false)
    await cell.restart('a')
    expect(cell.replica('a').pid).not.toBe(pid)
    expect(await read()).toMatch(/new old|old new/)

    await cell.restart('a', { wipe: true })
    expect(await read()).toContain('document/not-found')
    await cell.restart('a', { restoreFrom: copy })
    expect(await read()).toMatch(/old(?!.*new)/)
    expect(cell.replica('a').out).toContain('"event":"ready"')
  })

  test('a replica that ends instead of becoming ready is told, and nothing is left of a cell afterwards', async () => {
    const cell = await startCell()
    await cell.kill('c')
    await expect(cell.restart('c', { args: ['--workers', '0'] })).rejects.toThrow(/workers must be at least 1/)
    await cell.stop('a')
    const { pid, data } = cell.replica('a')
    await cell.close()
    expect([isAlive(pid), isAlive(cell.replica('b').pid), existsSync(data), existsSync(join(data, '..'))]).toEqual(
      Array.from({ length: 4 }, () => false),
    )
  })
})
