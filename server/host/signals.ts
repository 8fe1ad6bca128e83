/**
 * Ending on a signal, or with the process that started this one. The first one drains: clients are sent away, everything goes to disk, and the process exits 0. A second
 * one ends the process at once, as does a drain that takes too long: what was acknowledged is on disk at any moment, so
 * nothing is lost by that but politeness.
 */
import type { Log } from './log.js'

/** Supervisors kill after 10 s; this leaves them nothing to do. */
const DRAIN_LIMIT_MS = 9_000

export interface SignalPorts {
  readonly log: Pick<Log, 'info' | 'error'>
  /** Whether the loss of the channel to the parent process is such a signal: whoever started us has gone. */
  readonly endWithParent?: boolean
  /** Stand-ins for tests. */
  readonly process?: Pick<NodeJS.Process, 'on' | 'off' | 'exit'> & { readonly connected?: boolean }
  readonly drainLimitMs?: number
}

const EXIT_AFTER = { SIGINT: 130, SIGTERM: 143 } as const
type EndingSignal = keyof typeof EXIT_AFTER

/** Runs `stop` at the first of them, then exits. Returns what takes the handlers away again. */
export function drainOnSignals(stop: () => Promise<void>, ports: SignalPorts): () => void {
  const { log, process: host = process, drainLimitMs = DRAIN_LIMIT_MS } = ports
  let stopping = false

  const drain = (cause: EndingSignal | 'disconnect'): void => {
    stopping = true
    log.info('replica/stopping', { cause })
    const late = setTimeout(() => {
      log.error('replica/drain-late', { drainLimitMs })
      host.exit(1)
    }, drainLimitMs)
    stop().then(
      () => {
        clearTimeout(late)
        log.info('replica/stopped')
        host.exit(0)
      },
      (error: unknown) => {
        clearTimeout(late)
        log.error('replica/drain-failed', {}, error)
        host.exit(1)
      },
    )
  }

  const onSignal = (signal: EndingSignal): void => {
    if (stopping) host.exit(EXIT_AFTER[signal])
    else drain(signal)
  }
  const onDisconnect = (): void => {
    if (!stopping) drain('disconnect')
  }
  const signals = Object.keys(EXIT_AFTER) as EndingSignal[]
  for (const signal of signals) host.on(signal, onSignal)
  if (ports.endWithParent) {
    host.on('disconnect', onDisconnect)
    if (host.connected === false) onDisconnect()
  }
  return () => {
    for (const signal of signals) host.off(signal, onSignal)
    host.off('disconnect', onDisconnect)
  }
}
