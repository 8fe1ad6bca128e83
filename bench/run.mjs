// `npm run bench`: runs the scenarios in rounds, every server once a round and in a turning order, so that the
// machine's drift hits all of them; prints tables and the goals; keeps everything as JSON. A missed goal is a result
// and ends with 0; a measurement that broke ends with 1.
import { mkdirSync, writeFileSync } from 'node:fs'
import { readArguments, usage } from './harness/arguments.mjs'
import { Bench } from './harness/bench.mjs'
import { buildCauseway, installPeers } from './harness/install.mjs'
import { describeRun, headline } from './harness/machine.mjs'
import { goalsReport, scenarioReport } from './harness/report.mjs'
import { killAll } from './harness/server.mjs'
import { scenarios } from './scenarios/index.mjs'
import { contestants } from './servers/contestants.mjs'

const results = new URL('./results/', import.meta.url)
const names = scenarios.map(({ name }) => name)

let options
try {
  options = readArguments(process.argv.slice(2), names)
} catch (error) {
  console.error(`${error.message}\n\n${usage(names)}`)
  process.exit(2)
}
if (options.help) {
  console.log(usage(names))
  process.exit(0)
}

if (process.platform !== 'linux') {
  console.error('The benchmarks read CPU time and memory from /proc, which only Linux has.')
  process.exit(2)
}
const chosenScenarios = scenarios.filter(({ name }) => options.scenarios.includes(name))
const begunAt = performance.now()
installPeers()
if (options.builds && chosenScenarios.flatMap(chosen).some((name) => name.startsWith('causeway'))) {
  buildCauseway(options.root)
}

const bench = new Bench(options)
const cleanUp = () => {
  killAll()
  bench.end()
}
process.on('exit', cleanUp)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130))

const run = describeRun({ root: options.root, data: bench.folder })
const records = []
const broken = []
console.log(`# Benchmarks\n\n${headline(run)}\n`)
if (options.quick) console.log('A smoke run: it shows that everything works, its figures mean nothing.\n')

for (const scenario of chosenScenarios) await runScenario(scenario)

const { text, verdicts } = goalsReport(records)
if (!options.quick) console.log(`${text}\n`)
if (bench.historyAbout) console.log(`history: ${JSON.stringify(bench.historyAbout)}`)
for (const { scenario, contestant, reason } of broken) console.log(`BROKEN: ${scenario}, ${contestant}: ${reason}`)
const minutes = ((performance.now() - begunAt) / 60_000).toFixed(1)
console.log(`${minutes} minutes; written to ${writeResults()}`)
process.exit(broken.length === 0 ? 0 : 1)

async function runScenario(scenario) {
  const measured = chosen(scenario)
  const own = []
  const given = new Set()
  for (const contestant of measured) {
    const reason = Bench.missing(contestant, options.root)
    if (!reason) continue
    given.add(contestant)
    broken.push({ scenario: scenario.name, contestant, reason })
  }
  for (let round = 1; round <= options.runs; round++) {
    bench.round = round
    for (const contestant of turned(measured, round - 1)) {
      if (given.has(contestant)) continue
      const startedAt = performance.now()
      try {
        for (const { point, values } of await scenario.measure(bench, contestant)) {
          own.push({ scenario: scenario.name, contestant, point, round, values })
        }
      } catch (error) {
        given.add(contestant)
        broken.push({ scenario: scenario.name, contestant, reason: `round ${round}: ${error.message.split('\n')[0]}` })
        console.error(error.stack)
      }
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(0)
      console.error(`${scenario.name} ${round}/${options.runs} ${contestants[contestant].label}: ${seconds} s`)
    }
  }
  records.push(...own)
  if (own.length > 0) console.log(`${scenarioReport(scenario, own)}\n`)
}

/** Without `--servers`, those that a goal needs; with it, all of the scenario's that are named. */
function chosen({ contestants: { goals, others } }) {
  if (!options.servers) return goals
  if (options.servers.includes('all')) return [...goals, ...others]
  return [...goals, ...others].filter((contestant) => options.servers.includes(contestants[contestant].server))
}

function turned(list, by) {
  return list.map((_, index) => list[(index + by) % list.length])
}

function writeResults() {
  mkdirSync(results, { recursive: true })
  const file = new URL(`${run.date.replace(/[:.]/g, '-')}.json`, results)
  const { scenarios: ran, runs, seconds, window, quick } = options
  const content = {
    run,
    options: { scenarios: ran, runs, seconds, window, quick },
    history: bench.historyAbout,
    records,
    verdicts,
    broken,
  }
  writeFileSync(file, JSON.stringify(content, null, 1))
  return file.pathname
}
