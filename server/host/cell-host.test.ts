import { expect, onTestFinished, test, vi } from 'vitest'
import { makeOrigin } from '../../shared/clock/dot.js'
import { LINEAGES_LIMIT } from '../../shared/clock/lineages.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { CellChange } from '../../shared/protocol/stored-cell.js'
import type { Log } from '../storage/log.js'
import { CellHost } from './cell-host.js'

/** A member alone, over a log that keeps what is said of the cell, unless it is told to refuse. */
function makeHost(errors: CausewayError[], vector: VersionVector = new Map()) {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const saved: CellChange[] = []
  const told: string[] = []
  let asked = 0
  const log = {
    recovered: {
      vector,
      heads: new Map(),
      openings: [],
      floor: new Map(),
      reoriginated: new Map(),
      position: 0,
      cell: { life: 0, configEpoch: 0, isRecovering: false, hasLost: false, claims: new Map() },
    },
    saveCell: async (change: CellChange) => {
      asked++
      const error = errors.shift()
      if (error) throw error
      saved.push(change)
    },
  } as unknown as Log
  const host = new CellHost({
    name: 'a',
    origin: makeOrigin('a', '00000000000000aa'),
    cellName: 'cell',
    listed: new Map([['a', '']]),
    isNewCell: false,
    serveAloneAfterMs: 0,
    log,
    now: () => 1_000,
    onAlarm: (alarm) => told.push(alarm),
    onCommand: (event) => told.push(event),
    onFailure: (error) => told.push((error as CausewayError).code),
    onFatal: (error) => told.push(`fatal ${error.code}`),
  })
  const documents = { deliverOps() {}, advanced() {}, sendAway() {}, joinState: () => Promise.reject(new Error()) }
  host.start(documents, { send() {}, close() {}, remove() {} })
  return { host, saved, told, asked: () => asked }
}

test('[DU1] a cell is born when that is on disk, however often the disk is full before', async () => {
  const full = new CausewayError('storage/full')
  const { host, saved, told } = makeHost([full, full])
  await vi.advanceTimersByTimeAsync(0)
  expect(host.refusal?.code).toBe('cell/starting')
  await vi.advanceTimersByTimeAsync(2_000)
  expect(saved[0]?.birth?.isBorn).toBe(true)
  expect(host.refusal).toBeUndefined()
  expect(told).toEqual(['storage/full', 'storage/full'])
  await host.served
})

test('an I/O error is not tried again: the process must end', async () => {
  const { host, told, asked } = makeHost([new CausewayError('storage/failed')])
  await vi.advanceTimersByTimeAsync(5_000)
  expect(told).toEqual(['storage/failed', 'fatal storage/failed'])
  expect(asked()).toBe(1)
  expect(host.refusal?.code).toBe('cell/starting')
})

test.each([
  ['while it is asked', false],
  ['between two attempts', true],
])('one that is closed %s asks its log for nothing more', async (_when, isRefused) => {
  const { host, asked } = makeHost([new CausewayError('storage/full'), new CausewayError('storage/full')])
  if (isRefused) await vi.advanceTimersByTimeAsync(0)
  host.close()
  await vi.advanceTimersByTimeAsync(5_000)
  expect(asked()).toBe(1)
  expect(vi.getTimerCount()).toBe(0)
})

test('there is nothing to recover where nothing is lost, and no member to take out that is none', () => {
  const { host, told } = makeHost([])
  expect(() => host.forceRecover()).toThrow(new CausewayError('cell/starting').message)
  expect(() => host.removeMember('a')).toThrow()
  expect(told).toEqual([])
})

test('where as many disks were lost as a vector may tell of, none is begun anew', () => {
  const lost = Array.from({ length: LINEAGES_LIMIT }, (_, at) => {
    return [makeOrigin('b', at.toString(16).padStart(16, '0')), 1] as const
  })
  expect(makeHost([], new Map(lost)).host.refusalToOpen?.code).toBe('cell/too-many-lineages')
  expect(makeHost([], new Map(lost.slice(1))).host.refusalToOpen).toBeUndefined()
})
