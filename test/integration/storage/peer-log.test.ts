/** What peers need of the log, as the main thread uses it: real threads, real files, real documents. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import * as Y from 'yjs'
import type { CommitFigures, Log, LogSlice } from '../../../server/storage/log.js'
import { openLog } from '../../../server/storage/log-client.js'
import type { StoredDocument } from '../../../server/storage/stored-document.js'
import { dotKey } from '../../../shared/clock/dot.js'
import { EMPTY_VECTOR, type VersionVector } from '../../../shared/clock/version-vector.js'
import type { Op, Part } from '../../../shared/protocol/op.js'
import { encodeOpBatch } from '../../../shared/protocol/op-codec.js'
import type { LoggedOp } from '../../../shared/protocol/op-log.js'
import { KnownState } from '../../../shared/update/known-state.js'
import { incarnation, OpSource, temporaryDirectory } from './op-source.js'

let starts: number

beforeEach(() => {
  starts = 0
})

interface Side {
  readonly log: Log
  readonly directory: string
  readonly source: OpSource
}

async function start(name: string): Promise<Side> {
  const temporary = temporaryDirectory()
  onTestFinished(() => temporary[Symbol.dispose]())
  const own = incarnation(++starts)
  const log = await openLog({ directory: temporary.path, replicaName: name, incarnation: own })
  onTestFinished(() => log.close().catch(() => {}))
  return { log, directory: temporary.path, source: new OpSource(name, own) }
}

const commit = ({ log }: Pick<Side, 'log'>, ops: readonly Op[]): Promise<CommitFigures> =>
  new Promise((resolve, reject) => {
    log.commit(encodeOpBatch(ops), (error, figures) => (error ? reject(error) : resolve(figures!)))
  })

async function readAll(log: Log, beyond: VersionVector = EMPTY_VECTOR): Promise<readonly LoggedOp[]> {
  const ops: LoggedOp[] = []
  for (let slice: LogSlice | undefined; !slice?.atEnd; ) {
    slice = await log.readOps({ after: slice?.position ?? 0, beyond, limitCost: 4_096 })
    expect(slice.isPruned).toBe(false)
    ops.push(...slice.ops)
  }
  return ops
}

/** Gives `to` the state of `from`. */
async function transfer(from: Log, to: Log): Promise<Awaited<ReturnType<Log['joinState']>>> {
  const cut = await from.openCut()
  await to.beginState()
  for (let index = 0, isLast = false; !isLast; index++) {
    const chunk = await cut.chunk(index)
    isLast = chunk.isLast
    await to.storeChunk(index, chunk.bytes)
  }
  cut.close()
  return to.joinState(cut.cut)
}

const docOf = (stored: StoredDocument): Y.Doc => {
  const doc = new Y.Doc()
  for (const update of [stored.snapshot?.update ?? [], ...stored.tail.map(({ update }) => update)].flat()) {
    Y.applyUpdate(doc, update)
  }
  return doc
}

test('[DU1] ops are read as they were written, and none before its commit is told', async () => {
  const { log, source } = await start('a')
  const told = new Set<string>()
  const written: Op[] = []
  const reads: Promise<void>[] = []
  for (let index = 0; index < 200; index++) {
    const ops = source.edits({ x: `w${index}` })
    written.push(...ops)
    log.commit(encodeOpBatch(ops), () => {
      for (const { dot } of ops) told.add(dotKey(dot))
    })
    if (index % 5 !== 0) continue
    const before = new Set(told)
    const read = log.readOps({ after: 0, beyond: EMPTY_VECTOR, limitCost: 1e9 }).then(({ ops: found }) => {
      const keys = new Set(found.map(({ op }) => dotKey(op.dot)))
      for (const key of before) expect(keys).toContain(key)
      for (const key of keys) expect(told).toContain(key)
    })
    reads.push(read)
    if (index % 20 === 0) await read
  }
  await Promise.all(reads)
  const logged = await readAll(log)
  expect(logged.map(({ op }) => op)).toEqual(written)
  const [first, last] = [logged[0]!, logged.at(-1)!]
  expect(await log.readChains([first.op.dot, last.op.dot])).toEqual([first.chain, last.chain])
})

test('[CV] documents of a joined state are those of both replicas, also where both were sent the same edits', async () => {
  const [a, b] = [await start('a'), await start('b')]
  const [doc, other] = [new Y.Doc({ gc: false }), new Y.Doc()]
  const parts: Part[] = []
  doc.on('update', (update) => parts.push({ document: 'x', generation: 0, update }))
  const text = doc.getText('t')
  for (let index = 0; index < 40; index++) text.insert(0, `word ${index} `)
  text.delete(10, 30)
  other.getMap('m').set('key', 'value')
  const shared = a.source.edit(parts.splice(0))
  for (const side of [a, b]) await commit(side, shared)
  const stored = (await a.log.load('x'))!
  const update = Y.encodeStateAsUpdate(docOf(stored))
  const snapshot = { document: 'x', generation: 0, position: stored.position, update, fingerprint: new Uint8Array([1]) }
  await a.log.saveSnapshot({ ...snapshot, known: KnownState.of(update).encode() })
  // A client hops: both replicas take its next edits, b in one piece.
  const before = Y.encodeStateVector(doc)
  text.insert(5, 'hop ')
  text.delete(0, 2)
  text.insert(0, 'hop again ')
  const hops = a.source.edit(parts.splice(0))
  const whole = Y.encodeStateAsUpdate(doc, before)
  const fromB = b.source.edit([{ document: 'x', generation: 0, update: whole }])
  await commit(a, hops)
  await commit(a, fromB)
  await commit(b, fromB)
  await commit(b, b.source.edit([{ document: 'y', generation: 0, update: Y.encodeStateAsUpdate(other) }]))

  const joined = await transfer(a.log, b.log)
  expect(joined.position).toBeGreaterThan(0)
  const received = (await b.log.open('x')).stored!
  expect(docOf(received).getText('t').toString()).toBe(text.toString())
  expect(received.snapshot!.known).toEqual(KnownState.of(received.snapshot!.update).encode())
  expect(received.digest).toEqual((await a.log.load('x'))!.digest)
  expect(
    docOf((await b.log.load('y'))!)
      .getMap('m')
      .get('key'),
  ).toBe('value')
  expect((await readAll(b.log, joined.floor)).map(({ op }) => op.dot.origin)).toEqual([b.source.origin])
  await commit(b, b.source.edit([{ document: 'y', generation: 0, update: Y.encodeStateAsUpdate(new Y.Doc()) }]))
  await transfer(b.log, a.log)
  expect(
    docOf((await a.log.load('y'))!)
      .getMap('m')
      .get('key'),
  ).toBe('value')
})

test('a cut outlives no reader: its chunks are refused, another is opened, and the end leaves no write-ahead log', async () => {
  const { log, source, directory } = await start('a')
  await commit({ log }, source.edits())
  const doc = new Y.Doc()
  doc.getText('t').insert(0, 'word')
  await commit({ log }, source.edit([{ document: 'x', generation: 0, update: Y.encodeStateAsUpdate(doc) }]))
  const cut = await log.openCut()
  const second = await log.openCut()
  await expect(log.openCut()).rejects.toMatchObject({ code: 'storage/busy' })
  second.close()
  second.close()
  await expect(log.openCut()).resolves.toMatchObject({ cut: cut.cut })
  await expect(cut.chunk(0)).resolves.toMatchObject({ isLast: true })
  const threads = log as unknown as Record<string, { post(message: unknown): void }>
  threads['reader']!.post({ type: 'commit' }) // What no reader can handle.
  await expect(cut.chunk(0)).rejects.toMatchObject({ code: 'document/unavailable' })
  await expect(cut.chunk(0)).rejects.toMatchObject({ code: 'document/unavailable' })
  cut.close()
  const third = await log.openCut()
  await expect(third.chunk(0)).resolves.toMatchObject({ isLast: true })
  await log.close()
  expect(statSync(join(directory, 'causeway.db-wal'), { throwIfNoEntry: false })?.size ?? 0).toBe(0)
})

test('what is told of the cell is there at the next start; a refused join changes nothing', async () => {
  const { log, source, directory } = await start('a')
  await commit({ log }, source.edits({ x: 'word' }))
  await log.saveCell({ life: 2, claims: new Map([['b', { life: 1, vector: new Map([[source.origin, 2]]) }]]) })
  await log.beginState()
  await expect(log.joinState(new Map([[source.origin, 9]]))).rejects.toMatchObject({ code: 'request/invalid' })
  await commit({ log }, source.edits({ x: 'more' }))
  await log.close()
  const again = await openLog({ directory, replicaName: 'a', incarnation: incarnation(99) })
  onTestFinished(() => again.close())
  expect(again.recovered).toMatchObject({ position: 3, cell: { life: 2, configEpoch: 0 } })
  expect(again.recovered.cell.claims.get('b')).toEqual({ life: 1, vector: new Map([[source.origin, 2]]) })
})
