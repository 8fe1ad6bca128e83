/** The log as the main thread uses it: real threads, real files. */
import { mkdirSync, readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { CommitFigures, Log } from '../../../server/storage/log.js'
import { BACKLOG_BATCHES, openLog } from '../../../server/storage/log-client.js'
import type { StoredDocument } from '../../../server/storage/stored-document.js'
import type { CausewayError } from '../../../shared/errors/error.js'
import { encodeOpBatch } from '../../../shared/protocol/op-codec.js'
import { incarnation, OpSource, temporaryDirectory, textOf } from './op-source.js'

let directory: string
let starts: number

beforeEach(() => {
  const temporary = temporaryDirectory()
  onTestFinished(() => temporary[Symbol.dispose]())
  directory = temporary.path
  starts = 0
})

async function start(path = directory): Promise<{ log: Log; source: OpSource }> {
  const own = incarnation(++starts)
  const log = await openLog({ directory: path, replicaName: 'a', incarnation: own })
  onTestFinished(() => log.close().catch(() => {}))
  const { predecessor, latestHlc } = log.recovered
  return {
    log,
    source: new OpSource('a', own, { ...(predecessor && { predecessor }), ...(latestHlc && { hlc: latestHlc }) }),
  }
}

const commit = (log: Log, batch: Uint8Array): Promise<CommitFigures> =>
  new Promise((resolve, reject) => {
    log.commit(batch, (error, figures) => (error ? reject(error) : resolve(figures!)))
  })

const wordsIn = (document: StoredDocument | undefined): string[] =>
  (document?.tail ?? []).map(({ update }) => textOf(update))

test('commits are answered in order, with positions that follow each other', async () => {
  const { log, source } = await start()
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, index) => commit(log, encodeOpBatch(source.edits({ x: `${index}`, y: 'y' })))),
  )
  let next = 1
  for (const { position, ops, transaction } of answers) {
    expect(position).toBe(next)
    expect(transaction.ops).toBeGreaterThanOrEqual(ops)
    next += ops
  }
  expect(answers.at(-1)!.transaction.batches, 'what waited was merged').toBeGreaterThan(1)
  expect(wordsIn(await log.load('x'))).toEqual(answers.map((_, index) => `${index}`))
  expect(await log.list({ prefix: '', limit: 5 })).toMatchObject({ documents: [{ name: 'x' }, { name: 'y' }] })
  expect(await log.stats()).toMatchObject({ position: 201, backlog: { batches: 0, bytes: 0 }, quarantined: [] })
})

test('[DU1] a load shows all that was told when it was asked for, and nothing that is not told when it is answered', async () => {
  const { log, source } = await start()
  const told = new Map<string, number>()
  const check = async (): Promise<void> => {
    const before = [...told.keys()]
    const document = await log.load('x')
    const words = new Set(wordsIn(document))
    for (const word of before) expect(words).toContain(word)
    for (const word of words) expect(told.has(word)).toBe(true)
    for (const [word, position] of told) expect(words.has(word)).toBe(position <= document!.position)
  }
  await commit(log, encodeOpBatch(source.edits({ x: 'first' }))).then(({ position }) => told.set('first', position + 1))
  const loads: Promise<unknown>[] = []
  for (let index = 0; index < 300; index++) {
    const word = `w${index}`
    log.commit(encodeOpBatch(source.edits({ x: word })), (_, figures) => told.set(word, figures!.position))
    if (index % 3 === 0) loads.push(check())
    if (index % 7 === 0) await commit(log, encodeOpBatch(source.edits({ other: 'turn' })))
  }
  await Promise.all(loads)
  await check()
  expect(told.size).toBe(301)
})

test('a crowd is answered from the first read on, whichever thread is up, each with its own document', async () => {
  const { log, source } = await start()
  const names = Array.from({ length: 300 }, (_, index) => `d${index}`)
  for (const name of names) log.commit(encodeOpBatch(source.edits({ [name]: `word of ${name}` })), () => {})
  for (const moment of ['before the reader is up', 'after']) {
    const documents = await Promise.all(names.map((name) => log.load(name)))
    expect(documents.map(wordsIn), moment).toEqual(names.map((name) => [`word of ${name}`]))
    await log.list({ prefix: '', limit: 1 }) // what only the reader answers
  }
  const [last] = await Promise.all([log.load('d7'), log.close()])
  expect(wordsIn(last), 'what was asked before the end').toEqual(['word of d7'])
})

test('the bytes of a batch may be part of a larger buffer, which is left alone', async () => {
  const { log, source } = await start()
  const batch = encodeOpBatch(source.edits({ x: 'word' }))
  const larger = new Uint8Array(batch.length + 20).fill(9)
  larger.set(batch, 10)
  await commit(log, larger.subarray(10, 10 + batch.length))
  expect([larger[0], larger.length]).toEqual([9, batch.length + 20])
  expect(wordsIn(await log.load('x'))).toEqual(['word'])
})

test('more than the disk can take is refused before it is accepted, and what was accepted is stored', async () => {
  const { log, source } = await start()
  let done = 0
  let accepted = 0
  let refused: CausewayError | undefined
  while (!refused) {
    const back = source.mark()
    try {
      log.commit(encodeOpBatch(source.edits({ x: 'w' })), (error) => {
        if (!error) done++
      })
      accepted++
    } catch (thrown) {
      refused = thrown as CausewayError
      back()
    }
  }
  expect(refused).toMatchObject({ code: 'storage/busy', info: { outcome: 'definite' } })
  expect(accepted).toBe(BACKLOG_BATCHES)
  while (done < accepted) await log.stats()
  await commit(log, encodeOpBatch(source.edits({ x: 'last' })))
  expect(await log.load('x')).toMatchObject({ position: accepted + 2 })
})

test('snapshots, pruning and scrubbing reach the threads', async () => {
  const { log, source } = await start()
  await commit(log, encodeOpBatch(source.edits(...Array.from({ length: 50 }, (_, index) => ({ x: `${index} ` })))))
  const { position } = (await log.load('x'))!
  const bytes = (size: number): Uint8Array => new Uint8Array(size).fill(size)
  await log.saveSnapshot({
    document: 'x',
    generation: 0,
    position,
    update: bytes(100_000),
    known: bytes(3),
    fingerprint: bytes(5),
  })
  const ceiling = new Map([[source.origin, source.seq]])
  const report = await log.prune({ maxBytes: 0, maxAgeMs: 0, nowMs: 2e12, ceiling })
  expect(report).toMatchObject({ deletedOps: 51, floor: 51, more: false })
  await commit(log, encodeOpBatch(source.edits({ x: 'after' })))
  const loaded = (await log.load('x'))!
  expect(loaded.snapshot).toEqual({
    position,
    update: bytes(100_000),
    known: bytes(3),
    fingerprint: bytes(5),
  })
  expect(wordsIn(loaded)).toEqual(['after'])
  await expect(log.load('x', { upTo: 5 })).rejects.toMatchObject({ code: 'history/compacted' })
  await expect(
    log.saveSnapshot({ ...loaded.snapshot!, document: 'x', generation: 0, position: 3 }),
  ).rejects.toMatchObject({ code: 'request/invalid' })
  expect([await log.scrub(), await log.scrub()]).toMatchObject([
    { verifiedOps: 1, finishedRound: false },
    { verifiedSnapshots: 1, finishedRound: true, damaged: [] },
  ])
})

describe('a backup', () => {
  test('is one consistent cut while commits go on, and opens as a log', async () => {
    const { log, source } = await start()
    await commit(
      log,
      encodeOpBatch(
        source.edits(...Array.from({ length: 3_000 }, (_, index) => ({ x: `w${index}`, y: 'y'.repeat(500) }))),
      ),
    )
    const path = join(directory, 'backup')
    let isOver = false
    const backup = log.backup(path).finally(() => {
      isOver = true
    })
    while (!isOver) await commit(log, encodeOpBatch(source.edits({ x: 'meanwhile', y: 'meanwhile' })))
    await backup
    await log.close()
    expect(readdirSync(directory).filter((name) => name.startsWith('backup'))).toEqual(['backup'])

    const restored = join(directory, 'restored')
    mkdirSync(restored)
    renameSync(path, join(restored, 'causeway.db'))
    const { log: copy } = await start(restored)
    const [x, y] = [(await copy.load('x'))!, (await copy.load('y'))!]
    expect(x.tail.length).toBe(y.tail.length)
    expect(x.tail.length).toBeGreaterThanOrEqual(3_000)
    expect(copy.recovered).toMatchObject({ position: x.position, quarantined: [], damaged: [] })
  })

  test('never overwrites', async () => {
    const { log, source } = await start()
    await commit(log, encodeOpBatch(source.edits({ x: '1' })))
    await log.backup(join(directory, 'backup'))
    await expect(log.backup(join(directory, 'backup'))).rejects.toMatchObject({ code: 'request/invalid' })
    await expect(log.backup(join(directory, 'missing/backup'))).rejects.toMatchObject({ code: 'storage/failed' })
    expect(wordsIn(await log.load('x'))).toEqual(['1'])
  })
})

describe('the end', () => {
  test('closing finishes what was handed in; then the log refuses and the directory is free', async () => {
    const { log, source } = await start()
    const answers = Array.from({ length: 20 }, () => commit(log, encodeOpBatch(source.edits({ x: 'w' }))))
    const closing = log.close()
    expect(() => log.commit(encodeOpBatch(source.edits({ x: 'late' })), () => {})).toThrow(
      expect.objectContaining({ code: 'cell/draining' }),
    )
    await expect(log.load('x')).rejects.toMatchObject({ code: 'cell/draining' })
    await closing
    await expect(Promise.all(answers)).resolves.toHaveLength(20)
    await log.close()
    expect((await start()).log.recovered.position).toBe(21)
  })

  test('a second log on the directory is refused, and leaves the first alone', async () => {
    const { log, source } = await start()
    await expect(start()).rejects.toMatchObject({ code: 'storage/in-use', details: { directory } })
    await commit(log, encodeOpBatch(source.edits({ x: 'w' })))
  })

  /** A message that no writer or reader can handle: the thread throws and ends. */
  const kill = (log: Log, thread: 'writer' | 'reader'): void =>
    (log as unknown as Record<string, { post(message: unknown): void }>)[thread]!.post({ type: 'commit' })

  const isReaderUp = (log: Log): boolean => (log as unknown as { isReaderUp: boolean }).isReaderUp

  test('a writer that dies leaves everything in doubt, and says so', async () => {
    const { log, source } = await start()
    await commit(log, encodeOpBatch(source.edits({ x: '1' })))
    kill(log, 'writer')
    const told: (string | undefined)[] = []
    for (let index = 0; index < 3; index++) {
      log.commit(encodeOpBatch(source.edits({ x: 'in doubt' })), (error) => told.push(error?.code))
    }
    const failed = { code: 'storage/failed', info: { outcome: 'indefinite' } }
    await expect(log.stats()).rejects.toMatchObject(failed)
    expect(told).toEqual(['storage/failed', 'storage/failed', 'storage/failed'])
    expect(() => log.commit(encodeOpBatch(source.edits({ x: 'more' })), () => {})).toThrow(
      expect.objectContaining({ code: 'storage/failed' }),
    )
    await expect(log.load('x')).rejects.toMatchObject(failed)
    await log.close()
    expect((await start()).log.recovered.position).toBe(2)
  })

  test('a reader that dies fails the reads that wait, and the next one gets another', async () => {
    const { log, source } = await start()
    await commit(log, encodeOpBatch(source.edits({ x: '1' })))
    await log.load('x')
    await expect.poll(() => isReaderUp(log)).toBe(true)
    kill(log, 'reader')
    await expect(log.load('x')).rejects.toMatchObject({ code: 'document/unavailable' })
    expect(wordsIn(await log.load('x'))).toEqual(['1'])
    await expect.poll(() => isReaderUp(log), { message: 'loads alone start another' }).toBe(true)
    await commit(log, encodeOpBatch(source.edits({ x: '2' })))
  })
})
