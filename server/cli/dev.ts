/**
 * `causeway dev`: a cell on this machine to try things out, ready to be used without any preparation. Each replica is a
 * process of its own: kill one, and see that nobody minds. On standard output stands what this command says of the cell;
 * what the replicas log goes to standard error as it is.
 */
import { styleText } from 'node:util'
import { readVersion } from '../host/own-package.js'
import { drainOnSignals } from '../host/signals.js'
import { DevMember } from './dev-member.js'
import { type CellPlan, type DevOptions, planCell } from './dev-plan.js'
import type { Terminal } from './run.js'

/** Longer than each replica gets, and shorter than supervisors wait. */
const STOP_LIMIT_MS = 12_000
/** How long nothing is said about a start. */
const PATIENCE_MS = 5_000

export async function dev(options: DevOptions, terminal: Terminal): Promise<void> {
  const plan = await planCell(options, terminal.env)
  const say = options.json
    ? (event: string, fields: object) => terminal.out(`${JSON.stringify({ event, ...fields })}\n`)
    : undefined
  const tell = (text: string): void => terminal.out(`  ${text}\n`)

  let isStopping = false
  const members = plan.members.map(
    (member) =>
      new DevMember(member, terminal.env, {
        line: (text) => terminal.err(`${text}\n`),
        ended: ({ plan: { name } }, how, pauseMs) => {
          if (say) say('replica-ended', { name, how, pauseMs })
          else tell(`Replica ${name} ended (${how}). It starts again in ${pauseMs / 1000} s.`)
        },
        returned: ({ plan: { name, port, url }, pid }) => {
          if (say) say('replica-ready', { name, port, url, pid })
          else tell(`Replica ${name} is ready again (pid ${pid}).`)
        },
      }),
  )
  const stop = async (): Promise<void> => {
    isStopping = true
    await Promise.all(members.map((member) => member.stop()))
  }
  // However this process ends in order, a second Ctrl-C included, no replica outlives it.
  process.on('exit', () => {
    for (const member of members) member.kill()
  })
  const log = { info: () => {}, error: (event: string) => terminal.err(`${event}\n`) }
  drainOnSignals(stop, { log, drainLimitMs: STOP_LIMIT_MS })

  const slow = setTimeout(() => {
    if (!say)
      tell(`Waiting for all replicas to be ready (${plan.members.map(({ url }) => `${url}/readyz`).join(' ')}).`)
  }, PATIENCE_MS)
  try {
    await Promise.all(members.map((member) => member.start()))
  } catch (error) {
    // Then the signal is what ends us, and nothing went wrong.
    if (isStopping) return
    await stop()
    throw error
  } finally {
    clearTimeout(slow)
  }
  const replicas = members.map(({ plan: { name, port, url }, pid }): Replica => ({ name, port, url, pid }))
  const { port, url } = replicas[0]!
  if (say) say('ready', { cell: plan.config.cell, port, url, replicas })
  else terminal.out(greeting(plan, replicas, terminal.isTerminal))
}

const SIZES: Readonly<Record<number, string>> = {
  1: 'one replica',
  3: 'three replicas',
  5: 'five replicas',
  7: 'seven replicas',
}

function greeting({ config, data }: CellPlan, replicas: readonly Replica[], isTerminal: boolean): string {
  const bold = (text: string): string => (isTerminal ? styleText('bold', text) : text)
  const { url, port } = replicas[0]!
  const sockets = `ws://127.0.0.1:${port}`
  const { auth } = config
  const isOpen = auth.secret === undefined && auth.publicKeys === undefined && auth.jwks === undefined
  const others = replicas.slice(1).map((replica) => `                ${addressOf(replica)}`)
  return [
    '',
    `  ${bold(`Causeway ${readVersion()}`)}: a cell of ${SIZES[replicas.length]}, for development`,
    '',
    `  ${bold('Open')}          ${addressOf(replicas[0]!)}`,
    ...others,
    '',
    `  y-websocket   ${sockets}/y`,
    `  Hocuspocus    ${sockets}/hocuspocus`,
    `  HTTP API      ${url}/v1/documents`,
    `  Data          ${data}`,
    '',
    ...(others.length > 0
      ? ['  Each replica serves everything. Kill one: the others go on, and it comes back.', '']
      : []),
    ...(isOpen
      ? [
          `  ${bold('ACCESS IS OPEN')}: whoever works on this machine may read and change everything.`,
          '  Nobody else can connect. For real use, see: causeway serve --help',
        ]
      : ['  Access needs a token: causeway token']),
    '',
    '  Ctrl-C stops.',
    '',
    '',
  ].join('\n')
}

interface Replica {
  readonly name: string
  readonly port: number
  readonly url: string
  readonly pid: number | undefined
}

function addressOf({ name, url, pid }: Replica): string {
  return `${url}/   replica ${name}, pid ${pid}`
}
