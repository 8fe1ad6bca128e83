/** `causeway dev`: a cell on this machine to try things out, ready to be used without any preparation. */
import { join, resolve } from 'node:path'
import { styleText } from 'node:util'
import { CausewayError } from '../../shared/errors/error.js'
import type { Config } from '../host/config.js'
import { readVersion } from '../host/own-package.js'
import type { RunningReplica } from '../host/start.js'
import type { Terminal } from './run.js'
import { startUntilSignal } from './serve.js'
import { readConfig } from './sources.js'

export interface DevOptions {
  readonly replicas: string
  readonly port: string
  readonly data: string
  readonly json?: boolean
}

export async function dev(options: DevOptions, terminal: Terminal): Promise<void> {
  const replicas = wholeNumber('replicas', options.replicas, 1)
  if (replicas > 1) throw wrong('replicas', 'must be 1: this version runs a cell of one replica')
  const port = wholeNumber('port', options.port, 0, 65_535)
  // Each replica has a folder of its own, so that a cell can grow where it is.
  const flags = { listen: `127.0.0.1:${port}`, data: join(options.data, 'a') }
  const presets = { name: 'a', cell: 'dev', demo: true, 'log.level': 'warn' }
  const { config, replica } = await startUntilSignal(() => readConfig(flags, terminal.env, presets))
  if (options.json) {
    const { url } = replica
    terminal.out(
      `${JSON.stringify({ event: 'ready', name: config.name, cell: config.cell, port: replica.port, url })}\n`,
    )
  } else terminal.out(greeting(config, replica, terminal.isTerminal))
}

function greeting(config: Config, { url, port }: RunningReplica, isTerminal: boolean): string {
  const bold = (text: string): string => (isTerminal ? styleText('bold', text) : text)
  const sockets = `ws://127.0.0.1:${port}`
  const { auth } = config
  const isOpen = auth.secret === undefined && auth.publicKeys === undefined && auth.jwks === undefined
  return [
    '',
    `  ${bold(`Causeway ${readVersion()}`)}: one replica, for development`,
    '',
    `  ${bold('Open')}          ${url}/`,
    `  y-websocket   ${sockets}/y`,
    `  Hocuspocus    ${sockets}/hocuspocus`,
    `  HTTP API      ${url}/v1/documents`,
    `  Data          ${resolve(config.data)}`,
    '',
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

function wholeNumber(option: string, text: string, least: number, most = Number.MAX_SAFE_INTEGER): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  throw wrong(
    option,
    most === Number.MAX_SAFE_INTEGER
      ? `must be a whole number of at least ${least}`
      : `must be a whole number from ${least} to ${most}`,
  )
}

function wrong(option: string, says: string): CausewayError {
  return new CausewayError('config/invalid', { option }, { message: `${option} ${says} (set by --${option}).` })
}
