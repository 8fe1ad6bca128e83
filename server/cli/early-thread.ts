/**
 * The thread of the log takes longest to start, and nothing of the command line or the configuration is needed for it:
 * it starts first, and waits for somebody to tell it what to open.
 */
import type { Worker } from 'node:worker_threads'
import { startLogThread } from '../storage/log-worker-thread.js'

let early: Worker | undefined

export function startEarly(): void {
  early ??= startLogThread('writer')
}

/** The thread that was started early, once; else a new one. */
export function takeWriterThread(): Worker {
  const thread = early ?? startLogThread('writer')
  early = undefined
  return thread
}
