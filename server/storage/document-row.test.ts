import { join } from 'node:path'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryDirectory } from '../../test/integration/storage/op-source.js'
import { CommitStatements } from './commit-statements.js'
import {
  advancedClock,
  CACHED_DOCUMENTS,
  type Clock,
  clockRecord,
  DocumentCache,
  DocumentState,
  decodeClock,
  encodeClock,
} from './document-row.js'
import { openDatabase } from './schema.js'

const seq = fc.oneof(fc.nat(), fc.maxSafeNat())
const entry = fc.record({ replica: fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,31}$/), seq })

test('a clock is the highest seq of each replica, in any order of the ops', () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 12 }), (ops) => {
      const clock = ops.reduce<Clock>((before, { replica, seq }) => advancedClock(before, replica, seq), [])
      const highest = new Map<string, number>()
      for (const { replica, seq } of ops) highest.set(replica, Math.max(highest.get(replica) ?? 0, seq))
      expect(clockRecord(encodeClock(clock))).toEqual(Object.fromEntries(highest))
    }),
  )
})

test('of damaged bytes a clock shows what can be read', () => {
  const bytes = encodeClock([
    { replica: 'a', seq: 5 },
    { replica: 'b', seq: 7 },
  ])
  expect(decodeClock(bytes.slice(0, -1))).toEqual([{ replica: 'a', seq: 5 }])
  expect(decodeClock(new Uint8Array([200]))).toEqual([])
})

test('the cache is bounded, and what left it is read back', () => {
  using temporary = temporaryDirectory()
  const database = openDatabase(join(temporary.path, 'causeway.db'))
  onTestFinished(() => {
    database.close()
  })
  const statements = new CommitStatements(database)
  const cache = new DocumentCache(database)
  const state = (id: number): DocumentState => {
    const born = DocumentState.born(id, `document ${id}`, id % 3, id)
    return Object.assign(born, {
      last: id + 1,
      count: 2,
      clock: [{ replica: 'a', seq: id }],
      bytes: 5,
      updated: 2 ** 52 + id,
    })
  }
  const states = Array.from({ length: CACHED_DOCUMENTS + 2 }, (_, index) => state(index + 1))
  database.transaction(() =>
    states.forEach((one) => {
      statements.putDocument(one)
    }),
  )()
  cache.adopt(states)
  const [evicted, kept] = [states[1]!, states[2]!]
  expect(cache.get(kept.name, kept.generation)).toBe(kept)
  expect(cache.get(evicted.name, evicted.generation)).toEqual(Object.assign(evicted.copy(), { isNew: false }))
  expect(cache.get(evicted.name, evicted.generation)).not.toBe(evicted)
  expect(cache.get(evicted.name, 9)).toBeUndefined()
})
