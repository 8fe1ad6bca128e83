/** Where a command takes its configuration from: a file, the environment, its flags. */
import { readFileSync, statSync } from 'node:fs'
import { CausewayError } from '../../shared/errors/error.js'
import type { Config } from '../host/config.js'
import type { Terminal } from './run.js'

/** Flags as parsed; each but `config` stands for an option. */
export interface ConfigFlags {
  readonly config?: string
  readonly name?: string
  readonly cell?: string
  readonly listen?: string
  readonly peers?: string
  readonly newCell?: boolean
  readonly data?: string
  readonly origins?: string
  readonly spaces?: string
  readonly workers?: string
  readonly demo?: boolean
  readonly logLevel?: string
}

const FILE_LIMIT_BYTES = 1_048_576

/** Throws `config/invalid`. `presets` are by option, and the least of all. */
export async function readConfig(
  flags: ConfigFlags,
  env: Terminal['env'],
  presets: Readonly<Record<string, unknown>> = {},
): Promise<Config> {
  const { loadConfig } = await import('../host/config.js')
  const { config: path = env['CAUSEWAY_CONFIG'], logLevel, ...options } = flags
  return loadConfig({
    presets,
    file: path === undefined ? undefined : { path, text: readFile(path) },
    env,
    flags: { ...options, 'log.level': logLevel },
  })
}

function readFile(path: string): string {
  try {
    if (statSync(path).size > FILE_LIMIT_BYTES) throw new RangeError('EFBIG')
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const why = (cause as { code?: string }).code ?? 'EFBIG'
    const message = `The configuration file ${path} cannot be read (${why}).`
    throw new CausewayError('config/invalid', { option: 'config' }, { message, cause })
  }
}
