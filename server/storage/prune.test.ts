import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Op, partsOf } from '../../shared/protocol/op.js'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import { incarnation, OpSource, part, temporaryDirectory, textOf } from '../../test/integration/storage/op-source.js'
import type { PruneOptions, PruneReport } from './log.js'
import { LogStore } from './log-store.js'
import { PRUNE_SLICE_OPS } from './prune.js'
import type { StoredDocument } from './stored-document.js'

const START_MS = 1_800_000_000_000

/** A log whose op at position p was made p milliseconds after the start, and what its documents should hold. */
class World {
  readonly directory: string
  store: LogStore
  source: OpSource
  private starts = 0
  readonly words = new Map<string, { position: number; text: string }[]>()

  constructor(directory: string) {
    this.directory = directory
    ;[this.store, this.source] = this.open()
  }

  restart(): void {
    this.store.close()
    ;[this.store, this.source] = this.open()
  }

  private open(): [LogStore, OpSource] {
    const own = incarnation(++this.starts)
    const store = LogStore.open({ directory: this.directory, replicaName: 'a', incarnation: own })
    const { predecessor } = store.recovered
    return [store, new OpSource('a', own, predecessor && { predecessor })]
  }

  /** An edit of each document, in one op. */
  write(...documents: string[]): void {
    const ops: Op[] = this.source.edit(documents.map((name) => part(name, `${this.source.seq + 1} `)))
    const first = this.position + 1
    const timed = ops.map((op, index) => ({ ...op, hlc: ((START_MS + first + index) * 1024) as Op['hlc'] }))
    this.store.commit([encodeOpBatch(timed)])
    for (const [index, op] of timed.entries()) {
      for (const { document, update } of partsOf(op)) {
        this.words.set(document, [
          ...(this.words.get(document) ?? []),
          { position: first + index, text: textOf(update) },
        ])
      }
    }
  }

  get position(): number {
    return this.store.figures().position
  }

  /** Saves what `load` gives: now as the head, or a moment as the base. */
  save(document: string, upTo?: number): void {
    const loaded = this.store.load(document, upTo === undefined ? {} : { upTo })!
    this.store.saveSnapshot({
      document,
      generation: 0,
      kind: upTo === undefined ? 'head' : 'base',
      position: loaded.position,
      update: new TextEncoder().encode(textIn(loaded)),
      known: new Uint8Array(1),
      fingerprint: new Uint8Array(1),
    })
  }

  /** Keeps the newest `ops` ops, as far as the rule allows. */
  prune(ops: number, more: Partial<PruneOptions> = {}): PruneReport {
    const ceiling = new Map([[this.source.origin, this.source.seq]])
    return this.store.prune({ maxBytes: 1e9, maxAgeMs: ops - 1, nowMs: START_MS + this.position, ceiling, ...more })
  }

  textAt(document: string, position: number): string {
    return (this.words.get(document) ?? [])
      .filter((word) => word.position <= position)
      .map(({ text }) => text)
      .join('')
  }

  expectPresent(): void {
    for (const document of this.words.keys())
      expect(textIn(this.store.load(document))).toBe(this.textAt(document, this.position))
  }

  /** What the kept history shows of a moment; `compacted` where it does not reach so far. */
  history(document: string, upTo: number): string {
    try {
      return textIn(this.store.load(document, { upTo }))
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: 'history/compacted' })
      return 'compacted'
    }
  }
}

const textIn = (document: StoredDocument | undefined): string =>
  [document?.snapshot?.update ?? new Uint8Array(), ...(document?.tail ?? []).map(({ update }) => update)]
    .map(textOf)
    .join('')

function world(): World {
  const temporary = temporaryDirectory()
  const created = new World(temporary.path)
  onTestFinished(() => {
    created.store.close()
    temporary[Symbol.dispose]()
  })
  return created
}

describe('an op goes', () => {
  test('once it is beyond the budget and a document at rest has its snapshot above it', () => {
    const log = world()
    for (let index = 0; index < 5; index++) log.write('x') // positions 2 to 6, after the open
    expect(log.prune(3)).toMatchObject({ deletedOps: 1, floor: 1, wanted: [{ document: 'x', position: 3 }] })
    log.save('x') // at 6
    for (let index = 0; index < 6; index++) log.write('y') // 7 to 12
    log.save('y')
    expect(log.prune(4)).toMatchObject({
      deletedOps: 5,
      floor: 6,
      more: false,
      wanted: [{ document: 'y', position: 8 }],
    })
    log.expectPresent()
    log.restart()
    expect(log.store.recovered).toMatchObject({ position: 12, verifiedOps: 6, damaged: [] })
    log.write('x')
    expect(log.position).toBe(14)
    log.expectPresent()
  })

  test('never above the majority-durable cut, whose folded entries count', () => {
    const log = world()
    for (let index = 0; index < 4; index++) log.write('x')
    log.save('x')
    const ceiling = new Map([[log.source.origin, 3]])
    expect(log.prune(0, { ceiling: new Map() })).toMatchObject({ deletedOps: 0 })
    expect(log.prune(0, { ceiling })).toMatchObject({ deletedOps: 3, floor: 3 })
    log.restart()
    log.write('y')
    log.save('y')
    // The new origin's entry implies the old one's.
    expect(log.prune(0, { ceiling: new Map([[log.source.origin, log.source.seq - 1]]) })).toMatchObject({ floor: 6 })
    log.expectPresent()
  })

  test('by bytes as well as by age', () => {
    const log = world()
    for (let index = 10; index < 30; index++) {
      log.write(`x${index}`)
      log.save(`x${index}`)
    }
    const { logBytes } = log.store.figures()
    log.prune(1_000, { maxBytes: logBytes / 4 })
    expect(log.store.figures().logBytes).toBeGreaterThanOrEqual(logBytes / 4)
    expect(log.store.figures().logBytes).toBeLessThan(logBytes / 4 + 40)
  })

  test('in slices, so that commits get in between', () => {
    const log = world()
    const edits = Array.from({ length: PRUNE_SLICE_OPS + 100 }, () => ({ x: 'w' }))
    log.store.commit([encodeOpBatch(log.source.edits(...edits))])
    log.store.saveSnapshot({
      document: 'x',
      generation: 0,
      position: log.position,
      update: new Uint8Array(1),
      known: new Uint8Array(1),
      fingerprint: new Uint8Array(1),
    })
    const everything = { maxBytes: 0, maxAgeMs: 0, nowMs: START_MS * 2 }
    expect(log.prune(0, everything)).toMatchObject({ deletedOps: PRUNE_SLICE_OPS, more: true })
    expect(log.prune(0, everything)).toMatchObject({ deletedOps: 101, more: false, floor: PRUNE_SLICE_OPS + 101 })
    log.restart()
    expect(log.store.recovered).toMatchObject({ position: PRUNE_SLICE_OPS + 101, verifiedOps: 0 })
    expect(log.store.load('x')!.tail).toEqual([])
  })
})

describe('history', () => {
  test('is rebuilt from the base and the ops above it', () => {
    const log = world()
    for (let index = 0; index < 20; index++) log.write('x', 'y') // 2 to 21
    log.save('x')
    log.save('y')
    const { wanted, floor } = log.prune(11)
    expect(wanted).toEqual([
      { document: 'x', generation: 0, position: 10 },
      { document: 'y', generation: 0, position: 10 },
    ])
    expect(floor).toBe(1)
    for (const { document, position } of wanted) log.save(document, position)
    expect(log.prune(11)).toMatchObject({ floor: 10, wanted: [] })
    log.write('x')
    log.save('x')
    for (const document of ['x', 'y']) {
      for (let upTo = 10; upTo <= log.position; upTo++)
        expect(log.history(document, upTo)).toBe(log.textAt(document, upTo))
      expect(log.history(document, 9)).toBe('compacted')
    }
  })

  test('goes on from the old head when a newer one arrives and nothing older is left', () => {
    const log = world()
    for (let index = 0; index < 4; index++) log.write('x') // 2 to 5
    log.save('x')
    for (let index = 0; index < 4; index++) log.write('y') // 6 to 9
    log.prune(4)
    for (let index = 0; index < 3; index++) log.write('x') // 10 to 12
    log.save('x')
    for (let upTo = 5; upTo <= 12; upTo++) expect(log.history('x', upTo)).toBe(log.textAt('x', upTo))
    expect(log.history('x', 4)).toBe('compacted')
  })

  test('gives way beyond twice the budget, where no base was made', () => {
    const log = world()
    for (let index = 0; index < 20; index++) log.write('x') // 2 to 21
    log.save('x')
    expect(log.prune(5)).toMatchObject({ floor: 12 })
    log.expectPresent()
    expect(log.history('x', 20)).toBe('compacted')
    expect(log.history('x', 21)).toBe(log.textAt('x', 21))
  })

  test('a document without any snapshot keeps its ops, whatever the budget', () => {
    const log = world()
    for (let index = 0; index < 20; index++) log.write('x')
    expect(log.prune(1)).toMatchObject({ floor: 1, wanted: [{ document: 'x', position: 20 }] })
    log.expectPresent()
  })
})

type Step = ['write', string[]] | ['save', string] | ['prune', number] | ['restart']

test('whatever is pruned, documents are as they were written, and history is right or said to be gone', () => {
  const name = fc.constantFrom('x', 'y', 'z')
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.tuple(fc.constant('write' as const), fc.uniqueArray(name, { minLength: 1, maxLength: 2 })),
    },
    { weight: 2, arbitrary: fc.tuple(fc.constant('save' as const), name) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('prune' as const), fc.integer({ min: 1, max: 12 })) },
    fc.tuple(fc.constant('restart' as const)),
  ) as fc.Arbitrary<Step>
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40, size: '+1' }), (steps) => {
      using temporary = temporaryDirectory()
      const log = new World(temporary.path)
      /** The highest cut that was asked for, and whether history may have been given up. */
      let soft = 0
      let isHistoryGivenUp = false
      try {
        for (const [type, value] of steps) {
          if (type === 'write') log.write(...value)
          else if (type === 'restart') log.restart()
          else if (type === 'save') {
            if (log.words.has(value)) log.save(value)
          } else {
            soft = Math.max(soft, log.position - value)
            isHistoryGivenUp ||= log.position > 2 * value
            const { wanted } = log.prune(value)
            for (const { document, position } of wanted) {
              if (log.history(document, position) !== 'compacted') log.save(document, position)
            }
            log.prune(value)
          }
          log.expectPresent()
          for (const document of log.words.keys()) {
            for (let upTo = Math.max(0, log.position - 15); upTo <= log.position; upTo++) {
              const text = log.history(document, upTo)
              if (text === 'compacted') expect(upTo < soft || isHistoryGivenUp).toBe(true)
              else expect(text).toBe(log.textAt(document, upTo))
            }
          }
        }
      } finally {
        log.store.close()
      }
    }),
    { numRuns: 25 },
  )
}, 60_000)
