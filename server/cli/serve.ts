/** `causeway serve`: one replica in this process, until a signal ends it. */
import { CausewayError } from '../../shared/errors/error.js'
import type { Config } from '../host/config.js'
import { createLog } from '../host/log.js'
import { drainOnSignals } from '../host/signals.js'
import { startReplica } from '../host/start.js'
import { takeWriterThread } from './early-thread.js'
import type { Terminal } from './run.js'
import { keepHeapSmall } from './small-heap.js'
import { type ConfigFlags, readConfig } from './sources.js'

export interface ServeOptions extends ConfigFlags {
  readonly json?: boolean
  /** Whether this process is to end when the one that started it, with a channel to it, has gone. */
  readonly endWithParent?: boolean
}

/** Starts the replica and hands its end to the signals. A failed start rejects in words that name the option. */
export async function serve(options: ServeOptions, { env, out }: Terminal): Promise<void> {
  const { json: _, endWithParent = false, ...flags } = options
  keepHeapSmall()
  if (endWithParent) endAtOnceWithParent()
  const writer = takeWriterThread()
  let config: Config
  try {
    config = await readConfig(flags, env)
  } catch (error) {
    await writer.terminate()
    throw error
  }
  const log = createLog({ level: config.log.level, base: { replica: config.name, cell: config.cell } })
  const replica = await startReplica(config, {}, writer).catch((error: unknown) => {
    throw explainListenFailure(error, config)
  })
  process.off('disconnect', exitNow)
  drainOnSignals(() => replica.stop(), { log, endWithParent })
  // In a cell of several that is not born yet, once its members have met.
  await replica.served
  const { port, url } = replica
  out(`${JSON.stringify({ event: 'ready', name: config.name, cell: config.cell, port, url })}\n`)
  const members = Object.keys(config.peers ?? {}).length
  if (members > 0 && members % 2 === 0) setImmediate(() => log.warn('cell/even-size', { members }))
}

/** While the replica starts there is nothing to bring to disk. */
function endAtOnceWithParent(): void {
  process.on('disconnect', exitNow)
  // The listener would keep a process that has nothing else to do.
  process.channel?.unref()
  if (process.connected === false) exitNow()
}

function exitNow(): void {
  process.exit(0)
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
