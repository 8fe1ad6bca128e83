/**
 * Starts a replica: used by `serve` and `dev`, and by programs that embed one, alike. Nothing is listened to before the
 * log is open and verified. Opening it is the work of other threads, so everything else is loaded meanwhile.
 */
import { randomBytes } from 'node:crypto'
import type { Worker } from 'node:worker_threads'
import { makeOrigin, type OriginId } from '../../shared/clock/dot.js'
import type { AuthenticateHook } from '../access/authenticator.js'
import type { Log } from '../storage/log.js'
import { openLog } from '../storage/log-client.js'
import type { Config, ConfigInput } from './config.js'
import type { DocumentHooks } from './document-host.js'

export interface ReplicaHooks extends DocumentHooks {
  /** Who is calling, and what may it do: instead of, or on top of, the token check of the configuration. */
  readonly authenticate?: AuthenticateHook
}

export interface RunningReplica {
  readonly port: number
  readonly url: string
  /** Resolves when clients are served: in a cell of several, once enough of them have met. */
  readonly served: Promise<void>
  /** Sends clients away (1012), brings everything to disk, and closes. */
  stop(): Promise<void>
}

export type CreateReplicaOptions = ConfigInput & ReplicaHooks

/** Starts a replica inside this process. Throws `config/invalid`, `storage/in-use`, `storage/damaged` and the like. */
export async function createReplica(options: CreateReplicaOptions): Promise<RunningReplica> {
  const { authenticate, onLoad, onChange, ...config } = options
  const { parseConfig } = await import('./config.js')
  return await startReplica(parseConfig(config), {
    ...(authenticate ? { authenticate } : {}),
    ...(onLoad ? { onLoad } : {}),
    ...(onChange ? { onChange } : {}),
  })
}

/** A log and the origin under which this process writes to it. */
export interface OpenedLog {
  readonly log: Log
  readonly origin: OriginId
}

/** As `createReplica`, with a checked configuration. `writer`: a thread for the log, started ahead. */
export async function startReplica(config: Config, hooks: ReplicaHooks = {}, writer?: Worker): Promise<RunningReplica> {
  const incarnation = randomBytes(8).toString('hex')
  const [{ runReplica }, log] = await Promise.all([
    import('./running-replica.js'),
    openLog({ directory: config.data, replicaName: config.name, incarnation }, writer),
  ])
  try {
    return await runReplica(config, hooks, { log, origin: makeOrigin(config.name, incarnation) })
  } catch (error) {
    await log.close()
    throw error
  }
}
