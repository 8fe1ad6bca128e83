/** Processes that die, disks that fail: what was acknowledged is there afterwards. */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { Log } from '../../../server/storage/log.js'
import { openLog } from '../../../server/storage/log-client.js'
import { encodeOpBatch } from '../../../shared/protocol/op-codec.js'
import { incarnation, OpSource, temporaryDirectory, textOf } from './op-source.js'
import { canTrace, isRoot, runs, startWriter, type WriterProcess } from './processes.js'

let directory: string
let starts: number

beforeEach(() => {
  const temporary = temporaryDirectory()
  onTestFinished(() => temporary[Symbol.dispose]())
  directory = join(temporary.path, 'data')
  starts = 0
})

const open = (path = directory): Promise<Log> =>
  openLog({ directory: path, replicaName: 'a', incarnation: incarnation(++starts) })

function start(most: number, wrapper?: readonly string[]): WriterProcess {
  const writer = startWriter(directory, incarnation(++starts), most, wrapper)
  onTestFinished(() => {
    writer.child.kill('SIGKILL')
  })
  return writer
}

/** The words that are stored: they must be w1, w2, … without a gap. Returns how many. */
async function storedWords(): Promise<number> {
  const log = await open()
  const document = await log.load('words')
  const text = [document?.snapshot?.update ?? new Uint8Array(), ...(document?.tail ?? []).map(({ update }) => update)]
    .map(textOf)
    .join('')
  expect(log.recovered).toMatchObject({ quarantined: [], damaged: [] })
  expect(log.recovered.rolledBack).toBeUndefined()
  await log.close()
  const words = text.split(' ').slice(0, -1)
  expect(words).toEqual(words.map((_, index) => `w${index + 1}`))
  return words.length
}

const lastStored = ({ lines }: WriterProcess): number =>
  Number(lines.findLast((line) => line.startsWith('stored'))?.split(' ')[1] ?? 0)

test('[DU1] after kill -9 at any moment everything acknowledged is there, in order and without a gap', async () => {
  let acknowledged = 0
  for (const words of [1, 90, 7, 250, 33, 140]) {
    const writer = start(1e9)
    await writer.said('stored', words)
    writer.child.kill('SIGKILL')
    await writer.ended
    expect(lastStored(writer)).toBeGreaterThanOrEqual(acknowledged + words)
    acknowledged = await storedWords()
    expect(acknowledged).toBeGreaterThanOrEqual(lastStored(writer))
  }
})

test('a second process is refused while the first lives, and served as soon as it is dead', async () => {
  const writer = start(1e9)
  await writer.said('stored')
  const second = start(1)
  expect(await second.ended).toBe(5)
  expect(second.lines).toEqual(['refused storage/in-use'])
  await expect(open()).rejects.toMatchObject({ code: 'storage/in-use' })
  const before = lastStored(writer)
  await writer.said('stored', writer.lines.length + 5)
  expect(lastStored(writer), 'the refusals have not disturbed the first').toBeGreaterThan(before)
  writer.child.kill('SIGKILL')
  await writer.ended
  expect(await storedWords()).toBeGreaterThanOrEqual(lastStored(writer))
})

test('the lock outlives a refused attempt of the process that holds it', async () => {
  const log = await open()
  await expect(open()).rejects.toMatchObject({ code: 'storage/in-use' })
  const other = start(1)
  await other.ended
  expect(other.lines).toEqual(['refused storage/in-use'])
  await log.close()
  const next = start(1)
  expect(await next.ended).toBe(0)
})

describe('a disk that reports an error at fsync', () => {
  test('fails every commit from then on, and what was acknowledged before is there', async (context) => {
    if (!canTrace()) context.skip('needs strace, and the right to use it')
    // The first ones belong to the opening.
    const fault = 'fdatasync,fsync:error=EIO:when=30+'
    const strace = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=fdatasync,fsync', '-e', `inject=${fault}`]
    const writer = start(1e9, strace)
    expect(await writer.ended).toBe(5)
    const failures = writer.lines.filter((line) => line.startsWith('failed'))
    expect(new Set(failures)).toEqual(new Set(['failed storage/failed']))
    const firstFailure = writer.lines.findIndex((line) => line.startsWith('failed'))
    expect(lastStored(writer)).toBeGreaterThan(0)
    expect(writer.lines.slice(firstFailure).filter((line) => line.startsWith('stored'))).toEqual([])
    expect(await storedWords()).toBeGreaterThanOrEqual(lastStored(writer))
  })
})

/** A file system of our own in memory, unmounted after the test; `undefined` where that is not allowed. */
function mount(size: string): string | undefined {
  const path = `${directory}-mounted`
  mkdirSync(path)
  if (!runs('mount', '-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path)) return undefined
  onTestFinished(() => expect(runs('umount', '-l', path)).toBe(true))
  return path
}

describe('a full disk', () => {
  test('refuses writes and goes on reading, and takes writes again as soon as there is space', async (context) => {
    const path = mount('6m') ?? context.skip('needs the right to mount a small file system')
    writeFileSync(join(path, 'filler'), Buffer.alloc(3 << 20))
    const log = await open(path)
    onTestFinished(() => log.close().catch(() => {}))
    const source = new OpSource('a', incarnation(starts))
    let stored = 0
    const write = (): Promise<string | undefined> => {
      const back = source.mark()
      return new Promise((resolve) => {
        log.commit(encodeOpBatch(source.edits({ x: 'w'.repeat(20_000) })), (error) => {
          if (error) back()
          else stored++
          resolve(error?.code)
        })
      })
    }
    let code: string | undefined
    while (!code) code = await write()
    expect(code).toBe('storage/full')
    const atFull = stored
    for (let again = 0; again < 5; again++) {
      expect(await write()).toBe('storage/full')
      expect((await log.load('x'))!.tail).toHaveLength(stored)
    }
    expect(await log.list({ prefix: '', limit: 1 })).toMatchObject({ documents: [{ name: 'x' }] })
    rmSync(join(path, 'filler'))
    for (let again = 0; again < 20; again++) expect(await write()).toBeUndefined()
    await log.close()
    const reopened = await open(path)
    expect((await reopened.load('x'))!.tail).toHaveLength(atFull + 20)
    expect(reopened.recovered).toMatchObject({ quarantined: [], damaged: [] })
    await reopened.close()
  })
})

describe('a directory that cannot be written', () => {
  test('is refused at the start', async (context) => {
    if (isRoot) {
      const path = mount('1m') ?? context.skip('needs the right to mount a file system')
      expect(runs('mount', '-o', 'remount,ro', path)).toBe(true)
      await expect(open(path)).rejects.toMatchObject({ code: 'storage/read-only', details: { directory: path } })
    } else {
      mkdirSync(directory)
      chmodSync(directory, 0o555)
      await expect(open()).rejects.toMatchObject({ code: 'storage/read-only', details: { directory } })
    }
  })
})
