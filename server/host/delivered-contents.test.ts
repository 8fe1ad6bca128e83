import { expect, test } from 'vitest'
import { KnownState } from '../../shared/update/known-state.js'
import { dotOf } from '../../test/support/causal-text.js'
import { OpenDocument } from '../replica/open-document.js'
import { DeliveredContents, type DeliveredContentsOptions } from './delivered-contents.js'

/** Runs until nothing is left to do that waits for no I/O. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function world(given: Partial<DeliveredContentsOptions> = {}) {
  const said: string[] = []
  const loaded = { name: 'd', generation: 0, known: new KnownState(), snapshot: undefined, tail: [], position: 0 }
  const document = new OpenDocument({ ...loaded, clock: {}, owned: [] }, false)
  const contents = new DeliveredContents({
    agrees: async () => false,
    fingerprint: async () => 'live',
    settle: async () => ({ position: 1, fingerprint: 'settled' }),
    onDisk: async () => void said.push('on disk'),
    isOpen: () => true,
    compared: (_document, times) => said.push(`compared ${times}`),
    superseded: (_document, { code }) => said.push(`superseded: ${code}`),
    onContested: () => said.push('contested'),
    onFailure: () => said.push('failure'),
    ...given,
  })
  const compare = (times = 1): void => {
    for (let seq = 1; seq <= times; seq++) {
      contents.compare({
        type: 'overlaps-delivered',
        document,
        dot: dotOf(`b1:${seq}`),
        update: Uint8Array.of(),
        overlaps: [[1, 0, 1]],
      })
    }
  }
  return { said, compare }
}

test('[CV] what agrees changes nothing', async () => {
  const { said, compare } = world({ agrees: async () => true })
  compare()
  await settled()
  compare()
  await settled()
  expect(said).toEqual(['compared 1', 'compared 1'])
})

test('[CV] what differs is settled on disk, and what is open goes where it is not what holds', async () => {
  const { said, compare } = world()
  compare()
  await settled()
  expect(said).toEqual(['contested', 'on disk', 'superseded: document/equivocation'])
})

test('[CV] who was shown what holds goes on', async () => {
  const { said, compare } = world({ fingerprint: async () => 'settled' })
  compare()
  await settled()
  expect(said).toEqual(['contested', 'on disk', 'compared 1'])
})

test('[CV] where it cannot be known, nobody goes on with what may not hold', async () => {
  const { said, compare } = world({
    agrees: async () => {
      throw new Error('no worker')
    },
  })
  compare()
  await settled()
  expect(said).toEqual(['failure', 'superseded: document/busy'])
})

test('a flood of overlaps is settled at once, and is no conflict', async () => {
  let comparisons = 0
  const { said, compare } = world({
    agrees: async () => {
      comparisons++
      return true
    },
    fingerprint: async () => 'settled',
  })
  compare(10_000)
  await settled()
  expect(said).toEqual(['compared 1', 'on disk', 'compared 9999'])
  expect(comparisons).toBeLessThan(100)
})
