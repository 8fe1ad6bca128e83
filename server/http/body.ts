/**
 * Request bodies, read whole and bounded. Compressed ones are refused: their size says nothing about what they become.
 * JSON is bounded in depth as well, so that nothing that walks it later can run out of stack, and in the number of its
 * values: megabytes of brackets would cost a second and a gigabyte where a text of that size costs nothing. Both are
 * counted on the bytes, before a parser sees them.
 */
import type { IncomingMessage } from 'node:http'
import { CausewayError } from '../../shared/errors/error.js'
import { invalid } from './invalid.js'
import { type Receiving, ReceivingBodies } from './receiving.js'

/** Deep enough for the deepest operation that a document takes. */
export const JSON_DEPTH_LIMIT = 128
/** Values and keys in one body; updates travel in few, whatever their size. */
export const JSON_VALUES_LIMIT = 200_000

/** The bytes of a body of type application/octet-stream, or of no named type. Rejects with `protocol/too-large`. */
export async function readBytes(request: IncomingMessage, limitBytes: number): Promise<Uint8Array> {
  checkType(request, 'application/octet-stream')
  return await readWhole(request, limitBytes)
}

/** The value of a body of type application/json, or of no named type. Rejects with `protocol/too-large`, `request/invalid`. */
export async function readJson(request: IncomingMessage, limitBytes: number): Promise<unknown> {
  checkType(request, 'application/json')
  const bytes = await readWhole(request, limitBytes)
  checkShape(bytes)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    throw invalid('body', 'must be JSON in UTF-8')
  }
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

/** One bound for the process, as there is one memory. */
const receiving = new ReceivingBodies()

/** Rejects with `access/too-many-requests` where too much is being received and this is the largest. */
async function readWhole(request: IncomingMessage, limitBytes: number): Promise<Uint8Array> {
  const tooLarge = () => new CausewayError('protocol/too-large', { limitBytes })
  if (Number(request.headers['content-length']) > limitBytes) throw tooLarge()
  // Its events are over when the caller left while it was being identified.
  if (request.destroyed) throw invalid('body', 'ended early')
  const chunks: Uint8Array[] = []
  // By events: leaving a `for await` would destroy the socket, and with it the answer that says why.
  await new Promise<void>((resolve, reject) => {
    const stop = (settle: () => void) => {
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose)
      receiving.end(body)
      settle()
    }
    const body: Receiving = {
      bytes: 0,
      giveUp: () => stop(() => reject(new CausewayError('access/too-many-requests'))),
    }
    const onData = (chunk: Uint8Array) => {
      if (body.bytes + chunk.byteLength > limitBytes) {
        stop(() => reject(tooLarge()))
        return
      }
      chunks.push(chunk)
      receiving.grow(body, chunk.byteLength)
    }
    const onEnd = () => stop(resolve)
    const onClose = () => stop(() => reject(invalid('body', 'ended early')))
    receiving.begin(body)
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose)
  })
  return Buffer.concat(chunks)
}

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const BACKSLASH = 0x5c
/** Brackets and braces, but for one bit. */
const OPENING = 0x5b
const CLOSING = 0x5d

/** Right for every JSON text; of others the parser says what they are. */
function checkShape(bytes: Uint8Array): void {
  let depth = 0
  let values = 1
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!
    if (byte === QUOTE) at = endOfText(bytes, at)
    else if (byte === COMMA || byte === COLON) values++
    else if ((byte & 0xdf) === OPENING) {
      values++
      if (++depth > JSON_DEPTH_LIMIT) {
        throw invalid('body', `must not be nested deeper than ${JSON_DEPTH_LIMIT} levels`)
      }
    } else if ((byte & 0xdf) === CLOSING) depth--
    if (values > JSON_VALUES_LIMIT) throw invalid('body', `must not hold more than ${JSON_VALUES_LIMIT} values`)
  }
}

/** Where the text ends that begins at `start`. */
function endOfText(bytes: Uint8Array, start: number): number {
  for (let at = start + 1; at < bytes.length; at++) {
    const byte = bytes[at]!
    if (byte === QUOTE) return at
    if (byte === BACKSLASH) at++
  }
  return bytes.length
}
