/** The thread's half of the pool: one request, one answer, whatever the task does. */
import type { MessagePort } from 'node:worker_threads'
import { CausewayError } from '../../shared/errors/error.js'
import { detach } from './transfer.js'
import type { PortableError, TaskReply, TaskRequest, TaskTable } from './worker-pool.js'

/** Serves `table` over `port`: says `ready`, then answers each request in turn. Errors are answers too. */
export function serveTasks(port: MessagePort, table: TaskTable): void {
  const answer = (reply: TaskReply): void => {
    const { message, transfer } = detach(reply, 'apart')
    port.postMessage(message, transfer)
  }
  const serve = async ({ number, kind, input }: TaskRequest): Promise<void> => {
    try {
      const task = table[kind]
      if (!task) throw new Error(`this thread knows no task ${kind}`)
      answer({ type: 'done', number, result: await task(...input) })
    } catch (thrown) {
      answer({ type: 'failed', number, error: portable(thrown, kind) })
    }
  }
  port.on('message', (request: TaskRequest) => void serve(request))
  answer({ type: 'ready' })
}

function portable(thrown: unknown, task: string): PortableError {
  const error = asBudgetError(thrown, task)
  if (error instanceof CausewayError) {
    return { code: error.code, details: error.details, message: error.message, stack: undefined }
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  return { code: undefined, details: {}, message, stack }
}

/** A stack overflow or an array beyond what the engine can make is a document that asks for too much, not a mistake of ours. */
function asBudgetError(thrown: unknown, task: string): unknown {
  if (!(thrown instanceof RangeError)) return thrown
  return new CausewayError('document/too-expensive', { task, limit: 'stack or array size' }, { cause: thrown })
}
