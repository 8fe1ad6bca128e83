/** What a configuration file may hold, for editors and for people. */
import { toJSONSchema } from 'zod/mini'
import { configSchema } from './config-schema.js'

/** The JSON schema of the configuration file. */
export function describeConfig(): Record<string, unknown> {
  return toJSONSchema(configSchema, { io: 'input' })
}
