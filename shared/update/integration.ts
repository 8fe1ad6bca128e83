/**
 * In which order, and how far, the structs of an update can be integrated: a struct comes after the one before it of
 * the same client and after those that it refers to. No content is looked at; each struct is read once.
 *
 * Clients wait for each other as a stack: the one on top is advanced until it has what the one below waits for. When the
 * top can go no further, because what it needs is nowhere, or is in a client that is itself on the stack, then none on
 * the stack ever can, for each waits for the one above. What was integrated until then is the largest part of the update
 * that needs nothing else.
 */

import type { ClockReader } from './state-vector.js'
import { NONE, SKIP, StructReader } from './struct.js'
import { type ClientBlock, findBlock, type UpdateIndex } from './update-index.js'

/** Called before each struct is taken, `reader` standing on it; what lies below `run.frontier` is known. */
export type Visit = (run: Run, reader: StructReader) => void

export class Integration {
  /** One per block of the update, in the same order. */
  readonly runs: readonly Run[]
  /** The first id found missing. */
  missing: { readonly client: number; readonly clock: number } | undefined
  private readonly blocks: readonly ClientBlock[]
  private readonly known: ClockReader | 'rest'

  /** `known`: what is there before; `rest` for everything that is not in the update, the ranges of its Skips included. */
  constructor(update: UpdateIndex, known: ClockReader | 'rest') {
    this.blocks = update.blocks
    this.known = known
    this.runs = update.blocks.map((block) => new Run(update.bytes, block, known))
  }

  get isComplete(): boolean {
    return this.missing === undefined
  }

  run(visit?: Visit): void {
    for (let first = 0; first < this.runs.length; first++) this.finish(first, visit)
  }

  private finish(first: number, visit: Visit | undefined): void {
    const stack: { run: Run; until: number }[] = []
    const wait = (at: number, until: number): void => {
      const run = this.runs[at]!
      run.isWaiting = true
      stack.push({ run, until })
    }
    wait(first, Number.POSITIVE_INFINITY)
    while (stack.length > 0) {
      const { run, until } = stack.at(-1)!
      const hasNext = !run.isStuck && run.load()
      if (run.frontier >= until || (!hasNext && until === Number.POSITIVE_INFINITY)) {
        run.isWaiting = false
        stack.pop()
        continue
      }
      const needed = hasNext ? this.neededBy(run) : { client: run.block.client, clock: until - 1 }
      if (needed === undefined) {
        visit?.(run, run.reader)
        run.take()
        continue
      }
      const source = needed.client === run.block.client ? -1 : findBlock(this.blocks, needed.client)
      if (source >= 0 && !this.runs[source]!.isWaiting && !this.runs[source]!.isStuck) wait(source, needed.clock + 1)
      else {
        this.missing ??= needed
        for (const entry of stack) {
          entry.run.isWaiting = false
          entry.run.isStuck = true
        }
        stack.length = 0
      }
    }
  }

  /** The first id that the current struct of `run` needs and that is not there yet. */
  private neededBy(run: Run): { client: number; clock: number } | undefined {
    const { reader, frontier } = run
    const { client } = run.block
    if (reader.clock > frontier) return { client, clock: frontier }
    // Of a struct whose first units are known, only the rest is new: its left neighbour is known, its parent not named.
    const isWhole = reader.clock === frontier
    if (isWhole && this.lacks(reader.originClient, reader.originClock, client)) {
      return { client: reader.originClient, clock: reader.originClock }
    }
    if (this.lacks(reader.rightClient, reader.rightClock, client)) {
      return { client: reader.rightClient, clock: reader.rightClock }
    }
    if (isWhole && this.lacks(reader.parentClient, reader.parentClock, client)) {
      return { client: reader.parentClient, clock: reader.parentClock }
    }
    return undefined
  }

  private lacks(client: number, clock: number, by: number): boolean {
    // References to its own client always point back: the parser has seen to it.
    if (client === NONE || client === by) return false
    const at = findBlock(this.blocks, client)
    if (this.known === 'rest') return at >= 0 && clock >= this.runs[at]!.frontier && clock < this.blocks[at]!.clockEnd
    return clock >= (at < 0 ? this.known.get(client) : this.runs[at]!.frontier)
  }
}

/** How far one client's structs are integrated. */
export class Run {
  readonly block: ClientBlock
  readonly reader: StructReader
  /** Everything of the client below this clock is known or integrated. */
  frontier: number
  isWaiting = false
  isStuck = false
  /** Integrated structs: their number, byte offsets, and how many units of the first one were known before. */
  structs = 0
  from = 0
  to = 0
  cut = 0
  /** Structs that were known before, as clocks from, to, from, to … */
  readonly overlaps: number[] = []
  /** Integrated structs that are deleted ones, likewise. */
  readonly deleted: number[] = []
  private readonly skipsAreKnown: boolean
  private left: number
  private next: number
  private isLoaded = false

  constructor(bytes: Uint8Array, block: ClientBlock, known: ClockReader | 'rest') {
    this.block = block
    this.skipsAreKnown = known === 'rest'
    this.frontier = known === 'rest' ? block.clock : known.get(block.client)
    this.left = block.structs
    this.next = block.clock
    this.reader = new StructReader(bytes, 'checked', block.from)
  }

  /** Moves on to the next struct that holds something new, over Skips and what is known. False at the end. */
  load(): boolean {
    while (!this.isLoaded && this.left > 0) {
      const { reader } = this
      reader.struct(this.next)
      this.left--
      this.next = reader.clockEnd
      if (reader.content === SKIP) {
        if (this.skipsAreKnown) this.frontier = Math.max(this.frontier, this.next)
      } else {
        if (reader.clock < this.frontier) pushRange(this.overlaps, reader.clock, Math.min(this.next, this.frontier))
        this.isLoaded = this.next > this.frontier
      }
    }
    return this.isLoaded
  }

  /** The current struct is integrated. */
  take(): void {
    const { reader } = this
    if (this.structs === 0) {
      this.from = reader.from
      this.cut = this.frontier - reader.clock
    }
    if (reader.isDeleted) pushRange(this.deleted, this.frontier, this.next)
    this.structs++
    this.to = reader.position
    this.frontier = this.next
    this.isLoaded = false
  }
}

/** Appends a range to from, to, from, to …, one with the last where they touch. */
function pushRange(ranges: number[], from: number, to: number): void {
  if (ranges.at(-1) === from) ranges[ranges.length - 1] = to
  else ranges.push(from, to)
}
