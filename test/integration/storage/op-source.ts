/** Ops as a replica makes them: one origin, its `open` first, then edits without gaps. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Dot, makeOrigin, type OriginId } from '../../../shared/clock/dot.js'
import type { HybridTime } from '../../../shared/clock/hybrid-clock.js'
import type { VersionVector } from '../../../shared/clock/version-vector.js'
import type { Op, OwnedId, Part } from '../../../shared/protocol/op.js'

export class OpSource {
  readonly origin: OriginId
  /** Last seq handed out. */
  seq: number
  hlc: number
  private isOpen = false
  private readonly predecessor: Dot | undefined

  constructor(name: string, incarnation: string, after: { predecessor?: Dot; hlc?: number } = {}) {
    this.origin = makeOrigin(name, incarnation)
    this.predecessor = after.predecessor
    this.seq = after.predecessor?.seq ?? 0
    this.hlc = after.hlc ?? 1_800_000_000_000 * 1024
  }

  /** The next ops: an edit per entry, each of the parts given as `document: text`; the `open` comes before the first. */
  edits(...edits: readonly Readonly<Record<string, string>>[]): Op[] {
    return edits.flatMap((texts) => this.edit(Object.entries(texts).map(([document, text]) => part(document, text))))
  }

  edit(parts: readonly Part[], deps: VersionVector = new Map()): Op[] {
    const opened = this.isOpen ? [] : [this.open()]
    return [...opened, { kind: 'data', dot: this.next(), deps, hlc: this.tick(), parts }]
  }

  /** The op that records an owned client id, opened as an edit is. */
  owns(owned: OwnedId): Op[] {
    const opened = this.isOpen ? [] : [this.open()]
    return [...opened, { kind: 'owned', dot: this.next(), deps: new Map(), hlc: this.tick(), owned }]
  }

  /** An op accepted anew, opened as an edit is. */
  reoriginates(was: Dot, parts: readonly Part[]): Op[] {
    const opened = this.isOpen ? [] : [this.open()]
    return [...opened, { kind: 're-originated', dot: this.next(), was, deps: new Map(), hlc: this.tick(), parts }]
  }

  /** Back to an earlier moment, as after a failed commit. */
  mark(): () => void {
    const { seq, hlc, isOpen } = this
    return () => {
      this.seq = seq
      this.hlc = hlc
      this.isOpen = isOpen
    }
  }

  private open(): Op {
    this.isOpen = true
    const { predecessor } = this
    return { kind: 'open', dot: this.next(), deps: new Map(), hlc: this.tick(), ...(predecessor && { predecessor }) }
  }

  private next(): Dot {
    return { origin: this.origin, seq: ++this.seq }
  }

  private tick(): HybridTime {
    return ++this.hlc as HybridTime
  }
}

export function part(document: string, text: string, generation = 0): Part {
  return { document, generation, update: new TextEncoder().encode(text) }
}

export const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** 16 hex digits. */
export const incarnation = (number: number): string => number.toString(16).padStart(16, '0')

/** A directory in memory where the system has one, removed by `using`. */
export function temporaryDirectory(): { readonly path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(memoryDirectory(), 'causeway-storage-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}

function memoryDirectory(): string {
  try {
    rmSync(mkdtempSync('/dev/shm/causeway-'), { recursive: true })
    return '/dev/shm'
  } catch {
    return tmpdir()
  }
}
