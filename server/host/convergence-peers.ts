/**
 * The cell as a comparison sees it: each member, this one included, answers the same three questions. Here are both ends
 * of them: asking peers, and answering them from what this replica has.
 */
import { CausewayError } from '../../shared/errors/error.js'
import {
  CONVERGENCE_LIMITS,
  type ConvergenceAnswer,
  type ConvergenceQuestion,
  type DocumentView,
  decodeAnswer,
  decodeQuestion,
  encodeAnswer,
  encodeQuestion,
} from '../../shared/protocol/convergence.js'
import { FINGERPRINT_VERSION } from '../document/fingerprint-version.js'
import type { HeldBack, PeerTalk } from '../replica/cell.js'
import { differingGroups } from '../replica/tree-difference.js'
import type { Log } from '../storage/log.js'
import type { Fingerprints } from './fingerprints.js'

/** What the network and a busy peer may take on top of what was granted. */
const ASK_MS = 3_000
/** Longest work on fingerprints for one question, whatever it grants. */
const BUDGET_MS = 5_000
/** Questions of peers that are worked on at a time. */
const ANSWERING = 32

export interface ConvergencePeersOptions {
  readonly self: string
  readonly talk: PeerTalk
  readonly log: Pick<Log, 'digestTree' | 'digestLeaves'>
  readonly fingerprints: Fingerprints
  readonly heldBack: () => readonly HeldBack[]
}

type AnswerTo<Type extends ConvergenceQuestion['type']> = Extract<ConvergenceAnswer, { type: Type }>

export class ConvergencePeers {
  readonly self: string
  readonly log: Pick<Log, 'digestTree' | 'digestLeaves'>
  readonly fingerprints: Fingerprints
  readonly heldBack: () => readonly HeldBack[]
  private readonly talk: PeerTalk
  private answering = 0

  /** Answers from now on what peers ask. */
  constructor({ self, talk, log, fingerprints, heldBack }: ConvergencePeersOptions) {
    this.self = self
    this.talk = talk
    this.log = log
    this.fingerprints = fingerprints
    this.heldBack = heldBack
    talk.onAsked('convergence', (_, question) => this.answer(question))
  }

  get linked(): readonly string[] {
    return this.talk.linked
  }

  /** Rejects where the peer cannot be asked, fails, or answers something else. */
  async ask<Question extends ConvergenceQuestion>(
    peer: string,
    question: Question,
  ): Promise<AnswerTo<Question['type']>> {
    const budgetMs = question.type === 'documents' ? question.budgetMs : 0
    const answer = await this.talk.ask(peer, 'convergence', encodeQuestion(question), budgetMs + ASK_MS)
    return decodeAnswer<Question['type']>(question.type, answer)
  }

  /** Documents as `replica` has them, this one or a peer; each as of one moment. At most `CONVERGENCE_LIMITS.names`. */
  async views(replica: string, names: readonly string[], budgetMs: number): Promise<readonly (DocumentView | null)[]> {
    if (replica === this.self) return this.fingerprints.views(names, budgetMs)
    const { fingerprintVersion, views } = await this.ask(replica, { type: 'documents', budgetMs, names })
    if (views.length !== names.length) throw new CausewayError('protocol/bad-message', { reason: 'not what was asked' })
    if (fingerprintVersion === FINGERPRINT_VERSION) return views
    return views.map((view) => view && { ...view, fingerprint: 'unavailable' as const })
  }

  private async answer(bytes: Uint8Array): Promise<Uint8Array> {
    const question = decodeQuestion(bytes)
    if (this.answering >= ANSWERING) throw new CausewayError('access/too-many-requests')
    this.answering++
    try {
      return encodeAnswer(await this.answerTo(question))
    } finally {
      this.answering--
    }
  }

  private async answerTo(question: ConvergenceQuestion): Promise<ConvergenceAnswer> {
    switch (question.type) {
      case 'tree': {
        const { hashes } = await this.log.digestTree(question.prefix)
        const heldBack = this.heldBack().slice(0, CONVERGENCE_LIMITS.heldBack)
        return { type: 'tree', groups: differingGroups(hashes, question.groups), heldBack }
      }
      case 'leaves':
        return { type: 'leaves', ...(await this.log.digestLeaves(question)) }
      case 'documents': {
        const budgetMs = Math.min(question.budgetMs, BUDGET_MS)
        const views = await this.fingerprints.views(question.names, budgetMs)
        return { type: 'documents', fingerprintVersion: FINGERPRINT_VERSION, views }
      }
    }
  }
}
