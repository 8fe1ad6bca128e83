// The command line of `npm run bench`.
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { serverNames } from '../servers/contestants.mjs'

const home = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
const defaultTrace = `${home}/../shared/data/automerge-paper.json.gz`

export const usage = (scenarioNames) => `npm run bench -- [scenario…] [options]

scenarios (default: all): ${scenarioNames.join(' ')}

--runs N          rounds; figures are medians over them (default 5)
--seconds S       measured window of fan-out (default 3) and many (default 10)
--servers a,b     only these of ${serverNames.join(', ')}; "all" adds those that no goal needs
--window N        updates under way in ingest (default 500)
--trace FILE      history for ingest, join and idle: .json or .json.gz of {startContent, endContent, txns}
--checkout DIR    another checkout of Causeway to measure
--no-build        take its dist/ as it is
--quick           one short round, to see that everything works; its figures mean nothing
--help`

/** @returns the options, checked; throws with a sentence for the user */
export function readArguments(argv, scenarioNames) {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      runs: { type: 'string' },
      seconds: { type: 'string' },
      window: { type: 'string' },
      servers: { type: 'string' },
      trace: { type: 'string' },
      checkout: { type: 'string' },
      'no-build': { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  for (const name of positionals) {
    if (!scenarioNames.includes(name)) throw new Error(`no scenario "${name}"; there are ${scenarioNames.join(', ')}`)
  }
  const servers = values.servers?.split(',')
  for (const name of servers ?? []) {
    if (name !== 'all' && !serverNames.includes(name)) {
      throw new Error(`no server "${name}"; there are ${serverNames.join(', ')}`)
    }
  }
  const trace = values.trace ?? (existsSync(defaultTrace) ? defaultTrace : undefined)
  if (trace && !existsSync(trace)) throw new Error(`no file ${trace}`)
  return {
    help: values.help,
    quick: values.quick,
    builds: !values['no-build'],
    scenarios: positionals.length > 0 ? scenarioNames.filter((name) => positionals.includes(name)) : scenarioNames,
    runs: positive('runs', values.runs, values.quick ? 1 : 5),
    seconds: positive('seconds', values.seconds, undefined),
    window: positive('window', values.window, undefined),
    servers,
    trace: trace && resolve(trace),
    root: values.checkout ? resolve(values.checkout) : home,
  }
}

function positive(name, text, otherwise) {
  if (text === undefined) return otherwise
  const value = Number(text)
  if (!(value > 0)) throw new Error(`--${name} takes a positive number, not "${text}"`)
  return value
}
