/** The op log's threads: the writer, and the reader beside it. */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { asCausewayError } from '../../shared/errors/error.js'
import { type LogWorkerData, type ToWriter, toErrorMessage } from '../storage/log-messages.js'
import { ReaderService, WriterService } from '../storage/log-service.js'
import { LogStore } from '../storage/log-store.js'

const port = parentPort!
const { role, options } = workerData as LogWorkerData
const close = (): void => port.close()

if (role === 'reader') {
  const service = new ReaderService(options, (message, transfer) => port.postMessage(message, transfer), close)
  port.on('message', (message) => service.handle(message))
} else {
  try {
    const next = (): ToWriter | undefined => receiveMessageOnPort(port)?.message
    const service = new WriterService(LogStore.open(options), (message) => port.postMessage(message), next, close)
    port.on('message', (message) => service.handle(message))
  } catch (thrown) {
    port.postMessage({ type: 'refused', error: toErrorMessage(asCausewayError(thrown)) })
  }
}
