/**
 * What is owed to a stock client for one document on one connection. Its protocol has no numbers: it counts up at each
 * edit and at each connect, and down at each acknowledgement, and shows "saved" at zero. So what counts is how many
 * acknowledgements are sent, and when:
 *
 *   edit, or first step2 ──▶ stored                          one acknowledgement, in the order of requests
 *                        ├─▶ refused for good                one refusal, in the same order
 *                        ├─▶ refused with a gap, or stored   withheld: our state vector is sent, once; the step2 that
 *                        │   with structs left over          answers it covers everything before it
 *                        └─▶ refused by a full disk          withheld until writes work again, then the same
 *
 * The client never counted a step2 that *we* asked for in this way, so it brings the withheld acknowledgements and none
 * of its own. What it still leaves over is pending in the sender, is no edit that it shows, and withholds nothing.
 * A client answers step1s in order, one step2 each; that is how a step2 is told to be the answer to such a question.
 *
 * Same inputs in the same order give the same effects; no socket, no clock.
 */
import { assert } from '../../shared/base/assert.js'
import type { CausewayError } from '../../shared/errors/error.js'
import type { Acknowledgement } from '../replica/documents.js'

export type StockEffect =
  /** Send `times` acknowledgements. */
  | { readonly type: 'acknowledge'; readonly times: number }
  /** Tell the client `times` times that an edit was refused for good. */
  | { readonly type: 'refuse'; readonly times: number; readonly error: CausewayError }
  /** The update changed nothing (or was changed): its sender gets these bytes, as it would have from a delivery. */
  | { readonly type: 'echo'; readonly update: Uint8Array }
  /** Send a step1 with the durable state vector. */
  | { readonly type: 'ask' }
  /** What the client shows is not what is stored, and no acknowledgement is left to withhold. */
  | { readonly type: 'lose'; readonly error: CausewayError }
  /** The connection cannot go on: by a new one the client offers again what it has. */
  | { readonly type: 'close'; readonly error: CausewayError }

interface Request {
  readonly kind: 'update' | 'step2'
  /** Acknowledgements that its outcome brings: its own, and withheld ones that it covers. */
  owes: number
  /** Whether a step2 answers a question of ours, so that what it leaves over is no reason to ask again. */
  readonly isAnswer: boolean
  /** What to do when its turn comes; absent while it waits for the document. */
  outcome?: readonly StockEffect[]
}

const NOTHING: readonly StockEffect[] = []
const ACKNOWLEDGED: readonly StockEffect[] = [{ type: 'acknowledge', times: 1 }]
const ASK: StockEffect = { type: 'ask' }

/** Step1s without an answer: honest clients have one or two. */
const QUESTIONS_LIMIT = 100
/** Settled requests that may stand before the first open one. */
const COMPACT_AT = 1024

export class StockSession {
  /** Requests without an outcome, or behind one; `requests[head]` has the number `first`. */
  private requests: Request[] = []
  private head = 0
  private first = 1
  /** Acknowledgements withheld until a step2 covers them. */
  private withheld = 0
  /** Our step1s without an answer, oldest first: true where we asked because of a gap. */
  private questions: boolean[] = []
  private lastStep2 = 0
  private lastStep2Stored = false
  /** Step1s of an earlier session at the same address that the client may answer in this one. */
  private strays: number

  /** `strays`: see `unansweredQuestions` of the session before this one at the same address. */
  constructor(strays = 0) {
    this.strays = strays
  }

  /** How many requests wait for the document. */
  get inFlight(): number {
    return this.requests.length - this.head
  }

  /** The number of the first request without an outcome, or behind one; one more than the last where there is none. */
  get firstInFlight(): number {
    return this.first
  }

  /** How many step1s the client has not answered; it may do so under the next session of the same address. */
  get unansweredQuestions(): number {
    return this.questions.length + this.strays
  }

  /**
   * Our step1 is to go out because a connection opens, or in answer to the client's: its step2 is one that the client
   * counts. False where so many have no answer that no more are sent.
   */
  opened(): boolean {
    if (this.questions.length >= QUESTIONS_LIMIT) return false
    this.questions.push(false)
    return true
  }

  /** The client is to be asked once more, whatever it answers to what it was asked before. */
  asksAgain(): readonly StockEffect[] {
    return this.questions.length >= QUESTIONS_LIMIT ? NOTHING : [this.ask()]
  }

  /** An edit or a step2 arrived: the number under which it is to be offered to the document. */
  received(kind: 'update' | 'step2'): number {
    const number = this.first + this.inFlight
    if (kind === 'update') {
      this.requests.push({ kind, owes: 1, isAnswer: false })
      return number
    }
    const question = this.questions.shift()
    // An unasked step2 is the client's own idea and counted by it, unless it answers a session that is gone.
    const isStray = question === undefined && this.strays > 0
    if (isStray) this.strays--
    const isAnswer = question === true
    this.requests.push({ kind, owes: this.withheld + (isAnswer || isStray ? 0 : 1), isAnswer })
    this.withheld = 0
    this.lastStep2 = number
    this.lastStep2Stored = false
    return number
  }

  /** The request reached its write concern. */
  acknowledged(number: number, { echo, leftover }: Acknowledgement): readonly StockEffect[] {
    const request = this.take(number)
    if (request.kind === 'step2') {
      if (leftover && !request.isAnswer) return this.withhold(number, request, true)
      if (number === this.lastStep2) this.lastStep2Stored = true
      return this.settle(number, request, acknowledgements(request.owes))
    }
    if (echo === undefined) return this.settle(number, request, ACKNOWLEDGED)
    return this.settle(number, request, [{ type: 'echo', update: echo }, ...ACKNOWLEDGED])
  }

  /** Nothing of the request was stored. */
  refused(number: number, error: CausewayError): readonly StockEffect[] {
    const request = this.take(number)
    switch (error.code) {
      case 'document/gap':
        // An answer is trimmed, never refused for a gap; were it, asking again would go on for ever.
        if (!request.isAnswer) return this.withhold(number, request, true)
        return this.settle(number, request, refusals(request.owes, error))
      case 'storage/full':
      case 'storage/read-only':
        return this.withhold(number, request, false)
      case 'document/equivocation':
        if (!request.isAnswer) return this.settle(number, request, refusals(request.owes, error))
        return this.settle(number, request, [...refusals(request.owes, error), { type: 'lose', error }])
      default:
        if (error.info.retry !== 'never') return [{ type: 'close', error }]
        return this.settle(number, request, refusals(request.owes, error))
    }
  }

  /** Writes work again: ask for what was refused, unless an answer that will hold it is on its way. */
  resync(): readonly StockEffect[] {
    return this.questions.length > 0 ? NOTHING : [this.ask()]
  }

  /** Its acknowledgements wait for a step2: for one that arrived after it, or for the answer to a question. */
  private withhold(number: number, request: Request, mayAsk: boolean): readonly StockEffect[] {
    const { owes } = request
    if (this.lastStep2 > number) {
      const later = this.requestAt(this.lastStep2)
      if (later !== undefined && later.outcome === undefined) {
        later.owes += owes
        return this.settle(number, request, NOTHING)
      }
      if (this.lastStep2Stored) return this.settle(number, request, acknowledgements(owes))
    }
    this.withheld += owes
    const settled = this.settle(number, request, NOTHING)
    return mayAsk && this.questions.length === 0 ? [this.ask(), ...settled] : settled
  }

  private ask(): StockEffect {
    this.questions.push(true)
    return ASK
  }

  private take(number: number): Request {
    const request = this.requestAt(number)
    assert(request !== undefined && request.outcome === undefined, `request ${number} is answered once`)
    return request
  }

  private requestAt(number: number): Request | undefined {
    return number < this.first ? undefined : this.requests[this.head + number - this.first]
  }

  /** Notes an outcome and takes every outcome whose turn has come. */
  private settle(number: number, request: Request, outcome: readonly StockEffect[]): readonly StockEffect[] {
    request.outcome = outcome
    if (number !== this.first) return NOTHING
    this.pass()
    let next = this.requests[this.head]?.outcome
    if (next === undefined) return outcome
    const effects = [...outcome]
    for (; next !== undefined; next = this.requests[this.head]?.outcome) {
      effects.push(...next)
      this.pass()
    }
    return effects
  }

  private pass(): void {
    this.head++
    this.first++
    if (this.head === this.requests.length) {
      this.requests = []
      this.head = 0
    } else if (this.head === COMPACT_AT) {
      this.requests.splice(0, this.head)
      this.head = 0
    }
  }
}

function acknowledgements(times: number): readonly StockEffect[] {
  if (times === 1) return ACKNOWLEDGED
  return times === 0 ? NOTHING : [{ type: 'acknowledge', times }]
}

function refusals(times: number, error: CausewayError): readonly StockEffect[] {
  return times === 0 ? NOTHING : [{ type: 'refuse', times, error }]
}
