import { expect, test } from 'vitest'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import { EMPTY_VECTOR } from '../../shared/clock/version-vector.js'
import type { Recovered } from '../storage/log.js'
import { createLog } from './log.js'
import { reportRecovered } from './recovered-report.js'

const sound: Recovered = {
  vector: EMPTY_VECTOR,
  heads: new Map(),
  openings: [],
  floor: EMPTY_VECTOR,
  reoriginated: new Map(),
  cell: { life: 0, configEpoch: 0, isRecovering: false, hasLost: false, claims: new Map() },
  latestHlc: 0 as HybridTime,
  position: 7,
  documents: 2,
  quarantined: [],
  verifiedOps: 7,
  damaged: [],
}

function linesOf(recovered: Recovered): unknown[] {
  const lines: unknown[] = []
  const write = (line: string): void => {
    const { event, from, to, document, position, reason } = JSON.parse(line)
    lines.push([event, from ?? document, to ?? position, reason])
  }
  reportRecovered(recovered, createLog({ level: 'error', destination: { write } }))
  return lines
}

test('a start tells of lost ops, of damage, and of documents that it does not serve', () => {
  expect(linesOf(sound)).toEqual([])
  const recovered = {
    ...sound,
    rolledBack: { from: 9, to: 7 },
    damaged: [{ document: 'd', position: 3, reason: 'chain' }],
    quarantined: ['e'],
  }
  expect(linesOf(recovered)).toEqual([
    ['storage/rolled-back', 9, 7, undefined],
    ['storage/damage-found', 'd', 3, 'chain'],
    ['storage/document-quarantined', 'e', undefined, undefined],
  ])
})
