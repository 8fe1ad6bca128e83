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
  if (process.env['VERBOSE'])
    console.log(
      `${recording.count('ok')} ok, ${recording.count('unknown')} unknown, ${recording.count('marked')} marked, settled in ${Math.round(settledMs)} ms`,
      refusals,
      trial.watches.map(({ replica, states }) => `${replica} ${states}`),
    )
  expect(findings).toEqual([])
}

describe('promises to clients hold', { timeout: 120_000 }, () => {
  test('[SG1-4 CD DU1 DU2] while replicas are killed and one stands still', async () => {
    const trial = await Trial.begin(await startCell({ environment }), { seed: 1 })
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

  test('[SG1-4 CD DU2 AV] while the network is parted', async () => {
    const trial = await Trial.begin(await startCell({ environment }), { seed: 2 })
    const { cell } = trial
    await trial.pause(1_000)
    cell.partition(['a'], ['b', 'c'])
    await trial.pause(6_000)
    cell.heal()
    await trial.pause(1_000)
    cell.partition(['a'], ['b'], ['c'])
    await trial.pause(3_000)
    cell.heal()
    trial.cell.cut('b', 'c')
    await trial.pause(1_500)
    cell.reset('a', 'b')
    cell.heal()
    trial.cell.cut('a', 'b')
    trial.cell.cut('a', 'c')
    await trial.pause(2_000)
    await expectGood(trial)
  })

  test('[SG1-4 CD DU2] while disks are lost, and come back old', async () => {
    const trial = await Trial.begin(await startCell({ environment }), { seed: 3 })
    const { cell } = trial
    await trial.pause(1_500)
    const old = await trial.backUp('c')
    await trial.pause(1_500)
    // What only it has goes with its disk.
    cell.partition(['b'], ['a', 'c'])
    await trial.pause(1_500)
    await trial.kill('b')
    cell.heal()
    await trial.restartOnOtherDisk('b')
    await trial.pause(2_000)
    await trial.replaceDisk('c', old)
    await trial.pause(1_500)
    await expectGood(trial)
  })
})
