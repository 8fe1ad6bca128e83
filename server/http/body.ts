/**
 * Request bodies, read whole and bounded. Compressed ones are refused: their size says nothing about what they become.
 * JSON is bounded in depth as well, so that nothing that walks it later can run out of stack.
 */
import type { IncomingMessage } from 'node:http'
import { CausewayError } from '../../shared/errors/error.js'
import { invalid } from './invalid.js'

/** Deep enough for the deepest operation that a document takes. */
const JSON_DEPTH_LIMIT = 128

/** The bytes of a body of type application/octet-stream, or of no named type. Rejects with `protocol/too-large`. */
export async function readBytes(request: IncomingMessage, limitBytes: number): Promise<Uint8Array> {
  checkType(request, 'application/octet-stream')
  return await readWhole(request, limitBytes)
}

/** The value of a body of type application/json, or of no named type. Rejects with `protocol/too-large`, `request/invalid`. */
export async function readJson(request: IncomingMessage, limitBytes: number): Promise<unknown> {
  checkType(request, 'application/json')
  const bytes = await readWhole(request, limitBytes)
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    throw invalid('body', 'must be JSON in UTF-8')
  }
  checkDepth(value)
  return value
}

function checkType(request: IncomingMessage, wanted: string): void {
  const { 'content-type': type, 'content-encoding': encoding } = request.headers
  const essence = type?.replace(/;.*$/s, '').trim().toLowerCase()
  if (essence !== undefined && essence !== wanted) throw unsupported('content-type', wanted)
  if (encoding !== undefined && encoding.trim().toLowerCase() !== 'identity')
    throw unsupported('content-encoding', 'identity')
}

function unsupported(header: string, wanted: string): CausewayError {
  const message = `The ${header} of this request must be ${wanted}.`
  return new CausewayError('request/unsupported-type', { header, wanted }, { message })
}

async function readWhole(request: IncomingMessage, limitBytes: number): Promise<Uint8Array> {
  const tooLarge = () => new CausewayError('protocol/too-large', { limitBytes })
  if (Number(request.headers['content-length']) > limitBytes) throw tooLarge()
  // Its events are over when the caller left while it was being identified.
  if (request.destroyed) throw invalid('body', 'ended early')
  const chunks: Uint8Array[] = []
  let bytes = 0
  // By events: leaving a `for await` would destroy the socket, and with it the answer that says why.
  await new Promise<void>((resolve, reject) => {
    const stop = (settle: () => void) => {
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose)
      settle()
    }
    const onData = (chunk: Uint8Array) => {
      bytes += chunk.byteLength
      if (bytes > limitBytes) stop(() => reject(tooLarge()))
      else chunks.push(chunk)
    }
    const onEnd = () => stop(resolve)
    const onClose = () => stop(() => reject(invalid('body', 'ended early')))
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose)
  })
  return Buffer.concat(chunks, bytes)
}

/** Level by level, without recursion: `[[[[…` must not cost us the stack. */
function checkDepth(value: unknown): void {
  let level = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > JSON_DEPTH_LIMIT) throw invalid('body', `must not be nested deeper than ${JSON_DEPTH_LIMIT} levels`)
    level = level.flatMap((item) => (typeof item === 'object' && item !== null ? Object.values(item) : []))
  }
}
