/** `causeway serve`: one replica in this process, until a signal ends it. */
import { CausewayError } from '../../shared/errors/error.js'
import type { Config } from '../host/config.js'
import { createLog } from '../host/log.js'
import { drainOnSignals } from '../host/signals.js'
import { type RunningReplica, startReplica } from '../host/start.js'
import { takeWriterThread } from './early-thread.js'
import type { Terminal } from './run.js'
import { keepHeapSmall } from './small-heap.js'
import { type ConfigFlags, readConfig } from './sources.js'

export async function serve(flags: ConfigFlags & { readonly json?: boolean }, { env, out }: Terminal): Promise<void> {
  const { json: _, ...configFlags } = flags
  const { config, replica } = await startUntilSignal(() => readConfig(configFlags, env))
  const { port, url } = replica
  out(`${JSON.stringify({ event: 'ready', name: config.name, cell: config.cell, port, url })}\n`)
}

/**
 * Starts the replica and hands its end to the signals. A failed start rejects in words that name the option.
 */
export async function startUntilSignal(
  read: () => Promise<Config>,
): Promise<{ readonly config: Config; readonly replica: RunningReplica }> {
  keepHeapSmall()
  const writer = takeWriterThread()
  let config: Config
  try {
    config = await read()
  } catch (error) {
    await writer.terminate()
    throw error
  }
  const log = createLog({ level: config.log.level, base: { replica: config.name, cell: config.cell } })
  const replica = await startReplica(config, {}, writer).catch((error: unknown) => {
    throw explainListenFailure(error, config)
  })
  drainOnSignals(() => replica.stop(), { log })
  return { config, replica }
}

const LISTEN_FAILURES: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is in use by another program',
  EACCES: 'may not be used by this user',
  EADDRNOTAVAIL: 'is not an address of this machine',
  ENOTFOUND: 'is not an address of this machine',
}

function explainListenFailure(error: unknown, { listen }: Config): unknown {
  const { code, syscall } = error as { code?: string; syscall?: string }
  const why = LISTEN_FAILURES[code ?? '']
  if (why === undefined || (syscall !== 'listen' && syscall !== 'bind' && syscall !== 'getaddrinfo')) return error
  return new CausewayError(
    'config/invalid',
    { option: 'listen' },
    { message: `listen: ${listen} ${why}.`, cause: error },
  )
}
