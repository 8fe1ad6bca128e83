// Who has received what of one document's stream, cheaply. All readers of a document get the same bytes, so the first
// to have a frame parses it into a shared log, and the others compare their bytes with the log: one comparison per
// read however many frames it holds. A reader whose stream differs (a server may merge per socket) is parsed by itself.
import { readClocks } from './clocks.mjs'
import { header, opcodes, readHeader } from './frames.mjs'
import { kinds, message } from './protocols.mjs'

/** The frames of one document's stream, in order, with the clocks of its one writer that each brings. */
export class DeliveryLog {
  bytes = Buffer.allocUnsafe(1 << 20)
  length = 0
  ends = []
  froms = []
  tos = []

  /** @param protocol which reads the messages; @param client the writer's Yjs client id */
  constructor(protocol, client) {
    this.protocol = protocol
    this.client = client
  }

  /** Clock range of the update frame with this payload in `range`, or false if it holds no update of the writer. */
  readRange(bytes, start, end) {
    this.protocol.read(bytes, start, end)
    if (message.kind !== kinds.update && message.kind !== kinds.step2) return false
    range.from = -1
    readClocks(bytes, message.start, message.end, (client, from, to) => {
      if (client !== this.client) throw new Error(`an update of client ${client}, who does not write here`)
      if (range.from !== -1 && from !== range.to) throw new Error('a merged update with a hole')
      if (range.from === -1) range.from = from
      range.to = to
    })
    return range.from !== -1
  }

  append(bytes, start, end) {
    const size = end - start
    if (this.length + size > this.bytes.length) {
      const larger = Buffer.allocUnsafe(this.bytes.length * 2)
      this.bytes.copy(larger, 0, 0, this.length)
      this.bytes = larger
    }
    bytes.copy(this.bytes, this.length, start, end)
    this.length += size
    this.ends.push(this.length)
    this.froms.push(range.from)
    this.tos.push(range.to)
  }
}

const range = { from: 0, to: 0 }

/** One reader of the stream. */
export class Follower {
  #log
  #session
  #onDelivery
  #rest
  #entry = 0
  #at = 0
  #followsLog = true
  /** The next clock that has not arrived. */
  clock = 0
  frames = 0
  duplicates = 0
  /** Clocks that were passed over: later ones of the same writer came before them. */
  lost = 0

  /** @param onDelivery called with (from, to, now) for clocks that arrive, each once */
  constructor(log, session, onDelivery) {
    this.#log = log
    this.#session = session
    this.#onDelivery = onDelivery
    session.takeBytes((chunk) => this.#feed(chunk))
  }

  #feed(chunk) {
    const now = performance.now()
    const bytes = this.#rest ? Buffer.concat([this.#rest, chunk]) : chunk
    this.#rest = undefined
    let at = this.#followsLog ? this.#takeKnown(bytes, now) : 0
    while (at < bytes.length) {
      if (!readHeader(bytes, at)) {
        this.#rest = Buffer.from(bytes.subarray(at))
        return
      }
      const { opcode, payloadStart, end } = header
      if (opcode !== opcodes.binary) this.#session.onControlFrame(opcode, bytes, payloadStart, end)
      else if (this.#log.readRange(bytes, payloadStart, end)) {
        if (this.#followsLog) this.#step(bytes, at, end)
        this.#deliver(range.from, range.to, now)
      }
      at = end
    }
  }

  /** Takes the frames that the log has already; returns how many bytes they were. */
  #takeKnown(bytes, now) {
    const log = this.#log
    const known = Math.min(log.length - this.#at, bytes.length)
    if (known === 0 || log.bytes.compare(bytes, 0, known, this.#at, this.#at + known) !== 0) return 0
    const start = this.#at
    while (this.#entry < log.ends.length && log.ends[this.#entry] <= start + known) {
      this.#at = log.ends[this.#entry]
      this.#deliver(log.froms[this.#entry], log.tos[this.#entry], now)
      this.#entry++
    }
    return this.#at - start
  }

  /** Goes one entry on with an update frame that was parsed: appends it, or finds that it differs from the others'. */
  #step(bytes, at, end) {
    const log = this.#log
    if (this.#entry === log.ends.length) log.append(bytes, at, end)
    else {
      const entryEnd = log.ends[this.#entry]
      if (log.bytes.compare(bytes, at, end, this.#at, entryEnd) !== 0) {
        this.#followsLog = false
        return
      }
    }
    this.#at = log.ends[this.#entry++]
  }

  #deliver(from, to, now) {
    this.frames++
    if (from > this.clock) this.lost += from - this.clock
    else this.duplicates += Math.min(to, this.clock) - from
    if (to <= this.clock) return
    const first = Math.max(from, this.clock)
    this.clock = to
    this.#onDelivery(first, to, now)
  }
}
