/** The op log's threads: the writer, and the reader beside it. */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { asCausewayError } from '../../shared/errors/error.js'
import type { LogOptions } from '../storage/log.js'
import { type OpenLog, type ToWriter, toErrorMessage } from '../storage/log-messages.js'
import { ReaderService, WriterService } from '../storage/log-service.js'
import { LogStore } from '../storage/log-store.js'
import type { LogRole } from '../storage/log-worker-thread.js'

const port = parentPort!
const role: LogRole = workerData
const close = (): void => port.close()

function startReader(options: LogOptions): void {
  const service = new ReaderService(options, (message, transfer) => port.postMessage(message, transfer), close)
  port.on('message', (message) => service.handle(message))
}

function startWriter(options: LogOptions): void {
  try {
    const next = (): ToWriter | undefined => receiveMessageOnPort(port)?.message
    const store = LogStore.open(options)
    const service = new WriterService(store, (message, transfer) => port.postMessage(message, transfer), next, close)
    port.on('message', (message) => service.handle(message))
  } catch (thrown) {
    port.postMessage({ type: 'refused', error: toErrorMessage(asCausewayError(thrown)) })
  }
}

port.once('message', ({ options }: OpenLog) => (role === 'reader' ? startReader(options) : startWriter(options)))
