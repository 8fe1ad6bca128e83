import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { afterEach, expect, test, vi } from 'vitest'
import { CausewayError } from '../../shared/errors/error.js'
import { WorkerPool, type WorkerPoolOptions } from './worker-pool.js'

// Other suites share the machine: only a hang should fail for its time.
vi.setConfig({ testTimeout: 30_000 })

/** Tasks that do what real ones never should. They run in threads, as source; this is their type. */
interface Tasks {
  [task: string]: (...input: never[]) => unknown
  echo(value: unknown): unknown
  upkeep(value: unknown): unknown
  /** Says through `memory` that it runs, then waits to be let go. */
  hold(memory: SharedArrayBuffer): string
  spin(): never
  crash(): never
  fill(): never
  recurse(): never
  refuse(): never
  fail(): never
}

const serveTasks = new URL('../../dist/.modules/server/document/serve-tasks.js', import.meta.url)
const errors = new URL('../../dist/.modules/shared/errors/error.js', import.meta.url)
const SOURCE = `
  const { parentPort } = require('node:worker_threads')
  Promise.all([import('${serveTasks}'), import('${errors}')]).then(([{ serveTasks }, { CausewayError }]) =>
    serveTasks(parentPort, {
      echo: (value) => value,
      upkeep: (value) => value,
      hold: (memory) => {
        const flags = new Int32Array(memory)
        Atomics.store(flags, 1, 1)
        Atomics.notify(flags, 1)
        Atomics.wait(flags, 0, 0)
        return 'let go'
      },
      spin: () => { for (;;); },
      crash: () => process.exit(3),
      fill: () => { for (const all = []; ; ) all.push(new Array(10_000).fill(all.length)) },
      recurse: function recurse() { return recurse() + 1 },
      refuse: () => { throw new CausewayError('request/invalid', { path: 'here' }, { message: 'Not so.' }) },
      fail: () => { throw new TypeError('a mistake') },
    }))`

const LONG_MS = 600_000
const pools: WorkerPool<Tasks>[] = []
const threads: Worker[] = []

afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close()))
  threads.splice(0)
})

function makePool(options: Partial<WorkerPoolOptions<Tasks>> & { source?: string; memoryMb?: number } = {}) {
  const pool = new WorkerPool<Tasks>({
    threads: 1,
    budgetMs: LONG_MS,
    queueLimit: 100,
    idleMs: LONG_MS,
    priorities: {
      echo: 'interactive',
      upkeep: 'background',
      hold: 'interactive',
      spin: 'interactive',
      crash: 'interactive',
      fill: 'interactive',
      recurse: 'interactive',
      refuse: 'interactive',
      fail: 'interactive',
    },
    spawn: () => {
      const thread = new Worker(options.source ?? SOURCE, {
        eval: true,
        resourceLimits: { maxOldGenerationSizeMb: options.memoryMb ?? 64 },
      })
      threads.push(thread)
      return thread
    },
    ...options,
  })
  pools.push(pool)
  return pool
}

/** A task that occupies a thread until it is let go. */
async function occupy(pool: WorkerPool<Tasks>): Promise<{ done: Promise<string>; letGo: () => void }> {
  const flags = new Int32Array(new SharedArrayBuffer(8))
  const done = pool.run('hold', flags.buffer)
  done.catch(() => undefined)
  while (Atomics.load(flags, 1) === 0) await setImmediate()
  return {
    done,
    letGo: () => {
      Atomics.store(flags, 0, 1)
      Atomics.notify(flags, 0)
    },
  }
}

const rejection = (promise: Promise<unknown>): Promise<CausewayError> =>
  promise.then(
    () => Promise.reject(new Error('it was fulfilled')),
    (error: unknown) => {
      expect(error).toBeInstanceOf(CausewayError)
      return error as CausewayError
    },
  )

test('a task gets what it was given and gives back what it has', async () => {
  const pool = makePool()
  const shared = new Uint8Array([9, 1, 2, 9])
  const value = { bytes: shared.subarray(1, 3), list: [new Uint8Array([3])], text: 'x' }
  expect(await pool.run('echo', value)).toEqual(value)
  expect(shared).toEqual(new Uint8Array([9, 1, 2, 9]))
})

test('threads start with the first task, never more than there is work for', async () => {
  const pool = makePool({ threads: 3 })
  expect(pool.stats().threads).toBe(0)
  await pool.run('echo', 1)
  await pool.run('echo', 2)
  expect(pool.stats()).toMatchObject({ threads: 1, running: 0 })
  const held = [await occupy(pool), await occupy(pool), await occupy(pool)]
  const waiting = pool.run('echo', 3)
  expect(pool.stats()).toMatchObject({ threads: 3, running: 3, waiting: { interactive: 1 } })
  for (const { letGo } of held) letGo()
  expect(await waiting).toBe(3)
})

test('an idle thread ends by itself, and the next task starts another', async () => {
  const pool = makePool({ idleMs: 1 })
  await pool.run('echo', 1)
  await once(threads[0]!, 'exit')
  expect(pool.stats().threads).toBe(0)
  expect(await pool.run('echo', 2)).toBe(2)
})

test('a task over its budget costs its thread, and nobody else anything', async () => {
  const pool = makePool({ threads: 2, budgetMs: 1_500 })
  const spinning = rejection(pool.run('spin'))
  const others = Promise.all([1, 2, 3].map((value) => pool.run('echo', value)))
  expect(await others).toEqual([1, 2, 3])
  const error = await spinning
  expect(error.code).toBe('document/too-slow')
  expect(error.details).toEqual({ task: 'spin', limit: '1500 ms' })
  expect(await pool.run('echo', 4)).toBe(4)
  expect(pool.stats()).toMatchObject({
    killed: 1,
    tasks: { spin: { count: 1, failed: 1 }, echo: { count: 4, failed: 0 } },
  })
})

test('who waits behind a task over its budget is served by a new thread', async () => {
  const pool = makePool({ budgetMs: 1_000 })
  const spinning = rejection(pool.run('spin'))
  const waiting = pool.run('echo', 'served')
  expect((await spinning).code).toBe('document/too-slow')
  expect(await waiting).toBe('served')
  expect(threads).toHaveLength(2)
})

test.each([
  ['crash', 'internal/failure', { task: 'crash' }],
  ['fill', 'document/too-expensive', { task: 'fill', limit: 'memory' }],
] as const)('a thread lost to %s is replaced, and only its task fails', async (task, code, details) => {
  const pool = makePool({ memoryMb: 24 })
  const lost = rejection(pool.run(task))
  const waiting = pool.run('echo', 'served')
  expect(await lost).toMatchObject({ code, details })
  expect(await waiting).toBe('served')
})

test.each([
  ['refuse', { code: 'request/invalid', details: { path: 'here' }, message: 'Not so.' }],
  ['recurse', { code: 'document/too-expensive', details: { task: 'recurse' } }],
  ['fail', { code: 'internal/failure', cause: expect.objectContaining({ message: 'a mistake' }) }],
] as const)('an error is an answer: %s keeps its thread', async (task, expected) => {
  const pool = makePool()
  expect(await rejection(pool.run(task))).toMatchObject(expected)
  expect(await pool.run('echo', 1)).toBe(1)
  expect(threads).toHaveLength(1)
})

test('what cannot be sent fails alone', async () => {
  const pool = makePool()
  const error = await rejection(pool.run('echo', () => 1))
  expect(error.code).toBe('internal/failure')
  expect(await pool.run('echo', 1)).toBe(1)
})

test('interactive tasks go first, and background ones get a turn all the same', async () => {
  const pool = makePool()
  const { letGo } = await occupy(pool)
  const order: string[] = []
  const started = [
    ...Array.from({ length: 2 }, (_, at) => pool.run('upkeep', `upkeep ${at}`)),
    ...Array.from({ length: 10 }, (_, at) => pool.run('echo', `echo ${at}`)),
  ].map((task) => task.then((value) => order.push(value as string)))
  letGo()
  await Promise.all(started)
  expect(order).toEqual([
    ...Array.from({ length: 8 }, (_, at) => `echo ${at}`),
    'upkeep 0',
    'echo 8',
    'echo 9',
    'upkeep 1',
  ])
})

test('each priority has its own bounded queue', async () => {
  const pool = makePool({ queueLimit: 2 })
  const { letGo } = await occupy(pool)
  const upkeep = [pool.run('upkeep', 1), pool.run('upkeep', 2)]
  const error = await rejection(pool.run('upkeep', 3))
  expect(error).toMatchObject({ code: 'document/busy', details: { task: 'upkeep' } })
  const echo = pool.run('echo', 4)
  expect(pool.stats()).toMatchObject({ refused: 1, waiting: { interactive: 1, background: 2 } })
  letGo()
  expect(await Promise.all([...upkeep, echo])).toEqual([1, 2, 4])
})

test('closing ends everything at once and says so', async () => {
  const pool = makePool()
  const { done } = await occupy(pool)
  const waiting = pool.run('echo', 1)
  const ends = [rejection(done), rejection(waiting)]
  await pool.close()
  expect(pool.stats()).toMatchObject({ threads: 0, running: 0, waiting: { interactive: 0 } })
  for (const error of await Promise.all(ends)) expect(error.code).toBe('cell/draining')
  expect((await rejection(pool.run('echo', 2))).code).toBe('cell/draining')
})

test('closing a pool that never worked is nothing', async () => {
  const pool = makePool()
  await pool.close()
  expect(threads).toHaveLength(0)
})

test('a thread that cannot start is not tried for ever', async () => {
  const pool = makePool({ source: 'throw new Error("no such module")' })
  const errors = await Promise.all([rejection(pool.run('echo', 1)), rejection(pool.run('upkeep', 2))])
  for (const error of errors) {
    expect(error.code).toBe('internal/failure')
    expect((error.cause as Error).message).toContain('no such module')
  }
  expect(threads).toHaveLength(1)
})
