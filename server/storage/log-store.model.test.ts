/**
 * The store against a slow, obvious model of it: lists of words per document. Failures are inputs like any other: the
 * model moves only where the store said that something is stored, or a restart shows it.
 */
import { createHash } from 'node:crypto'
import Database from 'better-sqlite3'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { OriginId } from '../../shared/clock/dot.js'
import { type Op, partsOf } from '../../shared/protocol/op.js'
import { encodeOpBatch, encodeOpCanonical } from '../../shared/protocol/op-codec.js'
import { incarnation, OpSource, part, temporaryDirectory, textOf } from '../../test/integration/storage/op-source.js'
import { LogStore } from './log-store.js'
import type { StoredDocument } from './stored-document.js'

const DOCUMENTS = ['a', 'a/b', 'a/c', 'ä'] as const
const REPLICAS = ['own', 'b', 'c'] as const

interface Word {
  readonly position: number
  readonly text: string
}

/** What should be there. */
interface Model {
  position: number
  hlc: number
  /** Per document: what was written, and the XOR of the chain values of its ops. */
  readonly words: Map<string, Word[]>
  readonly digests: Map<string, { count: number; xor: Buffer }>
  readonly chains: Map<OriginId, Buffer>
  readonly heads: Map<OriginId, number>
  readonly snapshots: Map<string, number>
}

/** The store under test and the replicas that write to it. */
interface Real {
  readonly directory: string
  store: LogStore
  starts: number
  sources: Map<string, OpSource>
  aroundCommit: (commit: () => void) => void
}

type Edit = readonly [replica: (typeof REPLICAS)[number], documents: readonly string[]]

let words = 0

function openStore(real: Real): void {
  const own = incarnation(++real.starts)
  real.store = LogStore.open({
    directory: real.directory,
    replicaName: 'own',
    incarnation: own,
    aroundCommit: (commit) => real.aroundCommit(commit),
  })
  const { predecessor, latestHlc } = real.store.recovered
  real.sources.set('own', new OpSource('own', own, { ...(predecessor && { predecessor }), hlc: latestHlc }))
}

function makeOps(real: Real, edits: readonly Edit[]): Op[] {
  return edits.flatMap(([replica, documents]) =>
    real.sources.get(replica)!.edit(documents.map((name) => part(name, `w${++words} `))),
  )
}

function apply(model: Model, ops: readonly Op[]): void {
  for (const op of ops) {
    model.position++
    model.hlc = Math.max(model.hlc, op.hlc)
    const { origin, seq } = op.dot
    model.heads.set(origin, seq)
    if (op.kind === 'open' && op.predecessor && model.heads.get(op.predecessor.origin) === op.predecessor.seq) {
      model.heads.delete(op.predecessor.origin)
    }
    const before = model.chains.get(origin) ?? Buffer.alloc(16)
    const chain = createHash('sha256').update(before).update(encodeOpCanonical(op)).digest().subarray(0, 16)
    model.chains.set(origin, chain)
    for (const { document, update } of partsOf(op)) {
      model.words.set(document, [
        ...(model.words.get(document) ?? []),
        { position: model.position, text: textOf(update) },
      ])
      const digest = model.digests.get(document) ?? { count: 0, xor: Buffer.alloc(16) }
      model.digests.set(document, {
        count: digest.count + 1,
        xor: Buffer.from(digest.xor.map((byte, index) => byte ^ chain[index]!)),
      })
    }
  }
}

const textUpTo = (model: Model, document: string, position: number): string =>
  (model.words.get(document) ?? [])
    .filter((word) => word.position <= position)
    .map(({ text }) => text)
    .join('')

const textIn = (document: StoredDocument | undefined): string =>
  [document?.snapshot?.update ?? new Uint8Array(), ...(document?.tail ?? []).map(({ update }) => update)]
    .map(textOf)
    .join('')

function compare(model: Model, { store }: Real): void {
  for (const name of DOCUMENTS) {
    const document = store.load(name)
    expect(textIn(document)).toBe(textUpTo(model, name, model.position))
    if (!document) continue
    expect(document.position).toBe(model.position)
    expect(document.snapshot?.position).toBe(model.snapshots.get(name))
    const digest = model.digests.get(name)!
    expect({ count: document.digest.count, xor: Buffer.from(document.digest.xor) }).toEqual(digest)
  }
}

class Commit implements fc.Command<Model, Real> {
  readonly edits: readonly Edit[]
  readonly failure: string | undefined

  constructor(edits: readonly Edit[], failure: string | undefined) {
    this.edits = edits
    this.failure = failure
  }

  check = (): boolean => true
  toString = (): string => `commit(${JSON.stringify(this.edits)}${this.failure ? `, ${this.failure}` : ''})`

  run(model: Model, real: Real): void {
    const back = REPLICAS.map((name) => real.sources.get(name)!.mark())
    const ops = makeOps(real, this.edits)
    const middle = Math.floor(ops.length / 2)
    const batches = [ops.slice(0, middle), ops.slice(middle)].map(encodeOpBatch)
    if (!this.failure) {
      expect(real.store.commit(batches)).toMatchObject({
        position: model.position + 1,
        counts: [middle, ops.length - middle],
      })
      apply(model, ops)
    } else {
      const { failure } = this
      real.aroundCommit = () => {
        throw new Database.SqliteError('injected', failure)
      }
      expect(() => real.store.commit(batches)).toThrow(
        expect.objectContaining({ info: expect.objectContaining({ outcome: 'definite' }) }),
      )
      real.aroundCommit = (commit) => commit()
      for (const undo of back) undo()
    }
    compare(model, real)
  }
}

/** The disk fails at a commit: it may or may not have stored it, and only the next start can tell. */
class DiskFailure implements fc.Command<Model, Real> {
  readonly edits: readonly Edit[]
  readonly stored: boolean

  constructor(edits: readonly Edit[], stored: boolean) {
    this.edits = edits
    this.stored = stored
  }

  check = (): boolean => true
  toString = (): string => `diskFailure(${JSON.stringify(this.edits)}, ${this.stored ? 'stored' : 'not stored'})`

  run(model: Model, real: Real): void {
    const back = REPLICAS.map((name) => real.sources.get(name)!.mark())
    const ops = makeOps(real, this.edits)
    real.aroundCommit = (commit) => {
      if (this.stored) commit()
      throw new Database.SqliteError('injected', 'SQLITE_IOERR_FSYNC')
    }
    const failed = expect.objectContaining({ code: 'storage/failed' })
    expect(() => real.store.commit([encodeOpBatch(ops)])).toThrow(failed)
    real.aroundCommit = (commit) => commit()
    expect(() => real.store.load('a')).toThrow(failed)
    if (this.stored) apply(model, ops)
    else for (const undo of back) undo()
    new Restart().run(model, real)
  }
}

class Restart implements fc.Command<Model, Real> {
  check = (): boolean => true
  toString = (): string => 'restart'

  run(model: Model, real: Real): void {
    real.store.close()
    openStore(real)
    const { vector, position, latestHlc, documents, quarantined, damaged, rolledBack, verifiedOps } =
      real.store.recovered
    expect(vector).toEqual(model.heads)
    expect({ position, latestHlc, documents, quarantined, damaged, rolledBack, verifiedOps }).toEqual({
      position: model.position,
      latestHlc: model.hlc,
      documents: model.words.size,
      quarantined: [],
      damaged: [],
      rolledBack: undefined,
      verifiedOps: model.position,
    })
    compare(model, real)
  }
}

class SaveSnapshot implements fc.Command<Model, Real> {
  readonly document: string
  /** How many ops below the end of the log. */
  readonly below: number
  readonly fails: boolean

  constructor(document: string, below: number, fails: boolean) {
    this.document = document
    this.below = below
    this.fails = fails
  }

  check = (model: Readonly<Model>): boolean => model.words.has(this.document)
  toString = (): string => `saveSnapshot(${this.document}, -${this.below}${this.fails ? ', fails' : ''})`

  run(model: Model, real: Real): void {
    const position = model.position - this.below
    const snapshot = {
      document: this.document,
      generation: 0,
      position,
      update: new TextEncoder().encode(textUpTo(model, this.document, position)),
      known: new Uint8Array([1]),
      fingerprint: new Uint8Array([3]),
    }
    if (position < Math.max(1, model.snapshots.get(this.document) ?? 0)) {
      expect(() => real.store.saveSnapshot(snapshot)).toThrow(expect.objectContaining({ code: 'request/invalid' }))
    } else if (this.fails) {
      real.aroundCommit = () => {
        throw new Database.SqliteError('injected', 'SQLITE_FULL')
      }
      expect(() => real.store.saveSnapshot(snapshot)).toThrow(expect.objectContaining({ code: 'storage/full' }))
      real.aroundCommit = (commit) => commit()
    } else {
      real.store.saveSnapshot(snapshot)
      model.snapshots.set(this.document, position)
    }
    compare(model, real)
  }
}

class List implements fc.Command<Model, Real> {
  readonly prefix: string
  readonly limit: number

  constructor(prefix: string, limit: number) {
    this.prefix = prefix
    this.limit = limit
  }

  check = (): boolean => true
  toString = (): string => `list(${this.prefix}, ${this.limit})`

  run(model: Model, { store }: Real): void {
    const expected = [...model.words.keys()].filter((name) => name.startsWith(this.prefix)).sort()
    const { documents, cursor } = store.list({ prefix: this.prefix, limit: this.limit })
    expect(documents.map(({ name }) => name)).toEqual(expected.slice(0, this.limit))
    expect(cursor).toBe(expected.length > this.limit ? expected[this.limit - 1] : undefined)
    for (const { name, bytes } of documents) expect(bytes).toBe(textUpTo(model, name, model.position).length)
  }
}

const edits = fc.array(
  fc.tuple(fc.constantFrom(...REPLICAS), fc.uniqueArray(fc.constantFrom(...DOCUMENTS), { minLength: 1, maxLength: 3 })),
  { minLength: 1, maxLength: 4 },
)
const recoverable = fc.constantFrom('SQLITE_FULL', 'SQLITE_READONLY', 'SQLITE_BUSY')
const commands = fc.commands(
  [
    edits.map((list) => new Commit(list, undefined)),
    edits.map((list) => new Commit(list, undefined)),
    fc.tuple(edits, recoverable).map(([list, code]) => new Commit(list, code)),
    fc.tuple(edits, fc.boolean()).map(([list, stored]) => new DiskFailure(list, stored)),
    fc.constant(new Restart()),
    fc.tuple(fc.constantFrom(...DOCUMENTS), fc.nat({ max: 3 }), fc.boolean()).map((args) => new SaveSnapshot(...args)),
    fc.tuple(fc.constantFrom('', 'a', 'a/', 'z'), fc.integer({ min: 1, max: 4 })).map((args) => new List(...args)),
  ],
  { maxCommands: 40, size: '+1' },
)

test('[DU1] whatever happens, the store holds what it said it stored, and a restart shows the same', () => {
  fc.assert(
    fc.property(commands, (list) => {
      using temporary = temporaryDirectory()
      const setup = (): { model: Model; real: Real } => {
        const real = {
          directory: temporary.path,
          starts: 0,
          sources: new Map(['b', 'c'].map((name) => [name, new OpSource(name, incarnation(200))])),
          aroundCommit: (commit: () => void) => commit(),
        } as Real
        openStore(real)
        open = real
        const model = {
          position: 0,
          hlc: 0,
          words: new Map(),
          digests: new Map(),
          chains: new Map(),
          heads: new Map(),
          snapshots: new Map(),
        }
        return { model, real }
      }
      let open: Real | undefined
      try {
        fc.modelRun(setup, list)
      } finally {
        open?.store.close()
      }
    }),
    { numRuns: 60 },
  )
}, 30_000)
