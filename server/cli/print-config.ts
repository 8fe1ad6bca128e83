/** `causeway config`: the configuration that `serve` would run with, from the same sources, or the schema of its file. */
import type { Terminal } from './run.js'
import { type ConfigFlags, readConfig } from './sources.js'

export interface PrintConfigOptions extends ConfigFlags {
  readonly schema?: boolean
  readonly json?: boolean
}

export async function printConfig(options: PrintConfigOptions, { env, out }: Terminal): Promise<void> {
  const { schema, json: _, ...flags } = options
  const shown = schema
    ? (await import('../host/describe-config.js')).describeConfig()
    : (await import('../host/config.js')).redactConfig(await readConfig(flags, env))
  out(`${JSON.stringify(shown, null, 2)}\n`)
}
