/**
 * Questions to peers and remarks for them, over the links that the exchange of ops keeps. A question has one outcome:
 * the answer, an error of the peer's, or `cell/unreachable` when the link is lost or the time is up. A peer takes a few
 * questions at a time; more wait here for their turn, and one that nobody waits for any more keeps its place until the
 * peer has answered it, since that is how long the peer is busy with it.
 */
import { assert } from '../../shared/base/assert.js'
import { ERROR_CODES, type ErrorCodeName } from '../../shared/errors/codes.js'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import { PEER_LIMITS } from '../../shared/protocol/peer.js'
import type { PeerTalk, Subject, Topic } from '../replica/cell.js'
import type { Answered, Asked, TalkMessage, Told } from '../replica/peer-link.js'

/** Questions to one peer that have no outcome yet. */
const QUESTIONS_LIMIT = 64
/** After this long a peer is told that there is no answer, whatever becomes of it here. */
const ANSWER_MS = 60_000
const NOTHING = new Uint8Array(0)

type ToldListener = (from: string, document: string, payload: Uint8Array) => void
type AskedListener = (from: string, question: Uint8Array) => Promise<Uint8Array>
type PeerListener = (peer: string) => void

interface Question {
  readonly subject: Subject
  readonly question: Uint8Array
  /** Undefined when it has its outcome. */
  settle: ((outcome: Uint8Array | CausewayError) => void) | undefined
}

/** One connection to a peer: what is asked on it ends with it. */
interface Connection {
  readonly waiting: Question[]
  readonly asked: Map<number, Question>
}

export class LinkTalk implements PeerTalk {
  private readonly send: (peer: string, message: TalkMessage) => void
  private readonly connections = new Map<string, Connection>()
  private readonly toldListeners = new Map<Topic, ToldListener[]>()
  private readonly askedListeners = new Map<Subject, AskedListener>()
  private readonly linkedListeners: PeerListener[] = []
  private readonly unlinkedListeners: PeerListener[] = []
  private lastAsk = 0

  /** `send` hands a message to the peer's link as an input. */
  constructor(send: (peer: string, message: TalkMessage) => void) {
    this.send = send
  }

  // --- for those who talk

  get linked(): readonly string[] {
    return [...this.connections.keys()]
  }

  tell(topic: Topic, document: string, payload: Uint8Array, to?: string): void {
    if (payload.length > PEER_LIMITS.tellBytes) return
    const message = { type: 'tell', topic, document, payload } as const
    for (const peer of to === undefined ? this.linked : [to]) {
      if (this.connections.has(peer)) this.send(peer, message)
    }
  }

  onTold(topic: Topic, listener: ToldListener): void {
    const listeners = this.toldListeners.get(topic)
    if (listeners === undefined) this.toldListeners.set(topic, [listener])
    else listeners.push(listener)
  }

  /**
   * Rejects also with `access/too-many-requests` (too many questions to this peer have no outcome), `protocol/too-large`
   * (the question), and the code that the peer answers with.
   */
  ask(peer: string, subject: Subject, question: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const connection = this.connections.get(peer)
      if (connection === undefined) throw new CausewayError('cell/unreachable', { peer })
      if (question.length > PEER_LIMITS.askBytes) throw new CausewayError('protocol/too-large')
      const { asked, waiting } = connection
      if (asked.size + waiting.length >= QUESTIONS_LIMIT) throw new CausewayError('access/too-many-requests', { peer })
      const asking: Question = {
        subject,
        question,
        settle: (outcome) => {
          asking.settle = undefined
          clearTimeout(timer)
          if (outcome instanceof CausewayError) reject(outcome)
          else resolve(outcome)
        },
      }
      const timer = setTimeout(() => {
        asking.settle?.(new CausewayError('cell/unreachable', { peer, reason: 'no answer in time' }))
        const place = waiting.indexOf(asking)
        if (place >= 0) waiting.splice(place, 1)
      }, timeoutMs)
      waiting.push(asking)
      this.askNext(peer, connection)
    })
  }

  onAsked(subject: Subject, listener: AskedListener): void {
    assert(!this.askedListeners.has(subject), 'one listener for each subject')
    this.askedListeners.set(subject, listener)
  }

  onLinked(listener: PeerListener): void {
    this.linkedListeners.push(listener)
  }

  onUnlinked(listener: PeerListener): void {
    this.unlinkedListeners.push(listener)
  }

  // --- for those who keep the links

  /** The link to a peer is open (`opened`). */
  peerLinked(peer: string): void {
    assert(!this.connections.has(peer), 'linked twice')
    this.connections.set(peer, { waiting: [], asked: new Map() })
    for (const listener of this.linkedListeners) listener(peer)
  }

  /** It is open no more; nothing happens where it was not. */
  peerUnlinked(peer: string): void {
    const connection = this.connections.get(peer)
    if (connection === undefined) return
    this.connections.delete(peer)
    for (const { settle } of [...connection.asked.values(), ...connection.waiting]) {
      settle?.(new CausewayError('cell/unreachable', { peer, reason: 'the link was lost' }))
    }
    for (const listener of this.unlinkedListeners) listener(peer)
  }

  told(peer: string, { topic, document, payload }: Told): void {
    for (const listener of this.toldListeners.get(topic) ?? []) listener(peer, document, payload)
  }

  asked(peer: string, { ask, subject, question }: Asked): void {
    const connection = this.connections.get(peer)
    let isAnswered = false
    const answer = (outcome: Uint8Array | CausewayError): void => {
      if (isAnswered) return
      isAnswered = true
      clearTimeout(timer)
      // On a later connection the same number is another question.
      if (connection === undefined || this.connections.get(peer) !== connection) return
      const reply = outcome instanceof CausewayError ? { code: outcome.code, answer: NOTHING } : { answer: outcome }
      this.send(peer, { type: 'answer', ask, ...reply })
    }
    const timer = setTimeout(() => answer(new CausewayError('protocol/timeout')), ANSWER_MS)
    timer.unref()
    this.answerTo(peer, subject, question).then(
      (bytes) => answer(bytes.length > PEER_LIMITS.answerBytes ? new CausewayError('protocol/too-large') : bytes),
      (thrown: unknown) => answer(asCausewayError(thrown)),
    )
  }

  answered(peer: string, { ask, code, answer }: Answered): void {
    const connection = this.connections.get(peer)
    const question = connection?.asked.get(ask)
    if (connection === undefined || question === undefined) return
    connection.asked.delete(ask)
    question.settle?.(code === undefined ? answer : errorOf(peer, code))
    this.askNext(peer, connection)
  }

  private async answerTo(peer: string, subject: Subject, question: Uint8Array): Promise<Uint8Array> {
    const listener = this.askedListeners.get(subject)
    if (listener === undefined) throw new CausewayError('request/not-found', { subject })
    return await listener(peer, question)
  }

  private askNext(peer: string, { asked, waiting }: Connection): void {
    while (asked.size < PEER_LIMITS.asks) {
      const next = waiting.shift()
      if (next === undefined) return
      const ask = ++this.lastAsk
      asked.set(ask, next)
      this.send(peer, { type: 'ask', ask, subject: next.subject, question: next.question })
    }
  }
}

/** What a peer answered instead; one that speaks of codes we do not know is as good as unreachable. */
function errorOf(peer: string, code: string): CausewayError {
  if (Object.hasOwn(ERROR_CODES, code)) return new CausewayError(code as ErrorCodeName, { peer })
  return new CausewayError('cell/unreachable', { peer, code })
}
