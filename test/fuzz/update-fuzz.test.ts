/**
 * Hostile updates by the thousand. A longer run: `CAUSEWAY_FUZZ_CASES=1000000 CAUSEWAY_FUZZ_SECONDS=3600 npx vitest run
 * --project unit test/fuzz`; from another case on: `CAUSEWAY_FUZZ_FROM`; one case alone: `CAUSEWAY_FUZZ_REPLAY=<case>`.
 */
import { expect, test } from 'vitest'
import { runCase } from './fuzz-case.js'
import { fuzz } from './fuzz-runner.js'

const setting = (name: string, otherwise: number): number => Number(process.env[`CAUSEWAY_FUZZ_${name}`] ?? otherwise)

const replay = process.env['CAUSEWAY_FUZZ_REPLAY']
const cases = setting('CASES', 30_000)
const seconds = setting('SECONDS', 20)

test.runIf(replay === undefined)(
  'what passes the parser and the check leaves a document that every Yjs can hold',
  async () => {
    const summary = await fuzz({ from: setting('FROM', 0), cases, seconds, children: setting('CHILDREN', 1) })
    if (process.env['CAUSEWAY_FUZZ_CASES']) console.log(summary.cases, summary.outcome)
    expect(summary.failures).toEqual([])
    // A run that stores nothing or refuses nothing tests nothing.
    for (const kind of ['refused', 'gap', 'nothing-new', 'new'] as const)
      expect(summary.outcome[kind]).toBeGreaterThan(0)
  },
  (seconds + 120) * 1_000,
)

test.runIf(replay !== undefined)('one case again', () => {
  runCase(Number(replay))
})
