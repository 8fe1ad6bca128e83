/**
 * Documents that were found diverged, until they were found equal again: the same ops, and two contents. It does not heal
 * by itself, and somebody has to look.
 */
import type { CellStatus } from '../replica/cell.js'
import type { Comparison } from '../replica/convergence.js'
import type { Log } from './log.js'

/** Documents that are remembered; of one more, only the log line tells. */
const REMEMBERED = 256
/** Names in the text of the alarm. */
const NAMED = 5

export class DivergenceAlarms {
  private readonly log: Pick<Log, 'error' | 'info'>
  private readonly now: () => number
  private readonly found = new Map<string, { readonly replicas: readonly string[]; readonly sinceMs: number }>()

  /** `now`: Unix milliseconds. */
  constructor(log: Pick<Log, 'error' | 'info'>, now: () => number) {
    this.log = log
    this.now = now
  }

  get documents(): readonly string[] {
    return [...this.found.keys()]
  }

  /** Takes what a comparison came to. */
  learn(document: string, comparison: Comparison): void {
    const { conflict } = comparison
    const known = this.found.get(document)
    if (conflict !== undefined && known === undefined) {
      if (this.found.size < REMEMBERED) this.found.set(document, { replicas: conflict, sinceMs: this.now() })
      this.log.error('cell/diverged', { document, replicas: conflict.join(' ') })
    } else if (conflict === undefined && known !== undefined && comparison.state === 'equal') {
      // Equal at others says nothing of the two that differed.
      if (!known.replicas.every((replica) => comparison.replicas.has(replica))) return
      this.found.delete(document)
      this.log.info('cell/divergence-ended', { document })
    }
  }

  alarms(): CellStatus['alarms'] {
    if (this.found.size === 0) return []
    const [oldest] = this.found.values()
    const names = this.documents.slice(0, NAMED).join(', ')
    const more = this.found.size > NAMED ? ` and ${this.found.size - NAMED} more` : ''
    const details = `The same ops gave different contents at two replicas: ${names}${more}.`
    return [{ alarm: 'cell/diverged', details, sinceMs: oldest!.sinceMs }]
  }
}
