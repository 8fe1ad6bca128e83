/**
 * The second question about an update, after its form: what of it is new to this document, and does the document have
 * everything that it refers to? What is stored holds exactly what is new and needs nothing that is not there, so that no
 * document ever holds pending structs, and each client's block in a stored update starts where the document ended.
 */
import { composeUpdate, type StructRun } from './compose.js'
import { type DeletedReader, type DeleteRange, DeleteSet } from './delete-set.js'
import { runFrom } from './diff.js'
import { Integration, type Run } from './integration.js'
import { DEFAULT_UPDATE_LIMITS, type UpdateLimits } from './limits.js'
import type { ParsedUpdate } from './parse.js'
import { Placement, type PlaceReader, type PlaceRun } from './places.js'
import { badUpdate } from './reader.js'
import type { RootReader } from './roots.js'
import { structFrom } from './slice.js'
import type { ClockReader } from './state-vector.js'
import { StructReader } from './struct.js'
import { type ClientBlock, findBlock } from './update-index.js'

/** What a document holds. */
export interface Known {
  readonly clocks: ClockReader
  readonly deleted: DeletedReader
  readonly places: PlaceReader
  readonly roots: RootReader
}

/** Clocks `from` up to, not including, `to`. */
export type ClockRange = readonly [client: number, from: number, to: number]

export type Checked =
  /** It needs `missing`, which neither the document nor the update has, or not in time: nothing may be stored. */
  | { readonly type: 'gap'; readonly missing: { readonly client: number; readonly clock: number } }
  /** Everything is there already, `leftover` aside. */
  | { readonly type: 'nothing-new'; readonly overlaps: readonly ClockRange[]; readonly leftover: boolean }
  | {
      readonly type: 'new'
      /** Exactly what is new; the received bytes themselves where that is all of them. */
      readonly update: Uint8Array
      /** Its structs: `from` is the document's clock. Clients in descending order. */
      readonly clocks: readonly ClockRange[]
      /** What is deleted now: its delete set and its structs that are deleted ones. May hold a range twice. */
      readonly deletes: readonly DeleteRange[]
      /** Root types that it names, known ones too. */
      readonly roots: readonly string[]
      /** Where its structs lie, for `Places.addAll`; mostly nothing. */
      readonly places: readonly PlaceRun[]
      /** Ids that were known already: whether their content agrees is for `contentAgrees` to say. */
      readonly overlaps: readonly ClockRange[]
      /** Something was left out that needs what is not there (step2 only). */
      readonly leftover: boolean
    }

/**
 * Compares an update with what the document holds. An `update` must fit whole: what it refers to, its clocks and its
 * delete ranges are known or in it, else it is a `gap`. A `step2` is the whole state of its sender, pending parts
 * included: of it the largest part that needs nothing else is taken, and `leftover` says whether that was all.
 * Throws `document/bad-update` for what would break the document where it lies: see `places.ts`.
 */
export function checkUpdate(
  parsed: ParsedUpdate,
  known: Known,
  mode: 'update' | 'step2',
  limits: UpdateLimits = DEFAULT_UPDATE_LIMITS,
): Checked {
  return keystroke(parsed, known, limits) ?? new Check(parsed, known, mode, limits).result()
}

const NONE: readonly [] = []
const NO_DELETES = Uint8Array.of(0)

/** The case that matters for speed: the next structs of one client and nothing else. */
function keystroke(parsed: ParsedUpdate, known: Known, limits: UpdateLimits): Checked | undefined {
  const { blocks, references } = parsed
  if (blocks.length !== 1 || parsed.deletes.length > 0 || parsed.isPadded) return undefined
  const block = blocks[0]!
  const { client, clock, clockEnd } = block
  if (block.hasDeleted || known.clocks.get(client) !== clock) return undefined
  for (let at = 0; at < references.clients.length; at++) {
    if (references.clocks[at]! >= known.clocks.get(references.clients[at]!)) return undefined
  }
  let places: readonly PlaceRun[] = NONE
  if (!parsed.isFlat || !known.places.isFlat) {
    const placement = new Placement(known.places, limits.typeDepth)
    const several: DeleteRange[] = []
    placeBlock(placement, block, parsed.bytes, clock, several)
    if (several.length > 0) return undefined
    places = placement.runs
  }
  const clocks: ClockRange[] = [[client, clock, clockEnd]]
  const { bytes: update, roots } = parsed
  return { type: 'new', update, clocks, deletes: NONE, roots, places, overlaps: NONE, leftover: false }
}

/** Places a block's structs from `start` on, and adds those that hold several values under one map key to `several`. */
function placeBlock(
  placement: Placement,
  { client, clock, clockEnd, from }: ClientBlock,
  bytes: Uint8Array,
  start: number,
  several: DeleteRange[],
): void {
  const reader = new StructReader(bytes, 'checked', from)
  for (let at = clock; at < clockEnd; at = reader.clockEnd) {
    reader.struct(at)
    if (reader.clockEnd <= start) continue
    const begin = Math.max(at, start)
    if (placement.place(client, reader, begin)) several.push([client, begin, reader.clockEnd - begin])
  }
}

/** What of one client's block is taken. */
interface Taken {
  readonly from: number
  readonly to: number
  readonly run: StructRun | undefined
}

class Check {
  private readonly parsed: ParsedUpdate
  private readonly known: Known
  private readonly mode: 'update' | 'step2'
  private readonly overlaps: ClockRange[] = []
  private readonly deletes: DeleteRange[] = []
  /** One per block, in the same order. */
  private readonly taken: Taken[] = []
  private readonly placement: Placement | undefined
  /** Taken structs that hold several values under one map key. */
  private readonly several: DeleteRange[] = []
  private missing: { readonly client: number; readonly clock: number } | undefined
  /** Whether the received bytes are what is stored. */
  private isWhole: boolean

  constructor(parsed: ParsedUpdate, known: Known, mode: 'update' | 'step2', limits: UpdateLimits) {
    this.parsed = parsed
    this.known = known
    this.mode = mode
    this.isWhole = !parsed.isPadded
    const isFlat = parsed.blocks.length === 0 || (parsed.isFlat && known.places.isFlat)
    if (!isFlat) this.placement = new Placement(known.places, limits.typeDepth)
  }

  result(): Checked {
    const { parsed } = this
    // To place structs, what they refer to must have been placed.
    const inAnyOrder = !(this.placement && parsed.isEntangled)
    if (inAnyOrder && this.fits()) for (const block of parsed.blocks) this.takeBlock(block)
    else this.takeInOrder()
    if (this.missing && this.mode === 'update') return { type: 'gap', missing: this.missing }
    const deletes = this.newDeletes()
    if (this.missing && this.mode === 'update') return { type: 'gap', missing: this.missing }
    this.checkSeveral(deletes)
    const leftover = this.missing !== undefined
    const runs = this.taken.flatMap(({ run }) => run ?? [])
    const { overlaps } = this
    if (runs.length === 0 && deletes.length === 0) return { type: 'nothing-new', overlaps, leftover }
    const clocks = parsed.blocks.flatMap(({ client }, at): ClockRange[] => {
      const { from, to, run } = this.taken[at]!
      return run ? [[client, from, to]] : []
    })
    const update = this.isWhole ? parsed.bytes : composeUpdate(runs, encoded(deletes))
    const places = this.placement?.runs ?? NONE
    const { roots } = parsed
    return { type: 'new', update, clocks, deletes: [...deletes, ...this.deletes], roots, places, overlaps, leftover }
  }

  /** Whether all structs join on to what is known, in any order: one look at each client, not at each struct. */
  private fits(): boolean {
    const { blocks, references } = this.parsed
    for (const { client, clock, hasSkips } of blocks) {
      if (hasSkips || clock > this.known.clocks.get(client)) return false
    }
    for (let at = 0; at < references.clients.length; at++) {
      const client = references.clients[at]!
      const block = findBlock(blocks, client)
      const inUpdate = block < 0 ? 0 : blocks[block]!.clockEnd
      if (references.clocks[at]! >= Math.max(inUpdate, this.known.clocks.get(client))) return false
    }
    return true
  }

  /** The whole block joins on to what is known: it only has to be cut where that ends. */
  private takeBlock(block: ClientBlock): void {
    const { client, clock, clockEnd, hasDeleted } = block
    const start = this.known.clocks.get(client)
    if (start > clock) {
      this.isWhole = false
      this.overlaps.push([client, clock, Math.min(start, clockEnd)])
      if (start >= clockEnd) {
        this.taken.push({ from: start, to: start, run: undefined })
        return
      }
    }
    if (this.placement) placeBlock(this.placement, block, this.parsed.bytes, start, this.several)
    const run = runFrom(block, this.parsed.bytes, start)
    this.taken.push({ from: start, to: clockEnd, run })
    if (hasDeleted) this.noteDeletedStructs(block, start)
  }

  /** Of a block's structs from `start` on, those that are deleted ones. */
  private noteDeletedStructs({ client, clock, clockEnd, from }: ClientBlock, start: number): void {
    const reader = new StructReader(this.parsed.bytes, 'checked', from)
    let deletedFrom = start
    for (let at = clock; at < clockEnd; at = reader.clockEnd) {
      reader.struct(at)
      if (reader.isDeleted) continue
      this.noteDeleted(client, deletedFrom, at)
      deletedFrom = Math.max(start, reader.clockEnd)
    }
    this.noteDeleted(client, deletedFrom, clockEnd)
  }

  private noteDeleted(client: number, from: number, to: number): void {
    if (to > from) this.deletes.push([client, from, to - from])
  }

  /** Something is missing, ranges are absent, or places matter: how far each client gets is found struct by struct. */
  private takeInOrder(): void {
    const { parsed } = this
    const integration = new Integration(parsed, this.known.clocks)
    integration.run((run, reader) => this.place(run, reader))
    this.missing = integration.missing
    if (this.missing) this.isWhole = false
    for (const run of integration.runs) {
      const { client } = run.block
      const start = this.known.clocks.get(client)
      if (run.overlaps.length > 0) this.isWhole = false
      for (let at = 0; at < run.overlaps.length; at += 2) {
        this.overlaps.push([client, run.overlaps[at]!, run.overlaps[at + 1]!])
      }
      for (let at = 0; at < run.deleted.length; at += 2) {
        this.noteDeleted(client, run.deleted[at]!, run.deleted[at + 1]!)
      }
      this.taken.push({ from: start, to: run.frontier, run: this.runOf(run, client, start) })
    }
  }

  private place({ block, frontier }: Run, reader: StructReader): void {
    if (!this.placement?.place(block.client, reader, frontier)) return
    this.several.push([block.client, frontier, reader.clockEnd - frontier])
  }

  /** Old values of a key may lie in one struct, as long as they are deleted: those who collect nothing send them so. */
  private checkSeveral(deletes: readonly DeleteRange[]): void {
    if (this.several.length === 0) return
    const deleted = new DeleteSet(deletes)
    for (const range of this.several) {
      if (deleted.uncovered(...range).length > 0) throw badUpdate('several-values-under-one-key', 0)
    }
  }

  private runOf(run: Run, client: number, start: number): StructRun | undefined {
    if (run.structs === 0) return undefined
    const { bytes } = this.parsed
    if (run.cut === 0) return { client, clock: start, structs: run.structs, parts: [bytes.subarray(run.from, run.to)] }
    const reader = new StructReader(bytes, 'checked', run.from)
    reader.struct(start - run.cut)
    const parts = [structFrom(reader, client, start), bytes.subarray(reader.position, run.to)]
    return { client, clock: start, structs: run.structs, parts }
  }

  /** The received delete ranges that are not deleted yet, over ids that are known or taken. */
  private newDeletes(): DeleteRange[] {
    const { deletes, blocks } = this.parsed
    const found: DeleteRange[] = []
    let client = -1
    let end = 0
    for (let at = 0; at < deletes.length; at += 3) {
      if (deletes[at] !== client) {
        client = deletes[at]!
        const block = findBlock(blocks, client)
        end = Math.max(block < 0 ? 0 : this.taken[block]!.to, this.known.clocks.get(client))
      }
      const clock = deletes[at + 1]!
      const length = deletes[at + 2]!
      const within = Math.min(length, Math.max(end - clock, 0))
      if (within < length) {
        this.missing ??= { client, clock: Math.max(clock, end) }
        this.isWhole = false
      }
      const uncovered = within === 0 ? NONE : this.known.deleted.uncovered(client, clock, within)
      if (uncovered.length !== 1 || uncovered[0]![1] !== length) this.isWhole = false
      for (const [from, size] of uncovered) found.push([client, from, size])
    }
    return found
  }
}

function encoded(deletes: readonly DeleteRange[]): Uint8Array {
  return deletes.length === 0 ? NO_DELETES : new DeleteSet(deletes).encode()
}
