/** Starting a thread of the log, by itself: what starts first loads nothing else before. */
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'

/** Which of the two a thread is. */
export type LogRole = 'writer' | 'reader'

/** A thread that waits to be told what to open. It keeps no process alive as long as nobody listens to it. */
export function startLogThread(role: LogRole): Worker {
  const thread = new Worker(createRequire(import.meta.url).resolve('#workers/log-worker'), { workerData: role })
  thread.unref()
  return thread
}
