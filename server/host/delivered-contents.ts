/**
 * Ops of other replicas that carry ids which are here already. That is usual when a client hops; where one carries other
 * content under them, what holds is settled in the log. The replica whose content holds goes on as before. Where it is the
 * other one's, whoever has the document open was shown what does not hold, and cannot be told otherwise: only what is
 * loaded anew is right.
 *
 *   overlaps ──▶ compare ── agrees ─────────────────────────────────────▶ compared
 *                   │ differs                                        ▲
 *                   └──▶ on disk ──▶ settle ── as it is open here ───┘
 *                                       └───── otherwise ──▶ superseded
 *
 * Until it is compared, the core makes no snapshot of the document: then the next load finds the overlap in the log, and
 * settles it, whatever happens to this process.
 */

import { formatDot } from '../../shared/clock/dot.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { DocumentState } from '../document/document-state.js'
import type { OpenDocument } from '../replica/open-document.js'
import type { ReplicaEffect, Source } from '../replica/replica.js'
import type { SettledDocument } from './settle-contents.js'

type Overlap = Extract<ReplicaEffect<Source>, { type: 'overlaps-delivered' }>

export interface DeliveredContentsOptions {
  agrees(state: DocumentState, overlap: Overlap): Promise<boolean>
  fingerprint(state: DocumentState): Promise<string>
  settle(name: string): Promise<SettledDocument | undefined>
  /** Resolves when all that was delivered so far is on disk, or has failed. */
  onDisk(): Promise<void>
  isOpen(document: OpenDocument): boolean
  /** `times`: effects that this answers. */
  compared(document: OpenDocument, times: number): void
  /** What is stored holds, and not what is open. */
  superseded(document: OpenDocument, error: CausewayError): void
  onContested(error: CausewayError): void
  /** It cannot be known now: what is open may not hold. */
  onFailure(error: unknown): void
}

/** Overlaps of one document that wait to be compared, one by one; where there are more, it is settled whatever they say. */
const WAITING_LIMIT = 64

interface Waiting {
  overlaps: Overlap[]
  count: number
}

export class DeliveredContents {
  private readonly options: DeliveredContentsOptions
  private readonly waiting = new Map<OpenDocument, Waiting>()

  constructor(options: DeliveredContentsOptions) {
    this.options = options
  }

  compare(overlap: Overlap): void {
    const { document } = overlap
    const waiting = this.waiting.get(document)
    if (waiting === undefined) {
      this.waiting.set(document, { overlaps: [overlap], count: 1 })
      void this.run(document)
      return
    }
    waiting.count++
    if (waiting.overlaps.length < WAITING_LIMIT) waiting.overlaps.push(overlap)
  }

  /** Never rejects. */
  private async run(document: OpenDocument): Promise<void> {
    for (;;) {
      const { overlaps, count } = this.waiting.get(document)!
      if (count === 0 || !this.options.isOpen(document)) break
      this.waiting.set(document, { overlaps: [], count: 0 })
      let error: CausewayError | undefined
      try {
        error = await this.judge(document, overlaps, count)
      } catch (thrown) {
        this.options.onFailure(thrown)
        error = new CausewayError('document/busy', { document: document.name }, { cause: thrown })
      }
      if (error === undefined) this.options.compared(document, count)
      else if (this.options.isOpen(document)) {
        this.options.superseded(document, error)
        break
      }
    }
    this.waiting.delete(document)
  }

  /** Resolves with why what is open here does not hold; undefined where it does. */
  private async judge(
    document: OpenDocument,
    overlaps: readonly Overlap[],
    count: number,
  ): Promise<CausewayError | undefined> {
    const { agrees, onDisk, settle, fingerprint, onContested } = this.options
    let differing: Overlap | undefined
    for (const overlap of overlaps) {
      const isEqual = await agrees({ snapshot: undefined, tail: document.acceptedContent }, overlap)
      if (isEqual) continue
      differing = overlap
      break
    }
    if (differing === undefined && overlaps.length === count) return undefined
    const { name } = document
    const { dot } = differing ?? overlaps[0]!
    const error = new CausewayError('document/equivocation', { document: name, dot: formatDot(dot) })
    if (differing) onContested(error)
    await onDisk()
    const settled = await settle(name)
    if (settled === undefined) return undefined
    const tail = document.tail.filter(({ position }) => position <= settled.position).map(({ update }) => update)
    const isHeld = (await fingerprint({ snapshot: document.snapshot, tail })) === settled.fingerprint
    return isHeld ? undefined : error
  }
}
