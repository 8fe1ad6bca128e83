/**
 * The gate for updates: one pass over the bytes of a Yjs V1 update, before Yjs sees any of them.
 *
 *     clients { structs, client, clock, struct … }, clients descending
 *     delete set { client, ranges { clock, length } }, any order
 *
 * What passes can be applied, re-encoded and loaded again by every Yjs, as far as the bytes alone can tell; whether the
 * ids that it refers to are known is `checkUpdate`'s question. Nothing is set up for a count that the remaining bytes
 * cannot hold, and nothing recurses deeper than a limit. A keystroke costs less than a microsecond.
 */
import { decodeUtf8 } from 'lib0/string'
import { readDeleteRanges } from './delete-set.js'
import { Integration } from './integration.js'
import { CLIENT_LIMIT, CLOCK_LIMIT, DEFAULT_UPDATE_LIMITS, type UpdateLimits } from './limits.js'
import { NO_PLACES, Placement } from './places.js'
import { badUpdate } from './reader.js'
import { NONE, SKIP, StructReader, SUBDOCUMENT, TYPE } from './struct.js'
import { type ClientBlock, findBlock, type UpdateIndex } from './update-index.js'

export interface ParsedUpdate extends UpdateIndex {
  /** Structs, Skips included. */
  readonly structs: number
  /** For each client that structs of *other* clients refer to, the highest clock referred to. */
  readonly references: References
  /** Some struct refers to one of another client in this update. */
  readonly isEntangled: boolean
  /** Names of root types given in the update, each once. */
  readonly roots: readonly string[]
  /** Delete ranges as received: client, clock, length, client, clock, length … */
  readonly deletes: readonly number[]
  /** Holds Skips or clients without structs, which are left out of what is stored. */
  readonly isPadded: boolean
  /** Every struct that names its parent names a root, and none a map key. */
  readonly isFlat: boolean
  /** A text starts or ends with U+FFFD, which is what Yjs makes of half a surrogate pair. */
  readonly splitsSurrogates: boolean
}

/** Pairs of arrays: few entries, made for every keystroke. */
interface References {
  readonly clients: readonly number[]
  readonly clocks: readonly number[]
}

/**
 * Checks the structure of a received update. The result refers to `bytes`, which must not change afterwards.
 * Throws `document/bad-update` with `details.reason` (kebab-case) and `details.offset` (bytes).
 */
export function parseUpdate(bytes: Uint8Array, limits: UpdateLimits = DEFAULT_UPDATE_LIMITS): ParsedUpdate {
  try {
    return new UpdateParser(bytes, limits).parse()
  } catch (error) {
    if (looksLikeV2(bytes)) throw badUpdate('encoded-as-v2', 0)
    throw error
  }
}

const NO_ROOTS: readonly string[] = []
const NO_REFERENCES: References = { clients: [], clocks: [] }

/** Up to so many referenced clients are searched one by one. */
const SEARCHED_REFERENCES = 8

class UpdateParser extends StructReader {
  private readonly most: UpdateLimits
  private readonly blocks: ClientBlock[] = []
  private structs = 0
  private types = 0
  private subdocuments = 0
  private isPadded = false
  private isFlat = true
  private splitsSurrogates = false
  private references: { clients: number[]; clocks: number[] } | undefined
  private referenceAt: Map<number, number> | undefined
  private roots: Set<string> | undefined
  private lastRootFrom = 0
  private lastRootTo = -1

  constructor(bytes: Uint8Array, limits: UpdateLimits) {
    super(bytes, 'received', 0, limits)
    this.most = limits
  }

  parse(): ParsedUpdate {
    const clients = this.count(3)
    if (clients > this.most.clients) throw badUpdate('too-many-clients', 0)
    let previous = Number.POSITIVE_INFINITY
    for (let left = clients; left > 0; left--) previous = this.block(previous)
    const deletesAt = this.position
    const deletes = readDeleteRanges(this, this.most.deleteRanges)
    if (this.remaining > 0) throw badUpdate('trailing-bytes', this.position)
    const { bytes, blocks } = this
    const references = this.references ?? NO_REFERENCES
    const isEntangled = refersWithin(blocks, references)
    this.checkOrder({ bytes, blocks, deletesAt }, isEntangled)
    return {
      bytes,
      blocks,
      deletesAt,
      structs: this.structs,
      references,
      isEntangled,
      roots: this.roots ? [...this.roots] : NO_ROOTS,
      deletes,
      isPadded: this.isPadded,
      isFlat: this.isFlat,
      splitsSurrogates: this.splitsSurrogates,
    }
  }

  /** Reads one client's structs and returns the client. */
  private block(previous: number): number {
    const at = this.position
    const structs = this.count(2)
    const client = this.varUint()
    if (client >= previous) throw badUpdate(client === previous ? 'client-twice' : 'clients-not-descending', at)
    if (client > CLIENT_LIMIT) throw badUpdate('client-out-of-range', at)
    this.structs += structs
    if (this.structs > this.most.structs) throw badUpdate('too-many-structs', at)
    const first = this.varUint()
    const from = this.position
    let clock = first
    let hasSkips = false
    let hasDeleted = false
    for (let left = structs; left > 0; left--) {
      this.struct(clock)
      clock += this.length
      if (clock > CLOCK_LIMIT) throw badUpdate('clock-out-of-range', this.from)
      if (this.content === SKIP) hasSkips = true
      else if (this.isDeleted) hasDeleted = true
      this.note(client)
    }
    if (structs === 0 || hasSkips) this.isPadded = true
    if (structs > 0) {
      const to = this.position
      this.blocks.push({ client, clock: first, clockEnd: clock, structs, from, to, hasSkips, hasDeleted })
    }
    return client
  }

  /** Takes down what the current struct refers to and what it costs. */
  private note(client: number): void {
    if (this.originClient !== NONE) this.refersTo(this.originClient, this.originClock, client)
    if (this.rightClient !== NONE) this.refersTo(this.rightClient, this.rightClock, client)
    if (this.parentClient !== NONE) {
      this.refersTo(this.parentClient, this.parentClock, client)
      this.isFlat = false
    } else if (this.keyFrom !== NONE) this.isFlat = false
    if (this.rootFrom !== NONE) this.namesRoot()
    if (this.hasReplacement) this.splitsSurrogates = true
    if (this.content === TYPE) this.types++
    else if (this.content === SUBDOCUMENT && ++this.subdocuments > this.most.subdocuments) {
      throw badUpdate('too-many-subdocuments', this.from)
    }
  }

  private refersTo(client: number, clock: number, by: number): void {
    if (client === by) {
      // What a client's struct refers to in its own structs was there before. Ahead, Yjs would search for ever or throw.
      if (clock >= this.clock) throw badUpdate('reference-ahead', this.from)
      return
    }
    this.references ??= { clients: [], clocks: [] }
    const { clients, clocks } = this.references
    const at = this.referenceAt ? (this.referenceAt.get(client) ?? -1) : clients.indexOf(client)
    if (at >= 0) {
      if (clocks[at]! < clock) clocks[at] = clock
      return
    }
    clients.push(client)
    clocks.push(clock)
    if (this.referenceAt) this.referenceAt.set(client, clients.length - 1)
    else if (clients.length > SEARCHED_REFERENCES) this.referenceAt = new Map(clients.map((one, index) => [one, index]))
  }

  private namesRoot(): void {
    if (this.isLastRoot()) return
    this.lastRootFrom = this.rootFrom
    this.lastRootTo = this.rootTo
    this.roots ??= new Set()
    this.roots.add(decodeUtf8(this.bytes.subarray(this.rootFrom, this.rootTo)))
    if (this.roots.size > this.most.roots) throw badUpdate('too-many-roots', this.from)
  }

  /** Most structs that name a root name the same one as the struct before. */
  private isLastRoot(): boolean {
    const size = this.rootTo - this.rootFrom
    if (this.lastRootTo - this.lastRootFrom !== size) return false
    for (let at = 0; at < size; at++) {
      if (this.bytes[this.rootFrom + at] !== this.bytes[this.lastRootFrom + at]) return false
    }
    return true
  }

  /**
   * Refuses structs that wait for each other in a circle, and types too deep inside one another. Both can only be seen
   * in the order of integration, so the structs are read once more, but only where either is possible at all.
   */
  private checkOrder(index: UpdateIndex, isEntangled: boolean): void {
    const mayNest = this.types > this.most.typeDepth
    if (!mayNest && !isEntangled) return
    const placement = mayNest ? new Placement(NO_PLACES, this.most.typeDepth) : undefined
    const integration = new Integration(index, 'rest')
    integration.run((run, reader) => placement?.place(run.block.client, reader, reader.clock))
    if (!integration.isComplete) throw badUpdate('circular-references', 0)
  }
}

/** Whether a struct of one client refers to a struct of another one that is in the same update. */
function refersWithin(blocks: readonly ClientBlock[], { clients, clocks }: References): boolean {
  if (blocks.length < 2) return false
  for (let at = 0; at < clients.length; at++) {
    const block = findBlock(blocks, clients[at]!)
    if (block >= 0 && clocks[at]! >= blocks[block]!.clock) return true
  }
  return false
}

/** V2 starts with a zero and nine sized parts: as V1 that would be no structs, then nonsense. Only to name the mistake. */
function looksLikeV2(bytes: Uint8Array): boolean {
  const reader = new StructReader(bytes, 'received')
  try {
    if (bytes[0] !== 0) return false
    reader.skip(1)
    for (let part = 0; part < 9; part++) reader.sized()
    return reader.remaining > 0
  } catch {
    return false
  }
}
