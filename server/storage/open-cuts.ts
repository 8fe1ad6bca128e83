/** The cuts that peers are taking state from, by number. Each holds back the truncation of the write-ahead log. */
import { CausewayError } from '../../shared/errors/error.js'
import type { CutOpened } from './log-messages.js'
import { type StateChunk, StateExport } from './state-export.js'

const CUTS_LIMIT = 2

export class OpenCuts {
  private readonly path: string
  private readonly cuts = new Map<number, StateExport>()
  private last = 0

  /** `path`: of the database. */
  constructor(path: string) {
    this.path = path
  }

  /** Throws `storage/busy`, and as `StateExport.open`. */
  open(): CutOpened {
    if (this.cuts.size >= CUTS_LIMIT) throw new CausewayError('storage/busy', { cuts: this.cuts.size })
    const opened = StateExport.open(this.path)
    this.cuts.set(++this.last, opened)
    return { cut: this.last, vector: opened.cut, position: opened.position }
  }

  /** Throws `request/invalid` for a cut that is closed, and as `StateExport.chunk`. */
  chunk(cut: number, index: number): StateChunk {
    const opened = this.cuts.get(cut)
    if (!opened) throw new CausewayError('request/invalid', { cut, reason: 'closed' })
    return opened.chunk(index)
  }

  close(cut: number): void {
    this.cuts.get(cut)?.close()
    this.cuts.delete(cut)
  }

  closeAll(): void {
    for (const cut of [...this.cuts.keys()]) this.close(cut)
  }
}
