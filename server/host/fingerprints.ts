/**
 * What this replica has of a document: which ops, and the fingerprint of the content they made. Both are of one moment:
 * either a load gave bytes and digest together, or the digest of now is one whose fingerprint is known. Fingerprints are
 * computed when somebody asks, one at a time, in a document worker: a large one takes it half a second.
 */
import { hash } from 'node:crypto'
import { asCausewayError } from '../../shared/errors/error.js'
import type { DocumentView, NoFingerprint, OpDigest } from '../../shared/protocol/convergence.js'
import type { DocumentState } from '../document/document-state.js'
import type { Log } from '../storage/log.js'
import type { StoredDocument } from '../storage/stored-document.js'

/** Fingerprints that are kept: some 10 MB. */
const KEPT = 65_536
/** Documents whose fingerprints may wait to be computed; one more is late. */
const WAITING = 256
/** Trouble of the moment: the next time it may work. */
const PASSING = new Set(['document/busy', 'storage/busy', 'cell/draining'])

import { byTime } from './settle-contents.js'

export interface FingerprintOptions {
  readonly log: Pick<Log, 'load' | 'digestsOf'>
  /** 32 hex digits; rejects where the document is too expensive. */
  readonly compute: (state: DocumentState) => Promise<string>
  readonly kept?: number
}

export class Fingerprints {
  private readonly options: FingerprintOptions
  private readonly kept: number
  /** By document and ops, oldest first. */
  private readonly known = new Map<string, string | 'unavailable'>()
  private readonly running = new Map<string, Promise<DocumentView | NoFingerprint | null>>()
  private last: Promise<unknown> = Promise.resolve()

  constructor(options: FingerprintOptions) {
    this.options = options
    this.kept = options.kept ?? KEPT
  }

  /**
   * At most `CONVERGENCE_LIMITS.names` documents, each as of a moment of its own; null where there is none. What is not
   * known is computed for `budgetMs` and is `late` beyond. Rejects as a read of the log.
   */
  async views(names: readonly string[], budgetMs: number): Promise<(DocumentView | null)[]> {
    const digests = await this.options.log.digestsOf(names)
    const budget = new Budget(budgetMs)
    try {
      const views: (DocumentView | null)[] = []
      for (const [index, name] of names.entries()) {
        const digest = digests[index]
        const known = digest && this.known.get(keyOf(name, digest))
        if (digest === undefined) views.push(null)
        else if (known !== undefined) views.push({ ...digest, fingerprint: known })
        else {
          const found = budget.isSpent ? 'late' : await Promise.race([this.find(name), budget.spent])
          views.push(typeof found === 'string' ? { ...digest, fingerprint: found } : found)
        }
      }
      return views
    } finally {
      budget.end()
    }
  }

  private async find(name: string): Promise<DocumentView | NoFingerprint | null> {
    const running = this.running.get(name)
    if (running !== undefined) return running
    if (this.running.size >= WAITING) return 'late'
    const found = this.last.then(() => this.load(name)).finally(() => this.running.delete(name))
    this.last = found
    this.running.set(name, found)
    return found
  }

  /** Never rejects. */
  private async load(name: string): Promise<DocumentView | NoFingerprint | null> {
    let stored: StoredDocument | undefined
    try {
      stored = await this.options.log.load(name)
    } catch (thrown) {
      return failureOf(thrown)
    }
    if (stored === undefined) return null
    const { generation, digest, clock, snapshot, tail } = stored
    const ops = { generation, count: digest.count, xor: Buffer.from(digest.xor).toString('hex') }
    const key = keyOf(name, ops)
    let fingerprint: string | NoFingerprint | undefined = this.known.get(key)
    if (fingerprint === undefined) {
      const state = { snapshot: snapshot?.update, tail: [...tail].sort(byTime).map(({ update }) => update) }
      fingerprint = await this.options.compute(state).catch(failureOf)
      if (fingerprint !== 'late') this.keep(key, fingerprint)
    }
    return { ...ops, clock, fingerprint }
  }

  private keep(key: string, fingerprint: string): void {
    this.known.set(key, fingerprint)
    for (const oldest of this.known.keys()) {
      if (this.known.size <= this.kept) break
      this.known.delete(oldest)
    }
  }
}

/** A wait that several awaits share. */
class Budget {
  isSpent: boolean
  readonly spent: Promise<'late'>
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(budgetMs: number) {
    this.isSpent = budgetMs <= 0
    this.spent = new Promise((resolve) => {
      if (this.isSpent) return
      this.timer = setTimeout(() => {
        this.isSpent = true
        resolve('late')
      }, budgetMs)
    })
  }

  end(): void {
    clearTimeout(this.timer)
  }
}

/** Short, since there are many: names are up to 512 bytes. */
function keyOf(name: string, { generation, count, xor }: OpDigest): string {
  return hash('sha256', `${generation}:${count}:${xor}:${name}`, 'binary')
}

function failureOf(thrown: unknown): NoFingerprint {
  return PASSING.has(asCausewayError(thrown).code) ? 'late' : 'unavailable'
}
