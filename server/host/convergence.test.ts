/**
 * Replicas in one process, each over a log of its own on disk, and a network between them that tests step. Contents are
 * sets of texts here: a fingerprint is the hash of the sorted texts, so it is a function of the ops, as Yjs' is.
 */
import { hash } from 'node:crypto'
import Database from 'better-sqlite3'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { Random } from '../../shared/base/random.js'
import { CausewayError } from '../../shared/errors/error.js'
import { TREE } from '../../shared/protocol/convergence.js'
import type { Op } from '../../shared/protocol/op.js'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import { PEER_LIMITS } from '../../shared/protocol/peer.js'
import { incarnation, OpSource, temporaryDirectory, textOf } from '../../test/integration/storage/op-source.js'
import { vectorOf } from '../../test/support/causal-text.js'
import type { DocumentState } from '../document/document-state.js'
import type { HeldBack, PeerTalk } from '../replica/cell.js'
import type { ConvergenceReport } from '../replica/convergence.js'
import { DigestReader } from '../storage/digest-reader.js'
import { LogReader } from '../storage/log-reader.js'
import { LogStore } from '../storage/log-store.js'
import { openReadOnly } from '../storage/schema.js'
import { type Convergence, type ConvergenceOptions, createConvergence } from './convergence.js'

type Answerer = Parameters<PeerTalk['onAsked']>[1]

/** What may happen whenever somebody waits. */
let meanwhile: () => Promise<void>
let nowMs: number
let cell: Map<string, TestReplica>
let asked: { readonly question: Uint8Array; readonly answer: Uint8Array }[]
let isDown: Set<string>
/** Every op in the order in which it was made. */
let made: Op[]

class TestReplica {
  readonly path: string
  readonly store: LogStore
  readonly source: OpSource
  readonly lines: string[] = []
  heldBack: HeldBack[] = []
  computed = 0
  onAsked: Answerer | undefined
  readonly convergence: Convergence
  /** Ops delivered here, of all that were made. */
  private readonly delivered = new Set<Op>()

  constructor(name: string, number: number, change: (options: ConvergenceOptions) => Partial<ConvergenceOptions>) {
    const temporary = temporaryDirectory()
    this.path = `${temporary.path}/causeway.db`
    this.store = LogStore.open({ directory: temporary.path, replicaName: name, incarnation: incarnation(number) })
    this.source = new OpSource(name, incarnation(number))
    const database = openReadOnly(this.path)
    const [reader, digests] = [new LogReader(database), new DigestReader(database, () => nowMs)]
    onTestFinished(() => {
      database.close()
      this.store.close()
      temporary[Symbol.dispose]()
    })
    const slowly = async <Value>(read: () => Value | Promise<Value>): Promise<Value> => {
      await meanwhile()
      return read()
    }
    const options: ConvergenceOptions = {
      self: name,
      talk: this.talk(name),
      storage: {
        load: (document) => slowly(() => reader.load(document)),
        list: (page) => slowly(() => reader.list(page)),
        digestTree: (prefix) => slowly(() => digests.tree(prefix)),
        digestLeaves: (range) => slowly(() => digests.leaves(range)),
        digestsOf: (names) => slowly(() => digests.digests(names)),
      },
      fingerprint: (state) => slowly(() => this.fingerprint(state)),
      members: () => [...cell.keys()],
      heldBack: () => this.heldBack,
      log: {
        error: (event, fields) => void this.lines.push(`${event} ${fields?.['document']} ${fields?.['replicas']}`),
        info: (event, fields) => void this.lines.push(`${event} ${fields?.['document']}`),
        debug: () => {},
      },
      now: () => 1_800_000_000_000 + nowMs,
      monotonicMs: () => nowMs,
      pause: async (ms) => {
        nowMs += ms
        await meanwhile()
      },
    }
    this.convergence = createConvergence({ ...options, ...change(options) })
  }

  /** Makes an op here that writes `texts`, by document. */
  write(texts: Readonly<Record<string, string>>): void {
    const ops = this.source.edits(texts)
    made.push(...ops)
    this.deliver(ops)
  }

  /** Delivers the first `count` ops of others that are missing here. */
  catchUp(count = Number.POSITIVE_INFINITY): void {
    this.deliver(made.filter((op) => !this.delivered.has(op)).slice(0, count))
  }

  /** Gives a document another content, by the same ops. */
  alter(document: string, text: string): void {
    const { position } = this.store.figures()
    const update = new TextEncoder().encode(text)
    const [known, fingerprint] = [new Uint8Array(), new Uint8Array()]
    this.store.saveSnapshot({ document, generation: 0, position, update, known, fingerprint })
  }

  report(change: Partial<Parameters<Convergence['report']>[0]> = {}): Promise<ConvergenceReport> {
    return this.convergence.report({ prefix: '', limit: 100, all: false, ...change })
  }

  /** Lets the background do one thing, and time pass until the next. */
  async step(): Promise<void> {
    nowMs += 60_000
    await this.convergence.tick()
  }

  private deliver(ops: readonly Op[]): void {
    if (ops.length === 0) return
    this.store.commit([encodeOpBatch(ops)])
    for (const op of ops) this.delivered.add(op)
  }

  private fingerprint({ snapshot, tail }: DocumentState): string {
    this.computed++
    const texts = [...(snapshot ? [snapshot] : []), ...tail].map(textOf).join(' ').split(' ').sort()
    return hash('sha256', texts.join(' '), 'hex').slice(0, 32)
  }

  private talk(name: string): PeerTalk {
    return {
      get linked() {
        return [...cell.keys()].filter((peer) => peer !== name && !isDown.has(peer))
      },
      ask: async (peer, subject, question) => {
        expect(subject).toBe('convergence')
        await meanwhile()
        const answerer = cell.get(peer)?.onAsked
        if (isDown.has(peer) || answerer === undefined) throw new CausewayError('request/not-found')
        const answer = await answerer(name, question)
        await meanwhile()
        asked.push({ question, answer })
        return answer
      },
      onAsked: (_, listener) => {
        this.onAsked = listener
      },
      tell: () => {},
      onTold: () => {},
      onLinked: () => {},
      onUnlinked: () => {},
    }
  }
}

function start(
  names: readonly string[],
  change: (options: ConvergenceOptions) => Partial<ConvergenceOptions> = () => ({}),
): TestReplica[] {
  for (const name of names) cell.set(name, new TestReplica(name, cell.size + 1, change))
  return [...cell.values()]
}

function everybodyCatchesUp(): void {
  for (const replica of cell.values()) replica.catchUp()
}

beforeEach(() => {
  meanwhile = async () => {}
  nowMs = 0
  cell = new Map()
  asked = []
  isDown = new Set()
  made = []
})

test('replicas with the same documents are equal, and all were checked', async () => {
  const [a, b, c] = start(['a', 'b', 'c'])
  a!.write({ x: 'one' })
  b!.write({ x: 'two', y: 'three' })
  c!.write({ z: 'four' })
  everybodyCatchesUp()
  expect(await a!.report()).toEqual({
    verdict: 'equal',
    checked: 3,
    diverged: [],
    documents: [],
    heldBack: [],
    unreachable: [],
  })
  const { documents } = await b!.report({ all: true })
  expect(documents.map(({ document, state }) => [document, state])).toEqual([
    ['x', 'equal'],
    ['y', 'equal'],
    ['z', 'equal'],
  ])
  const [x] = documents
  expect(x!.replicas['a']).toEqual({ clock: { a: 2, b: 2 }, fingerprint: expect.stringMatching(/^[0-9a-f]{32}$/) })
  expect(x!.replicas).toEqual({ a: x!.replicas['a'], b: x!.replicas['a'], c: x!.replicas['a'] })
})

test('an empty cell is equal', async () => {
  const [a] = start(['a', 'b'])
  expect(await a!.report({ all: true })).toMatchObject({ verdict: 'equal', checked: 0, documents: [] })
})

test('what a replica lacks is lag, and named with how far each has come', async () => {
  const [a, b, c] = start(['a', 'b', 'c'])
  a!.write({ x: 'one', y: 'one' })
  everybodyCatchesUp()
  a!.write({ x: 'two' })
  b!.write({ new: 'one' })
  a!.catchUp()
  const report = await c!.report()
  expect(report).toMatchObject({ verdict: 'lagging', checked: 3, diverged: [], unreachable: [] })
  expect(report.documents).toMatchObject([
    { document: 'new', state: 'lagging', replicas: { a: { clock: { b: 2 } }, b: { clock: { b: 2 } }, c: null } },
    {
      document: 'x',
      state: 'lagging',
      replicas: { a: { clock: { a: 3 } }, b: { clock: { a: 2 } }, c: { clock: { a: 2 } } },
    },
  ])
  everybodyCatchesUp()
  expect(await c!.report()).toMatchObject({ verdict: 'equal', documents: [] })
})

test('another content by the same ops is divergence, whoever is asked, and beside lag', async () => {
  const [a, b, c] = start(['a', 'b', 'c'])
  a!.write({ x: 'one', y: 'one' })
  everybodyCatchesUp()
  b!.alter('x', 'other')
  c!.write({ y: 'two' })
  for (const replica of [a!, b!, c!]) {
    const report = await replica.report()
    expect(report).toMatchObject({ verdict: 'diverged', diverged: ['x'] })
    expect(report.documents.map(({ document, state }) => [document, state])).toEqual([
      ['x', 'diverged'],
      ['y', 'lagging'],
    ])
  }
  expect(a!.lines).toEqual(['cell/diverged x a b'])
})

test('a prefix leaves the others out', async () => {
  const [a, b] = start(['a', 'b'])
  a!.write({ 'team/x': 'one', 'team/y': 'one', 'other/x': 'one' })
  everybodyCatchesUp()
  b!.alter('other/x', 'different')
  a!.write({ 'team/x': 'two' })
  expect(await a!.report()).toMatchObject({ verdict: 'diverged', checked: 3 })
  const report = await a!.report({ prefix: 'team/', all: true })
  expect(report).toMatchObject({ verdict: 'lagging', checked: 2, diverged: [] })
  expect(report.documents.map(({ document }) => document)).toEqual(['team/x', 'team/y'])
})

test('no more documents are listed than asked for, and an impossible number is refused', async () => {
  const [a] = start(['a', 'b'])
  for (let index = 0; index < 100; index++) a!.write({ [`doc-${index}`]: 'one' })
  const report = await a!.report({ limit: 3 })
  expect(report).toMatchObject({ verdict: 'lagging', checked: 100 })
  expect(report.documents).toHaveLength(3)
  everybodyCatchesUp()
  expect((await a!.report({ limit: 70, all: true })).documents).toHaveLength(70)
  for (const limit of [0, 1_001, 1.5])
    await expect(a!.report({ limit })).rejects.toMatchObject({ code: 'request/invalid' })
})

describe('under load', () => {
  /** Something is written and delivered at every opportunity. */
  function load(seed: number): void {
    const random = new Random(seed)
    meanwhile = async () => {
      const replicas = [...cell.values()]
      for (let edits = random.below(3); edits > 0; edits--) {
        random.pick(replicas).write({ [`doc-${random.below(4)}`]: `text-${random.hex(8)}` })
      }
      if (random.chance(0.8)) random.pick(replicas).catchUp(random.below(4))
    }
  }

  test.each([1, 2, 3, 4])('writes never look like divergence or like trouble (seed %d)', async (seed) => {
    const replicas = start(['a', 'b', 'c'])
    for (let index = 0; index < 8; index++) replicas[0]!.write({ [`doc-${index}`]: 'first' })
    everybodyCatchesUp()
    load(seed)
    for (const replica of replicas) {
      const report = await replica.report({ all: true })
      expect(report.diverged).toEqual([])
      expect(report.checked).toBe(8)
      expect(report.unreachable).toEqual([])
      const states = new Map(report.documents.map(({ document, state }) => [document, state]))
      for (let index = 0; index < 8; index++) {
        const expected = index < 4 ? ['equal', 'lagging'] : ['equal']
        expect(expected).toContain(states.get(`doc-${index}`))
      }
      await replica.step()
    }
    meanwhile = async () => {}
    everybodyCatchesUp()
    for (const replica of replicas) {
      expect(await replica.report()).toMatchObject({ verdict: 'equal' })
      expect(replica.lines).toEqual([])
    }
  })

  test('a document that everybody has whole now and then is found equal, though it is written all the time', async () => {
    const [a, b] = start(['a', 'b'])
    a!.write({ busy: 'first' })
    let moment = 0
    meanwhile = async () => {
      if (++moment % 12 === 0) a!.write({ busy: `text-${moment}` })
      if (moment % 12 === 1) b!.catchUp()
    }
    const { documents } = await b!.report({ all: true })
    expect(documents).toMatchObject([{ document: 'busy', state: 'equal' }])
  })

  test('a document that is behind for a moment is looked at again', async () => {
    const [a] = start(['a', 'b'], () => ({ pause: async () => everybodyCatchesUp() }))
    a!.write({ x: 'one' })
    expect(await a!.report()).toMatchObject({ verdict: 'equal', checked: 1 })
  })

  test.each([1, 2, 3])('what diverged is found among writes (seed %d)', async (seed) => {
    const replicas = start(['a', 'b', 'c'])
    for (let index = 0; index < 8; index++) replicas[0]!.write({ [`doc-${index}`]: 'first' })
    everybodyCatchesUp()
    replicas[1]!.alter('doc-7', 'other')
    load(seed)
    for (const replica of replicas) {
      expect((await replica.report()).diverged).toEqual(['doc-7'])
      replica.write({ 'doc-7': 'more' })
      everybodyCatchesUp()
    }
  })
})

test('a member that does not answer is named; the verdict is of the others', async () => {
  const [a, b, c] = start(['a', 'b', 'c'])
  a!.write({ x: 'one' })
  b!.catchUp()
  isDown.add('c')
  expect(await a!.report()).toMatchObject({ verdict: 'equal', checked: 1, unreachable: ['c'] })
  isDown.add('b')
  expect(await a!.report({ all: true })).toMatchObject({
    verdict: 'equal',
    unreachable: ['b', 'c'],
    documents: [{ document: 'x', replicas: { a: {} } }],
  })
  isDown.clear()
  // Its answers are no answers.
  c!.onAsked = async () => Uint8Array.of(2, 1)
  expect(await a!.report()).toMatchObject({ verdict: 'equal', unreachable: ['c'] })
})

test('a member that is lost while it is asked counts as one that did not answer', async () => {
  const [a, b, c] = start(['a', 'b', 'c'])
  a!.write({ x: 'one' })
  b!.catchUp()
  const { onAsked } = c!
  let answers = 0
  c!.onAsked = async (from, question) => {
    if (question[1] === 3 && ++answers > 1) throw new CausewayError('cell/draining')
    return onAsked!(from, question)
  }
  const report = await a!.report({ all: true })
  expect(report).toMatchObject({ verdict: 'equal', unreachable: ['c'] })
  expect(Object.keys(report.documents[0]!.replicas)).toEqual(['a', 'b'])
})

test('ops that wait for their causes are told of all replicas', async () => {
  const [a, b] = start(['a', 'b'])
  const held = { dot: { origin: a!.source.origin, seq: 7 }, waitsFor: vectorOf('c1:3'), waitedMs: 10 }
  b!.heldBack = [{ ...held, replica: 'b' }]
  expect(await a!.report()).toMatchObject({
    verdict: 'lagging',
    heldBack: [{ replica: 'b', dot: 'a:7', waitsFor: { c: 3 } }],
  })
})

test('fingerprints of another version are not compared', async () => {
  const [a, b] = start(['a', 'b'])
  a!.write({ x: 'one' })
  everybodyCatchesUp()
  b!.alter('x', 'other')
  const { onAsked } = b!
  b!.onAsked = async (from, question) => {
    const answer = await onAsked!(from, question)
    return question[1] === 3 ? answer.with(2, 99) : answer
  }
  expect(await a!.report()).toMatchObject({ verdict: 'lagging', diverged: [], documents: [{ state: 'unknown' }] })
})

test('a document that cannot be read somewhere is unknown, and not called equal', async () => {
  const [a, b] = start(['a', 'b'])
  a!.write({ x: 'one', y: 'one' })
  everybodyCatchesUp()
  const database = new Database(b!.path)
  database.exec("UPDATE ops SET record = x'00' WHERE position = 2")
  database.close()
  const report = await a!.report()
  expect(report).toMatchObject({ verdict: 'lagging', diverged: [] })
  expect(report.documents[0]).toMatchObject({ document: 'x', state: 'unknown', replicas: { b: { fingerprint: '' } } })
})

describe('a fingerprint', () => {
  test('is computed once for the same ops', async () => {
    const [a, b] = start(['a', 'b'])
    a!.write({ x: 'one', y: 'one' })
    everybodyCatchesUp()
    for (let times = 0; times < 3; times++) await a!.report()
    await b!.report()
    expect([a!.computed, b!.computed]).toEqual([2, 2])
    a!.write({ x: 'two' })
    everybodyCatchesUp()
    await a!.report()
    expect([a!.computed, b!.computed]).toEqual([3, 3])
  })

  test('that takes long holds nobody up, and is there the next time', async () => {
    let release = (): void => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const [a, b] = start(['a', 'b'], ({ fingerprint }) => ({
      fingerprint: async (state) => {
        if (textOf(state.tail[0]!) === 'slow') await held
        return fingerprint(state)
      },
    }))
    a!.write({ slow: 'slow' })
    everybodyCatchesUp()
    const question = new Uint8Array(await asking(a!, ['slow'], 5))
    expect(question[4]).toBe(1) // late
    release()
    expect(await b!.report({ all: true })).toMatchObject({ documents: [{ state: 'equal' }] })
  })

  /** What `replica` answers a peer about documents. */
  async function asking(replica: TestReplica, names: readonly string[], budgetMs: number): Promise<Uint8Array> {
    const { encodeQuestion } = await import('../../shared/protocol/convergence.js')
    return replica.onAsked!('b', encodeQuestion({ type: 'documents', budgetMs, names }))
  }
})

test('hostile questions are refused and change nothing', async () => {
  const [a] = start(['a', 'b'])
  a!.write({ x: 'one' })
  for (const bytes of [[], [9], [1, 1], [1, 3, 0, 200], [1, 2, 0, 0]]) {
    await expect(a!.onAsked!('b', Uint8Array.from(bytes))).rejects.toMatchObject({ code: 'protocol/bad-message' })
  }
  everybodyCatchesUp()
  expect(await a!.report()).toMatchObject({ verdict: 'equal', checked: 1 })
})

test('more reports than may wait are refused', async () => {
  const [a] = start(['a', 'b'])
  const reports = Array.from({ length: 20 }, () => a!.report())
  const outcomes = await Promise.allSettled(reports)
  expect(outcomes.filter(({ status }) => status === 'rejected')).toMatchObject(
    Array(4).fill({ reason: { code: 'access/too-many-requests' } }),
  )
})

describe('the background', () => {
  test('raises an alarm by itself, once, and ends it when the content is equal again', async () => {
    const [a, b] = start(['a', 'b'])
    for (let index = 0; index < 50; index++) a!.write({ [`doc-${index}`]: 'one' })
    everybodyCatchesUp()
    b!.alter('doc-9', 'other')
    expect(a!.convergence.alarms()).toEqual([])
    for (let steps = 0; steps < 4; steps++) await a!.step()
    expect(a!.lines).toEqual(['cell/diverged doc-9 a b'])
    expect(a!.convergence.alarms()).toEqual([
      {
        alarm: 'cell/diverged',
        details: 'The same ops gave different contents at two replicas: doc-9.',
        sinceMs: expect.any(Number),
      },
    ])
    expect(a!.convergence.stats()).toEqual({ divergedDocuments: 1 })
    // Lag does not end it, nor do other ops on top.
    a!.write({ 'doc-9': 'two' })
    await a!.step()
    expect(await a!.report()).toMatchObject({ verdict: 'diverged', diverged: ['doc-9'] })
    everybodyCatchesUp()
    await a!.step()
    expect(a!.convergence.stats().divergedDocuments).toBe(1)
    for (const replica of [a!, b!]) {
      replica.write({ 'doc-9': `by-${replica.source.origin}` })
      everybodyCatchesUp()
    }
    for (const replica of [a!, b!]) replica.alter('doc-9', 'mended')
    await a!.step()
    expect(a!.lines).toEqual(['cell/diverged doc-9 a b', 'cell/divergence-ended doc-9'])
    expect(a!.convergence.alarms()).toEqual([])
  })

  test('keeps an alarm while one of the two that differ is away', async () => {
    const [a, b] = start(['a', 'b', 'c'])
    a!.write({ x: 'one' })
    everybodyCatchesUp()
    b!.alter('x', 'other')
    await a!.step()
    isDown.add('b')
    await a!.step()
    expect(await a!.report()).toMatchObject({ verdict: 'equal', unreachable: ['b'] })
    expect(a!.convergence.alarms()).toHaveLength(1)
    expect(a!.lines).toEqual(['cell/diverged x a b'])
  })

  test('computes nothing for documents on the move, and nothing without a peer', async () => {
    const [a, b, c] = start(['a', 'b', 'c'])
    isDown.add('b').add('c')
    a!.write({ x: 'one', y: 'one' })
    await a!.step()
    expect(a!.computed).toBe(0)
    isDown.clear()
    b!.catchUp()
    b!.write({ y: 'two' })
    c!.catchUp(0)
    await a!.step()
    // Of `x`, a and b have the same ops; c has none yet.
    expect([a!.computed, b!.computed, c!.computed]).toEqual([1, 1, 0])
  })

  test('goes on at a pace, a little at a time, and rests after a round', async () => {
    const [a] = start(['a', 'b'])
    for (let index = 0; index < 70; index++) a!.write({ [`doc-${index}`]: 'one' })
    everybodyCatchesUp()
    const computedAfter = async (ms: number): Promise<number> => {
      nowMs += ms
      await a!.convergence.tick()
      return a!.computed
    }
    expect(await computedAfter(999)).toBe(0)
    expect(await computedAfter(1)).toBe(32)
    expect(await computedAfter(999)).toBe(32)
    expect(await computedAfter(1)).toBe(64)
    expect(await computedAfter(1_000)).toBe(70)
    const questions = asked.length
    expect(await computedAfter(60_000)).toBe(70)
    expect(asked.length).toBe(questions)
    await computedAfter(600_000)
    expect(asked.length).toBeGreaterThan(questions)
  })
})

describe('many documents', () => {
  const COUNT = 100_000

  /** Rows as commits would leave them, at once. */
  function fill(replica: TestReplica, count = COUNT): void {
    const database = new Database(replica.path)
    database.exec(`
      WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${count})
      INSERT INTO documents SELECT n, 'doc-' || n, 0, 1, 1, 1, unhex(printf('%032x', n)), x'', 1, 1 FROM numbers`)
    database.close()
  }

  /** The rows have no ops, so there is nothing to load. */
  const withoutContent = ({ storage }: ConvergenceOptions): Partial<ConvergenceOptions> => ({
    storage: {
      ...storage,
      load: async (name) => {
        const [digest] = await storage.digestsOf([name])
        if (digest === undefined) return undefined
        const { generation, count, xor, clock } = digest
        const bytes = Uint8Array.from(Buffer.from(xor, 'hex'))
        return { name, generation, tail: [], position: 1, clock, digest: { count, xor: bytes } }
      },
    },
  })

  const bytes = (): number => asked.reduce((sum, { question, answer }) => sum + question.length + answer.length, 0)
  /** Everything but the comparison of contents, which is as much as time allows. */
  const aboutOps = (): typeof asked => asked.filter(({ question }) => question[1] !== 3)

  test('(a hundred thousand) cost a question where they are equal, and little more where a few are not', async () => {
    const [a, b] = start(['a', 'b'], withoutContent)
    fill(a!)
    fill(b!)
    expect(await a!.report()).toMatchObject({ verdict: 'equal', checked: COUNT })
    expect(aboutOps()).toHaveLength(1)
    asked = aboutOps()
    expect(bytes()).toBeLessThan(2_000)

    for (let index = 1; index <= 10; index++) a!.write({ [`doc-${index * 9_000}`]: 'more' })
    asked = []
    const report = await a!.report()
    expect(report).toMatchObject({ verdict: 'lagging', checked: COUNT })
    expect(report.documents).toHaveLength(10)
    expect(aboutOps()).toHaveLength(2)
    asked = aboutOps()
    expect(bytes()).toBeLessThan(10 * (TREE.bucketsPerGroup * TREE.hashBytes + 60 * 40) + 2_000)
  })

  test('that one replica lacks all are lag, and no message is large', async () => {
    const [a, b] = start(['a', 'b'], withoutContent)
    fill(a!, 30_000)
    const report = await a!.report({ limit: 10 })
    expect(report).toMatchObject({ verdict: 'lagging', diverged: [] })
    expect(report.documents).toHaveLength(10)
    expect(report.checked).toBeGreaterThan(10_000)
    expect(await b!.report({ limit: 10 })).toMatchObject({ verdict: 'lagging', diverged: [] })
    for (const { question, answer } of asked) {
      expect(question.length).toBeLessThan(PEER_LIMITS.askBytes)
      expect(answer.length).toBeLessThan(PEER_LIMITS.answerBytes)
    }
    expect(asked.length).toBeLessThan(200)
  })
})
