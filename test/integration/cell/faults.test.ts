/** Three real processes under load and faults: what clients were told is judged by the checkers of the simulator. */
import { describe, expect, test } from 'vitest'
import { cellStarter } from '../../support/cell-processes.js'
import { CELL_SECRET, Trial } from './trial.js'

const startCell = cellStarter()
const environment = { CAUSEWAY_CELL_SECRET: CELL_SECRET }

async function expectGood(trial: Trial): Promise<void> {
  const findings = await trial.findings()
  const { recording, load, settledMs } = trial
  const refusals = new Map<string, number>()
  for (const session of load.sessions) {
    for (const [what, count] of session.refusals) refusals.set(what, (refusals.get(what) ?? 0) + count)
  }
  console.log(`${recording.count('ok')} ok, ${recording.count('unknown')} unknown, ${recording.count('marked')} marked, settled in ${Math.round(settledMs)} ms`, refusals)
  expect(findings).toEqual([])
}

describe('promises to clients hold', () => {
  test('[SG1-4 CD DU1 DU2] while replicas are killed and one stands still', { timeout: 120_000 }, async () => {
    const cell = await startCell({ environment })
    const trial = await Trial.begin(cell, { seed: 1 })
    await trial.pause(1_000)
    await trial.kill('b')
    await trial.pause(1_500)
    await trial.restart('b')
    await trial.pause(1_000)
    await trial.kill('c')
    await trial.restart('c')
    await trial.pause(500)
    await trial.freeze('a')
    await trial.pause(6_000)
    trial.thaw('a')
    await trial.pause(1_000)
    await expectGood(trial)
  })
})
