/** A cell for development: real processes, their ends, and what becomes of one when another ends. */
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { freePorts } from '../../server/cli/free-ports.js'
import { CommandProcess, isAlive } from '../support/command-process.js'
import { temporaryDirectory } from '../support/replica-process.js'

interface Ready {
  readonly cell: string
  readonly port: number
  readonly url: string
  readonly replicas: readonly {
    readonly name: string
    readonly port: number
    readonly url: string
    readonly pid: number
  }[]
}

const started: CommandProcess[] = []
const directories: ReturnType<typeof temporaryDirectory>[] = []
afterEach(async () => {
  for (const command of started.splice(0)) {
    command.child.kill('SIGKILL')
    await command.ended
  }
  for (const { path, remove } of directories.splice(0)) {
    // They should have gone with their parent: whoever stayed must not disturb other tests.
    for (const pid of replicasOf(path)) killIfAlive(pid)
    remove()
  }
})

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It went by itself.
  }
}

/** Process ids of replicas that keep their data in a folder of this one. */
function replicasOf(data: string): number[] {
  const isOne = (pid: number): boolean => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`--data=${data}/`)
    } catch {
      return false
    }
  }
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && isOne(pid))
}

function dataFolder(): string {
  const directory = temporaryDirectory()
  directories.push(directory)
  return directory.path
}

function dev(args: readonly string[]): CommandProcess {
  const command = new CommandProcess(['dev', '--port', '0', ...args])
  started.push(command)
  return command
}

async function devJson(args: readonly string[]): Promise<CommandProcess & { ready: Ready }> {
  const command = dev(['--json', ...args])
  return Object.assign(command, { ready: (await command.event('ready')) as unknown as Ready })
}

const statusOf = async (url: string): Promise<number> => (await fetch(`${url}/readyz`)).status
const pidsOf = ({ replicas }: Ready): number[] => replicas.map(({ pid }) => pid)
const livingOf = (pids: readonly number[]): string => pids.filter(isAlive).join(' ')

test('three replicas are ready when it says so; SIGTERM ends all of them, and it ends with 0', async () => {
  const cell = await devJson(['--data', dataFolder()])
  const { replicas, port, url } = cell.ready
  expect(cell.ready).toMatchObject({ event: 'ready', cell: 'dev' })
  expect(replicas.map(({ name }) => name)).toEqual(['a', 'b', 'c'])
  expect(replicas[0]).toMatchObject({ port, url })
  expect(new Set(replicas.flatMap((replica) => [replica.port, replica.pid])).size).toBe(6)
  expect(await Promise.all(replicas.map((replica) => statusOf(replica.url)))).toEqual([200, 200, 200])
  expect(await Promise.all(replicas.map(async (replica) => (await fetch(`${replica.url}/`)).status))).toHaveLength(3)
  cell.child.kill('SIGTERM')
  expect(await cell.ended).toBe(0)
  expect(livingOf(pidsOf(cell.ready))).toBe('')
})

test('a replica that is killed comes back at its address, as another process, and the others stay', async () => {
  const cell = await devJson(['--data', dataFolder()])
  const [a, b, c] = cell.ready.replicas
  process.kill(b!.pid, 'SIGKILL')
  expect(await cell.event('replica-ended')).toMatchObject({ name: 'b', how: 'SIGKILL' })
  const again = await cell.event('replica-ready')
  expect(again).toMatchObject({ name: 'b', port: b!.port, url: b!.url })
  expect(again['pid']).not.toBe(b!.pid)
  expect(await statusOf(b!.url)).toBe(200)
  expect([a!.pid, c!.pid].map(isAlive)).toEqual([true, true])
  cell.child.kill('SIGINT')
  expect(await cell.ended).toBe(0)
  expect(isAlive(again['pid'] as number)).toBe(false)
})

test.each(['when it serves', 'while it starts'])('no replica outlives a parent that is killed %s', async (when) => {
  const data = dataFolder()
  const command = dev(['--json', '--data', data])
  if (when === 'when it serves') await command.event('ready')
  await expect.poll(() => replicasOf(data).length).toBe(3)
  const pids = replicasOf(data)
  command.child.kill('SIGKILL')
  await expect.poll(() => livingOf(pids)).toBe('')
  expect(replicasOf(data)).toEqual([])
})

test('Ctrl-C in a terminal, which reaches a whole group of processes, lets each replica drain to its end', async () => {
  const args = ['dev', '--json', '--port', '0', '--data', dataFolder()]
  const cell = new CommandProcess(args, { CAUSEWAY_LOG_LEVEL: 'info' }, { ownGroup: true })
  started.push(cell)
  await cell.event('ready')
  process.kill(-cell.pid, 'SIGINT')
  expect(await cell.ended).toBe(0)
  expect(cell.err.match(/"event":"replica\/stopped"/g)).toHaveLength(3)
})

test('a second signal ends everything at once', async () => {
  const cell = await devJson(['--data', dataFolder()])
  const [stopped] = pidsOf(cell.ready)
  process.kill(stopped!, 'SIGSTOP') // It cannot drain.
  cell.child.kill('SIGINT')
  await expect.poll(() => pidsOf(cell.ready).filter(isAlive).length).toBe(1)
  cell.child.kill('SIGINT')
  expect(await cell.ended).toBe(130)
  await expect.poll(() => livingOf(pidsOf(cell.ready))).toBe('')
})

test('an address that is taken is said, in the words of the replica that wanted it, and nothing stays behind', async () => {
  const [first] = await freePorts(1)
  const port = first! + 1
  const taken = createServer().listen(port, '127.0.0.1')
  await once(taken, 'listening')
  const command = new CommandProcess(['dev', '--port', String(first), '--data', dataFolder()])
  started.push(command)
  expect(await command.ended).toBe(2)
  expect(command.err).toBe(`config/invalid: listen: 127.0.0.1:${port} is in use by another program.\n`)
  expect(command.out).toBe('')
  taken.close()
})

test('a folder of one replica grows to three, and is not used by fewer afterwards', async () => {
  const data = dataFolder()
  const one = await devJson(['--replicas', '1', '--data', data])
  expect(one.ready.replicas).toHaveLength(1)
  const put = await fetch(`${one.ready.url}/v1/documents/notes`, {
    method: 'PATCH',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ operations: [{ op: 'insertText', path: ['title'], text: 'kept' }] }),
  })
  expect(put.status).toBe(200)
  one.child.kill('SIGTERM')
  expect(await one.ended).toBe(0)

  const three = await devJson(['--data', data])
  expect(three.ready.replicas).toHaveLength(3)
  expect(await (await fetch(`${three.ready.url}/v1/documents/notes`)).text()).toContain('kept')
  three.child.kill('SIGTERM')
  expect(await three.ended).toBe(0)

  const fewer = dev(['--replicas', '1', '--data', data])
  expect(await fewer.ended).toBe(2)
  expect(fewer.err).toMatch(/^config\/invalid: replicas must not be less than the 3 that .* holds; /)
})

test('greets with all addresses, and says loudly that access is open', async () => {
  const data = dataFolder()
  mkdirSync(join(data, 'c'))
  writeFileSync(join(data, 'c', 'something'), '') // Of another time: it does not disturb.
  const command = dev(['--replicas', '3', '--data', data])
  await command.line((line) => line.includes('Ctrl-C'))
  const urls = [...command.out.matchAll(/(http:\/\/127\.0\.0\.1:\d+)\/ {3}replica ([a-c]), pid \d+$/gm)]
  expect(urls.map(([, , name]) => name)).toEqual(['a', 'b', 'c'])
  expect(await Promise.all(urls.map(([, url]) => statusOf(url!)))).toEqual([200, 200, 200])
  expect(command.out).toContain('ACCESS IS OPEN')
  expect(command.out).toContain(data)
  command.child.kill('SIGINT')
  expect(await command.ended).toBe(0)
})
