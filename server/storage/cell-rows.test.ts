import { join } from 'node:path'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import type { CellId } from '../../shared/clock/cell.js'
import { makeOrigin } from '../../shared/clock/dot.js'
import type { StoredCell } from '../../shared/protocol/stored-cell.js'
import { incarnation, temporaryDirectory } from '../../test/integration/storage/op-source.js'
import { LogStore } from './log-store.js'
import { openDatabase } from './schema.js'

let directory: string
let store: LogStore
let starts: number

beforeEach(() => {
  const temporary = temporaryDirectory()
  directory = temporary.path
  starts = 0
  reopen()
  onTestFinished(() => {
    store.close()
    temporary[Symbol.dispose]()
  })
})

function reopen(): StoredCell {
  store?.close()
  store = LogStore.open({ directory, replicaName: 'a', incarnation: incarnation(++starts) })
  return store.recovered.cell
}

const vector = (seq: number) => new Map([[makeOrigin('b', incarnation(9)), seq]])
const identity = { cell: '0'.repeat(32) as CellId, epoch: { ordinal: 2, id: 'f'.repeat(16) } }

test('a disk that was never told of a cell knows none', () => {
  expect(reopen()).toEqual({ life: 0, configEpoch: 0, isRecovering: false, hasLost: false, claims: new Map() })
})

test('what was told is there after a restart, and a change replaces only what it names', () => {
  const cell: StoredCell = {
    birth: { identity, isBorn: true },
    life: 3,
    configEpoch: 4,
    isRecovering: true,
    hasLost: true,
    claims: new Map([
      ['a', { life: 1, vector: new Map() }],
      ['b', { life: 2, vector: vector(7) }],
    ]),
    members: {
      present: new Map([
        ['a', 'ws://a'],
        ['b', 'ws://b'],
      ]),
      removed: new Set(['c']),
    },
    rejoin: { phase: 'saved', identity, accepted: 5 },
  }
  store.saveCell(cell)
  expect(reopen()).toEqual(cell)
  store.saveCell({ life: 9, claims: new Map([['b', { life: 3, vector: vector(8) }]]) })
  const claims = new Map([...cell.claims, ['b', { life: 3, vector: vector(8) }]])
  expect(reopen()).toEqual({ ...cell, life: 9, claims })
  store.saveCell({ rejoin: undefined })
  const { rejoin: _, ...rest } = cell
  expect(reopen()).toEqual({ ...rest, life: 9, claims })
})

test('a claim that could not be read back is refused, with the rest of its change', () => {
  const many = new Map(Array.from({ length: 257 }, (_, at) => [makeOrigin('b', incarnation(at)), 1]))
  expect(() => store.saveCell({ life: 1, claims: new Map([['b', { life: 1, vector: many }]]) })).toThrow(
    expect.objectContaining({ code: 'cell/too-many-lineages' }),
  )
  expect(reopen()).toEqual({ life: 0, configEpoch: 0, isRecovering: false, hasLost: false, claims: new Map() })
})

test.each(["UPDATE cell SET value = '8'", "UPDATE claims SET vector = ''"])('damage is found: %s', (damage) => {
  store.saveCell({ life: 1, claims: new Map([['b', { life: 1, vector: vector(1) }]]) })
  const database = openDatabase(join(directory, 'causeway.db'))
  database.exec(damage)
  database.close()
  expect(reopen).toThrow(expect.objectContaining({ code: 'storage/damaged' }))
})
