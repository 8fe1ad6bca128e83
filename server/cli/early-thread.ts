/**
 * The thread of the log takes longest to start, and nothing of the command line or the configuration is needed for it:
 * it starts first, and waits for somebody to tell it what to open.
 */
import { startWriterThread, type WriterThread } from '../storage/log-client.js'

let early: WriterThread | undefined

export function startEarly(): void {
  early ??= startWriterThread()
}

/** The thread that was started early, once; else a new one. */
export function takeWriterThread(): WriterThread {
  const thread = early ?? startWriterThread()
  early = undefined
  return thread
}
