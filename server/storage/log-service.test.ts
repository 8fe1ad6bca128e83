import Database from 'better-sqlite3'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import { incarnation, OpSource, temporaryDirectory } from '../../test/integration/storage/op-source.js'
import type { FromReader, FromWriter, PackedOpening, Together, ToWriter } from './log-messages.js'
import { ReaderService, WriterService } from './log-service.js'
import { LogStore } from './log-store.js'

let directory: string
let source: OpSource
let posted: FromWriter[]
let waiting: ToWriter[]
let commits: number
let failWith: string | undefined
let isClosed: boolean
let service: WriterService

beforeEach(() => {
  const temporary = temporaryDirectory()
  directory = temporary.path
  source = new OpSource('a', incarnation(1))
  posted = []
  waiting = []
  commits = 0
  failWith = undefined
  isClosed = false
  const aroundCommit = (commit: () => void): void => {
    commits++
    if (failWith) throw new Database.SqliteError('injected', failWith)
    commit()
  }
  const store = LogStore.open({ directory, replicaName: 'a', incarnation: incarnation(1), aroundCommit })
  onTestFinished(() => {
    store.close()
    temporary[Symbol.dispose]()
  })
  service = new WriterService(
    store,
    (message) => posted.push(message),
    () => waiting.shift(),
    () => {
      isClosed = true
    },
  )
})

const batch = (text: string, epoch = 0): ToWriter => ({
  type: 'commit',
  epoch,
  batch: encodeOpBatch(source.edits({ x: text })),
})

/** Lets the service handle what waits, as the port would. */
function handle(...messages: ToWriter[]): FromWriter[] {
  posted = []
  waiting = messages
  for (let next = waiting.shift(); next; next = waiting.shift()) service.handle(next)
  return posted
}

describe('group commit', () => {
  test('what waits is one transaction, answered together, in order', () => {
    expect(handle(batch('1'), batch('2'), batch('3'))).toMatchObject([
      { type: 'committed', position: 1, counts: [2, 1, 1] },
    ])
    expect(commits).toBe(1)
  })

  test('ends at any other message, which is answered in its turn', () => {
    const answers = handle(batch('1'), batch('2'), { type: 'figures', id: 7 }, batch('3'))
    expect(answers).toMatchObject([
      { type: 'committed', counts: [2, 1] },
      { type: 'answered', id: 7, value: { position: 3 } },
      { type: 'committed', position: 4, counts: [1] },
    ])
  })

  test('is bounded', () => {
    const many = Array.from({ length: 1_500 }, (_, index) => batch(String(index)))
    expect(handle(...many)).toMatchObject([{ type: 'committed' }, { type: 'committed' }])
  })
})

describe('a failure', () => {
  test('fails the group and everything sent before the main thread knew; a later epoch is stored again', () => {
    handle(batch('1'))
    const back = source.mark()
    failWith = 'SQLITE_FULL'
    const lost = [batch('lost 1'), batch('lost 2')]
    expect(handle(...lost)).toMatchObject([{ type: 'commit-failed', error: { code: 'storage/full' } }])
    failWith = undefined
    // Built on what failed, though the disk would take it now.
    expect(handle(batch('lost 3'))).toEqual([])
    back()
    expect(handle(batch('2', 1))).toMatchObject([{ type: 'committed', position: 3, counts: [1] }])
  })

  test('a group never mixes epochs', () => {
    handle(batch('1'))
    const back = source.mark()
    failWith = 'SQLITE_FULL'
    handle(batch('lost'))
    failWith = undefined
    const late = batch('late')
    back()
    expect(handle(late, batch('2', 1))).toMatchObject([{ type: 'committed', position: 3, counts: [1] }])
  })

  test('of the disk ends it for ever', () => {
    failWith = 'SQLITE_IOERR_FSYNC'
    expect(handle(batch('1'))).toMatchObject([{ type: 'commit-failed', error: { code: 'storage/failed' } }])
    failWith = undefined
    expect(handle(batch('2', 1))).toMatchObject([{ type: 'commit-failed', error: { code: 'storage/failed' } }])
    expect(handle({ type: 'figures', id: 1 })).toMatchObject([{ type: 'answered' }])
  })
})

test('[DU1] a load is answered in its turn: with what was committed before it, and nothing after', () => {
  const load: ToWriter = { type: 'load', id: 9, document: 'x', options: {} }
  const answers = handle(batch('1'), load, batch('2'))
  expect(answers).toMatchObject([{ type: 'committed' }, { type: 'answered', id: 9 }, { type: 'committed' }])
  const { value } = answers[1] as { value: PackedOpening }
  expect(new TextDecoder().decode(value.stored!.updates)).toBe('1')
})

test('closing is answered, and the port told', () => {
  expect(handle({ type: 'close', id: 3 })).toMatchObject([{ type: 'answered', id: 3 }])
  expect(isClosed).toBe(true)
})

describe('the reader', () => {
  function settled(): { promise: Promise<void>; resolve: () => void } {
    let resolve = (): void => {}
    const promise = new Promise<void>((done) => {
      resolve = done
    })
    return { promise, resolve }
  }

  type Sent = FromReader | Together<FromReader>

  function reader(): { ask: (message: Parameters<ReaderService['handle']>[0]) => Sent[] } {
    const answers: Sent[] = []
    const service = new ReaderService(
      { directory, replicaName: 'a', incarnation: incarnation(1) },
      (message) => answers.push(message),
      () => {},
    )
    onTestFinished(() => service.handle({ type: 'close', id: 0 }))
    return {
      ask: (message) => {
        answers.length = 0
        service.handle(message)
        return answers
      },
    }
  }

  test('sees what was committed as soon as it is', () => {
    const { ask } = reader()
    for (const text of ['1', '2', '3']) {
      handle(batch(text))
      const [answer] = ask({ type: 'load', id: 5, document: 'x', options: {} })
      expect(answer).toMatchObject({ type: 'answered', id: 5, value: { stored: { position: source.seq } } })
      const { value } = answer as { value: PackedOpening }
      expect(new TextDecoder().decode(value.stored!.updates)).toBe('123'.slice(0, Number(text)))
    }
  })

  test('answers together what was asked together, in order, and a large document by itself', () => {
    handle(batch('1'))
    posted = []
    service.handle({ type: 'commit', epoch: 0, batch: encodeOpBatch(source.edits({ large: 'l'.repeat(10_000) })) })
    const load = (id: number, document: string) => ({ type: 'load', id, document, options: {} }) as const
    const sent = reader().ask({
      type: 'together',
      messages: [load(1, 'x'), load(2, 'missing'), load(3, 'large'), load(4, 'x')],
    })
    const ids = sent.map((message) => (message as Together<{ id: number }>).messages.map(({ id }) => id))
    expect(ids).toEqual([[1, 2, 3], [4]])
  })

  test('reports damage beside its answer', () => {
    handle(batch('1'))
    const database = new Database(`${directory}/causeway.db`)
    database.exec("UPDATE ops SET record = x'00' WHERE position = 2")
    database.close()
    expect(reader().ask({ type: 'load', id: 5, document: 'x', options: {} })).toMatchObject([
      { type: 'damaged', document: 'x', reason: 'checksum of an op does not match' },
      { type: 'failed', id: 5, error: { code: 'document/unavailable', details: { position: 2 } } },
    ])
  })

  test('answers about digests, of a tree after a few turns', async () => {
    handle(batch('1'), batch('2'))
    const answers: Sent[] = []
    const { promise, resolve } = settled()
    const service = new ReaderService(
      { directory, replicaName: 'a', incarnation: incarnation(1) },
      (message) => answers.push(message) === 4 && resolve(),
      () => {},
    )
    onTestFinished(() => service.handle({ type: 'close', id: 0 }))
    service.handle({ type: 'digest-tree', id: 1, prefix: '' })
    service.handle({ type: 'digest-leaves', id: 2, range: { prefix: 'none', buckets: new Set([1]), cursor: 0 } })
    service.handle({ type: 'digests', id: 3, names: ['x', 'missing'] })
    await promise
    expect(answers).toMatchObject([
      { type: 'up' },
      { type: 'answered', id: 3, value: [{ generation: 0, count: 2 }, undefined] },
      { type: 'answered', id: 1, value: { documents: 1 } },
      { type: 'answered', id: 2, value: { leaves: [], cursor: 0 } },
    ])
  })

  test('scrubs slice by slice, and loads what a slice found damaged', () => {
    handle(batch('1'))
    const database = new Database(`${directory}/causeway.db`)
    database.exec("UPDATE ops SET record = x'00' WHERE position = 2")
    database.close()
    const { ask } = reader()
    expect(ask({ type: 'scrub', id: 1 })).toMatchObject([
      { type: 'damaged', document: 'x' },
      { type: 'answered', value: { verifiedOps: 2, damaged: [{ document: 'x', position: 2 }], finishedRound: false } },
    ])
    expect(ask({ type: 'scrub', id: 2 })).toMatchObject([{ value: { verifiedSnapshots: 0, finishedRound: true } }])
    expect(ask({ type: 'scrub', id: 3 })).toHaveLength(2)
  })
})
