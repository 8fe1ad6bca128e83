/**
 * Bits that change on the disk. SQLite hands out a changed byte as it finds it, and takes a cut write-ahead log for a
 * shorter one; the store must notice both: name what is damaged, serve the rest, and never serve what was not written.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { CausewayError } from '../../shared/errors/error.js'
import { encodeOpBatch } from '../../shared/protocol/op-codec.js'
import { incarnation, OpSource, part, temporaryDirectory, textOf } from '../../test/integration/storage/op-source.js'
import type { Recovered } from './log.js'
import { LogStore } from './log-store.js'
import { Scrubber } from './verification.js'

const NAMES = ['team/notes', 'team/plans', 'x', 'with/base']
const temporary = temporaryDirectory()
/** A closed log: everything is in the database file. */
const whole = join(temporary.path, 'whole')
/** A log whose process died: its last commits are in the write-ahead log. */
const died = join(temporary.path, 'died')
let contents: Map<string, string>
let recovered: Recovered
let copies = 0

const open = (directory: string, number: number): LogStore =>
  LogStore.open({ directory, replicaName: 'a', incarnation: incarnation(number) })

const contentOf = (store: LogStore, name: string): string => {
  const document = store.load(name)
  return [document?.snapshot?.update ?? new Uint8Array(), ...(document?.tail ?? []).map(({ update }) => update)]
    .map(textOf)
    .join('')
}

/** `whole`: snapshots, tails, ops of several documents, pages that overflow. */
beforeAll(() => {
  const store = open(whole, 1)
  const source = new OpSource('a', incarnation(1))
  const peer = new OpSource('b', incarnation(7))
  const write = (from: OpSource, documents: readonly string[], text: string): void => {
    store.commit([encodeOpBatch(from.edit(documents.map((name) => part(name, text))))])
  }
  const save = (document: string): void => {
    const { position } = store.load(document)!
    const update = new TextEncoder().encode(contentOf(store, document))
    store.saveSnapshot({
      document,
      generation: 0,
      position,
      update,
      known: new Uint8Array(9),
      fingerprint: new Uint8Array(9),
    })
  }
  for (let index = 0; index < 20; index++) write(source, [NAMES[index % NAMES.length]!], `op ${index} `)
  write(peer, NAMES, 'from a peer ')
  write(source, ['team/notes'], 'long '.repeat(2_000))
  for (const name of NAMES) save(name)
  for (let index = 0; index < 20; index++)
    write(index % 3 ? source : peer, [NAMES[index % NAMES.length]!], `tail ${index} `)
  contents = new Map(NAMES.map((name) => [name, contentOf(store, name)]))
  store.close()
  const again = open(whole, 2)
  recovered = again.recovered
  const second = new OpSource('a', incarnation(2), { predecessor: recovered.predecessor!, hlc: recovered.latestHlc })
  mkdirSync(died)
  for (let index = 0; index < 10; index++) {
    again.commit([encodeOpBatch(second.edits({ [NAMES[index % NAMES.length]!]: `late ${index} ` }))])
  }
  for (const file of ['causeway.db', 'causeway.db-wal', 'witness']) copyFileSync(join(whole, file), join(died, file))
  again.close()
  // Nothing was checkpointed meanwhile: this is the database as it was closed before.
  copyFileSync(join(died, 'causeway.db'), join(whole, 'causeway.db'))
})

afterAll(() => temporary[Symbol.dispose]())

function copyOf(directory: string): string {
  const copy = join(temporary.path, `copy-${++copies}`)
  mkdirSync(copy)
  for (const file of ['causeway.db', 'causeway.db-wal', 'witness']) {
    if (existsSync(join(directory, file))) copyFileSync(join(directory, file), join(copy, file))
  }
  return copy
}

function flipBit(file: string, byte: number, bit: number): void {
  const bytes = readFileSync(file)
  bytes[byte % bytes.length]! ^= 1 << bit
  writeFileSync(file, bytes)
}

/** Opens what may be damaged. Returns the store, or the refusal, which must be one of ours. */
function tryOpen(directory: string): LogStore | CausewayError {
  try {
    const store = open(directory, 99)
    onTestFinished(() => store.close())
    return store
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(CausewayError)
    return thrown as CausewayError
  }
}

/** The content of a document, or `unavailable`: nothing else may come out. */
function tryLoad(store: LogStore, name: string): string {
  try {
    return contentOf(store, name)
  } catch (thrown) {
    expect(thrown).toMatchObject({
      code: 'document/unavailable',
      details: { document: name, reason: expect.any(String) },
    })
    return 'unavailable'
  }
}

describe('a flipped bit in the database file', () => {
  test('is never served: the start is refused, or the document is unavailable, or everything is as it was', () => {
    const size = readFileSync(join(whole, 'causeway.db')).length
    const outcomes = { refused: 0, unavailable: 0, harmless: 0 }
    fc.assert(
      fc.property(fc.nat({ max: size - 1 }), fc.nat({ max: 7 }), (byte, bit) => {
        const directory = copyOf(whole)
        flipBit(join(directory, 'causeway.db'), byte, bit)
        const store = tryOpen(directory)
        if (store instanceof CausewayError) {
          outcomes.refused++
          return
        }
        const { vector, predecessor, latestHlc, position } = store.recovered
        expect({ vector, predecessor, latestHlc, position }).toEqual({
          vector: recovered.vector,
          predecessor: recovered.predecessor,
          latestHlc: recovered.latestHlc,
          position: recovered.position,
        })
        const loaded = NAMES.map((name) => tryLoad(store, name))
        for (const [index, name] of NAMES.entries())
          expect([contents.get(name), 'unavailable']).toContain(loaded[index])
        outcomes[loaded.includes('unavailable') ? 'unavailable' : 'harmless']++
        store.close()
      }),
      { numRuns: 200 },
    )
    // The test itself is looked at, too: it must have met every outcome.
    expect(Math.min(...Object.values(outcomes))).toBeGreaterThan(0)
  }, 60_000)

  /** Flips a bit wherever `text` stands: pages that were split keep stale copies of their rows. */
  function damage(directory: string, text: string): void {
    const file = join(directory, 'causeway.db')
    const bytes = readFileSync(file)
    expect(bytes.indexOf(text)).toBeGreaterThan(0)
    for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text)) bytes[at]! ^= 1
    writeFileSync(file, bytes)
  }

  test('in the tail of a document: it is quarantined and named, the others are served, and a restart remembers', () => {
    const directory = copyOf(whole)
    damage(directory, 'tail 18')
    const store = tryOpen(directory) as LogStore
    expect(store.recovered.quarantined).toEqual(['x'])
    expect(store.recovered.damaged).toMatchObject([{ document: 'x', reason: 'checksum of an op does not match' }])
    expect(NAMES.map((name) => tryLoad(store, name))).toEqual(
      NAMES.map((name) => (name === 'x' ? 'unavailable' : contents.get(name))),
    )
    store.close()
    expect((tryOpen(directory) as LogStore).recovered.quarantined).toEqual(['x'])
  })

  test('in a snapshot: found when it is loaded, or by the scrub', () => {
    const directory = copyOf(whole)
    damage(directory, 'op 0 op 4')
    const database = new Database(join(directory, 'causeway.db'))
    const scrubber = new Scrubber(database)
    const reports = [scrubber.next(10_000, 1e9), scrubber.next(10_000, 1e9)]
    database.close()
    expect(reports).toMatchObject([
      { verifiedOps: recovered.position, damaged: [], finishedRound: false },
      {
        verifiedSnapshots: 4,
        finishedRound: true,
        damaged: [{ document: 'team/notes', reason: 'checksum of a snapshot does not match' }],
      },
    ])
    const store = tryOpen(directory) as LogStore
    expect(store.recovered.quarantined).toEqual([])
    expect(tryLoad(store, 'team/notes')).toBe('unavailable')
    expect(store.figures().quarantined).toEqual(['team/notes'])
  })

  test('in an op below the snapshots: named, and no document is worse for it', () => {
    const directory = copyOf(whole)
    damage(directory, 'team/plans\0\x05op 5 ')
    const store = tryOpen(directory) as LogStore
    expect(store.recovered).toMatchObject({ quarantined: [], damaged: [{ document: 'team/plans' }] })
    expect(tryLoad(store, 'team/plans')).toBe(contents.get('team/plans'))
  })

  test('a snapshot that covers everything puts a quarantined document back into service', () => {
    const directory = copyOf(whole)
    damage(directory, 'tail 18')
    const store = tryOpen(directory) as LogStore
    const update = new TextEncoder().encode('repaired')
    const bytes = new Uint8Array(1)
    store.saveSnapshot({
      document: 'x',
      generation: 0,
      position: recovered.position,
      update,
      known: bytes,
      fingerprint: bytes,
    })
    expect(tryLoad(store, 'x')).toBe('repaired')
    expect(store.figures().quarantined).toEqual([])
  })

  test('commits that touch a quarantined document are stored', () => {
    const directory = copyOf(whole)
    damage(directory, 'tail 18')
    const store = tryOpen(directory) as LogStore
    const source = new OpSource('a', incarnation(99), {
      predecessor: store.recovered.predecessor!,
      hlc: store.recovered.latestHlc,
    })
    store.commit([encodeOpBatch(source.edits({ x: 'more', 'team/plans': 'more' }))])
    expect(tryLoad(store, 'x')).toBe('unavailable')
    expect(tryLoad(store, 'team/plans')).toBe(`${contents.get('team/plans')}more`)
  })
})

describe('a write-ahead log that lost its end', () => {
  test('untouched, it gives every commit back', () => {
    const store = tryOpen(copyOf(died)) as LogStore
    expect(store.recovered.position).toBe(recovered.position + 11)
    expect(store.recovered.rolledBack).toBeUndefined()
  })

  test('cut or with a flipped bit: what is left is a beginning of what was written, and the loss is named', () => {
    const size = readFileSync(join(died, 'causeway.db-wal')).length
    const end = recovered.position + 11
    let losses = 0
    fc.assert(
      fc.property(fc.nat({ max: size - 1 }), fc.nat({ max: 7 }), fc.boolean(), (byte, bit, isCut) => {
        const directory = copyOf(died)
        const file = join(directory, 'causeway.db-wal')
        if (isCut) truncateSync(file, byte)
        else flipBit(file, byte, bit)
        const store = tryOpen(directory) as LogStore
        const { position, rolledBack } = store.recovered
        expect(rolledBack).toEqual(position < end ? { from: end, to: position } : undefined)
        if (position < end) losses++
        for (const name of NAMES) expect(tryLoad(store, name).startsWith(contents.get(name)!)).toBe(true)
        store.close()
      }),
      { numRuns: 60 },
    )
    expect(losses).toBeGreaterThan(0)
  }, 60_000)

  test('a database that was emptied is no fresh one beside the memory of it', () => {
    const directory = copyOf(died)
    truncateSync(join(directory, 'causeway.db-wal'), 0)
    const store = tryOpen(directory) as LogStore
    expect(store.recovered.rolledBack).toEqual({ from: recovered.position + 11, to: recovered.position })
  })
})
