/** Three real processes under load and faults: what clients were told is judged by the checkers of the simulator. */
import { describe, expect, test } from 'vitest'
import { cellStarter } from '../../support/cell-processes.js'
import { CELL_SECRET, Trial } from './trial.js'

const startCell = cellStarter()
/** Faults of one long run. */
const SOAK_STEPS = 25
/** However slow this machine is, who starts hears first what it may have lost. */
const environment = { CAUSEWAY_CELL_SECRET: CELL_SECRET, CAUSEWAY_SERVE_ALONE_AFTER_MS: '60000' }

async function expectGood(trial: Trial): Promise<void> {
  const findings = await trial.findings()
  const { recording, settledMs, watches } = trial
  if (process.env['CAUSEWAY_FAULTS_VERBOSE']) {
    const counts = ['ok', 'unknown', 'refused', 'marked'].map((type) => `${recording.count(type as 'ok')} ${type}`)
    console.log(counts.join(', '), `settled in ${Math.round(settledMs)} ms`, refusalsOf(trial))
    for (const { replica, states } of watches) console.log(replica, states.join(' > '))
  }
  expect(findings).toEqual([])
}

/** Answers other than what was asked for, and how many: `b session/replica-behind`. */
function refusalsOf({ load }: Trial): Map<string, number> {
  const all = new Map<string, number>()
  for (const { refusals } of load.sessions) {
    for (const [what, count] of refusals) all.set(what, (all.get(what) ?? 0) + count)
  }
  return all
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
    const trial = await Trial.begin(await startCell({ environment }), { seed: 3, clients: 12 })
    const { cell } = trial
    await trial.pause(1_500)
    const old = await trial.backUp('c')
    await trial.pause(1_500)
    // What only it has goes with its disk, on the way to others included.
    cell.partition(['b'], ['a', 'c'])
    const alone = trial.load.addSession('b')
    await alone.write(['team/x'], [], 'majority')
    await trial.pause(2_000)
    await trial.kill('b')
    for (const other of ['a', 'c']) cell.reset('b', other)
    cell.heal()
    await trial.restartOnOtherDisk('b')
    await trial.pause(2_000)
    await trial.replaceDisk('c', old)
    await trial.pause(1_500)
    await expectGood(trial)
    // Who had seen what is lost is told so.
    expect(alone.name).toMatch(/\.1$/)
  })

  test('[AV SG1-4 CV] while one is away, whose share of the log is gone when it returns, also without its disk', async () => {
    const budget = { CAUSEWAY_LOG_BUDGET_MAX_AGE_MS: '300', CAUSEWAY_LOG_BUDGET_EVERY_MS: '300' }
    const cell = await startCell({ environment: { ...environment, ...budget } })
    const trial = await Trial.begin(cell, { seed: 4, timeoutMs: 10_000 })
    for (const isWiped of [false, true]) {
      await trial.pause(1_000)
      await trial.kill('c', 'SIGTERM')
      const last = trial.logOf('a').to
      await trial.until(
        'its share is pruned',
        () => trial.logOf('a').from > last + 1 && trial.logOf('b').from > last + 1,
      )
      if (isWiped) await trial.restartOnOtherDisk('c')
      else await trial.restart('c')
    }
    await trial.pause(1_000)
    await expectGood(trial)
    // Who was there all the time refused nobody anything.
    expect([...refusalsOf(trial).keys()].filter((key) => !key.startsWith('c '))).toEqual([])
  })

  const seeds = Number(process.env['CAUSEWAY_FAULT_SEEDS'] ?? 0)
  test.each(Array.from({ length: seeds }, (_, at) => 1_000 + at))(
    '[SG1-4 CD DU1 DU2] whatever happens, by seed %i',
    { timeout: 600_000 },
    async (seed) => {
      const trial = await Trial.begin(await startCell({ environment }), { seed })
      const copies = new Map<string, string>()
      for (let step = 0; step < SOAK_STEPS; step++) await strike(trial, copies)
      await expectGood(trial)
    },
  )
})

/** One fault and what undoes it. At most one disk is replaced at a time, as the promises allow. */
async function strike(trial: Trial, copies: Map<string, string>): Promise<void> {
  const { cell, random } = trial
  const name = random.pick(cell.names)
  const other = random.pick(cell.names.filter((each) => each !== name))
  const lastingMs = random.between(200, 4_000)
  await trial.pause(random.between(100, 2_000))
  switch (random.below(9)) {
    case 0:
      await trial.kill(name)
      await trial.pause(lastingMs)
      await trial.restart(name)
      break
    case 1:
      await trial.freeze(name)
      await trial.pause(lastingMs)
      trial.thaw(name)
      break
    case 2:
      cell.partition([name])
      await trial.pause(lastingMs)
      cell.heal()
      break
    case 3:
      cell.partition(...cell.names.map((each) => [each]))
      await trial.pause(lastingMs)
      cell.heal()
      break
    case 4:
      trial.cell.cut(name, other)
      await trial.pause(lastingMs)
      cell.heal()
      break
    case 5:
      cell.delay(random.between(50, 500), name, other)
      await trial.pause(lastingMs)
      cell.heal()
      cell.reset(name, other)
      break
    case 6:
      copies.set(name, await trial.backUp(name))
      break
    case 7:
      await trial.replaceDisk(name, copies.get(name))
      break
    default:
      for (const each of cell.names) await trial.kill(each)
      await Promise.all(cell.names.map((each) => trial.restart(each)))
  }
}
