// One client with one document: joins, answers what a client must answer, hands every message on. A session is ready
// when a stock client would call itself synced: with the document's state received and, where the protocol has
// acknowledgements, its own answer acknowledged.
import { Connection } from './connection.mjs'
import { clientFrame, FrameReader, opcodes } from './frames.mjs'
import { kinds, message, protocols } from './protocols.mjs'

const noAnswerTimeoutMs = 30_000
const closeFrame = clientFrame(new Uint8Array([0x03, 0xe8]), opcodes.close)
const pong = clientFrame(new Uint8Array([10]))

export class Session {
  #connection
  #reader
  #protocol
  #missing = new Set()
  #ready

  /**
   * Opens a session and waits until it is ready.
   * @param target `{host, port, base, protocol}`
   * @param listener `onMessage(kind, bytes, start, end)` for every message (bytes valid during the call), and
   *   `onClose(reason)`; without `onClose` a closed connection is an error that fails the job
   */
  static async open(target, document, listener = {}) {
    const session = new Session(target, document, listener)
    await session.#join()
    return session
  }

  constructor(target, document, listener) {
    this.target = target
    this.document = document
    this.listener = listener
    this.#protocol = protocols[target.protocol]
    this.#reader = new FrameReader((opcode, bytes, start, end) => this.#onFrame(opcode, bytes, start, end))
  }

  async #join() {
    const { target, document } = this
    const protocol = this.#protocol
    if (protocol.answersJoin) this.#missing.add(kinds.step2)
    if (protocol.acknowledges) this.#missing.add(kinds.authenticated).add(kinds.ack)
    const ready = new Promise((resolve, reject) => {
      this.#ready = { resolve, reject }
    })
    ready.catch(() => {})
    const deadline = setTimeout(() => {
      const missing = [...this.#missing].map((kind) => Object.keys(kinds).find((name) => kinds[name] === kind))
      this.#ready.reject(new Error(`${document}: no ${missing.join(', ')} within ${noAnswerTimeoutMs} ms`))
    }, noAnswerTimeoutMs)
    try {
      await Connection.open(target, protocol.path(target.base, document), {
        onOpen: (connection) => {
          this.#connection = connection
          for (const payload of protocol.hello(document)) connection.send(clientFrame(payload))
        },
        onBytes: (chunk) => this.#reader.feed(chunk),
        onClose: () => this.#closed('the server ended the connection'),
      })
      if (this.#missing.size > 0) await ready
    } catch (error) {
      this.#connection?.close()
      throw error
    } finally {
      clearTimeout(deadline)
    }
  }

  /** Writes a prepared frame. */
  send(frame) {
    this.#connection.send(frame)
  }

  /** Shows the server that this client lives; servers close clients that are silent for a minute. */
  keepAlive() {
    this.#connection.send(clientFrame(this.#protocol.keepAlive(this.document)))
  }

  /**
   * From now on the bytes of the connection go to `onBytes` instead of the listener. Only between messages.
   */
  takeBytes(onBytes) {
    if (this.#reader.rest.length > 0) throw new Error('the stream was taken over in the middle of a message')
    this.#connection.onBytes = onBytes
  }

  /** What a taken-over stream must do with frames that are not the document's. */
  onControlFrame(opcode, bytes, start, end) {
    if (opcode === opcodes.ping) this.#connection.send(clientFrame(bytes.subarray(start, end), opcodes.pong))
    else if (opcode === opcodes.close) {
      const code = end - start >= 2 ? (bytes[start] << 8) | bytes[start + 1] : 1005
      this.#closed(`the server closed with ${code} ${bytes.toString('utf8', Math.min(start + 2, end), end)}`)
      this.#connection.close()
    }
  }

  close() {
    this.#connection.close(closeFrame)
  }

  #onFrame(opcode, bytes, start, end) {
    if (opcode !== opcodes.binary) return this.onControlFrame(opcode, bytes, start, end)
    if (end - start === 1 && bytes[start] === 9 && this.#protocol.acknowledges) return this.send(pong)
    this.#protocol.read(bytes, start, end)
    const { kind, start: bodyStart, end: bodyEnd } = message
    if (kind === kinds.step1) this.send(clientFrame(this.#protocol.answerToStep1(this.document)))
    else if (kind === kinds.denied) this.#closed('the server denied access')
    else if (kind === kinds.detached) this.#closed('the server detached the document')
    else if (kind === kinds.refusedAck) this.#closed('the server refused an update')
    const wasReady = this.#missing.size === 0
    if (!wasReady && this.#missing.delete(kind) && this.#missing.size === 0) this.#ready.resolve()
    this.listener.onMessage?.(kind, bytes, bodyStart, bodyEnd, wasReady)
  }

  #closed(reason) {
    if (this.#missing.size > 0) this.#ready.reject(new Error(`${this.document}: ${reason} during the join`))
    else if (this.listener.onClose) this.listener.onClose(reason)
    else throw new Error(`${this.document}: ${reason}`)
  }
}

/** Runs `work(0 … count-1)` with at most `width` at a time and returns the results in order. */
export async function inParallel(count, width, work) {
  const results = new Array(count)
  let next = 0
  const lane = async () => {
    while (next < count) {
      const index = next++
      results[index] = await work(index)
    }
  }
  await Promise.all(Array.from({ length: Math.min(width, count) }, lane))
  return results
}
