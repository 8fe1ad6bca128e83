/**
 * Where everything is in an update that was checked before: enough to join, cut and compare updates by their bytes.
 *
 *     clients { structs, client, clock, struct … } | delete set
 */
import { ownMistake, Reader } from './reader.js'
import { SKIP, StructReader } from './struct.js'

/** The structs of one client in an update, consecutive in clocks and in bytes. */
export interface ClientBlock {
  readonly client: number
  /** First clock, and the clock behind the last struct. */
  readonly clock: number
  readonly clockEnd: number
  readonly structs: number
  /** Byte offsets of the first struct and behind the last one. */
  readonly from: number
  readonly to: number
  /** Some structs are Skips: ranges that the sender does not have. */
  readonly hasSkips: boolean
  /** Some structs are GC or deleted ones: their ids are deleted, whatever the delete set says. */
  readonly hasDeleted: boolean
}

/** A `ParsedUpdate` is one; so is what `joinIndexed` answers. */
export interface UpdateIndex {
  readonly bytes: Uint8Array
  /** Clients in descending order, one block each. */
  readonly blocks: readonly ClientBlock[]
  /** Byte offset of the delete set. */
  readonly deletesAt: number
}

/** Finds the blocks of an update that the parser passed before: reads over each struct, at about 100 MB/s. */
export function indexUpdate(bytes: Uint8Array): UpdateIndex {
  const reader = new StructReader(bytes, 'checked')
  const blocks: ClientBlock[] = []
  for (let left = reader.varUint(); left > 0; left--) {
    const structs = reader.varUint()
    const client = reader.varUint()
    const clock = reader.varUint()
    const from = reader.position
    let clockEnd = clock
    let hasSkips = false
    let hasDeleted = false
    for (let struct = structs; struct > 0; struct--) {
      reader.struct(clockEnd)
      clockEnd = reader.clockEnd
      if (reader.content === SKIP) hasSkips = true
      else if (reader.isDeleted) hasDeleted = true
    }
    if (structs > 0) blocks.push({ client, clock, clockEnd, structs, from, to: reader.position, hasSkips, hasDeleted })
  }
  return { bytes, blocks, deletesAt: reader.position }
}

/** The bytes of the delete set. */
export function deletesOf(update: UpdateIndex): Reader {
  return new Reader(update.bytes, ownMistake, update.deletesAt)
}

/** Index of `client`'s block, -1 where there is none. */
export function findBlock(blocks: readonly ClientBlock[], client: number): number {
  let low = 0
  let high = blocks.length - 1
  while (low <= high) {
    const middle = (low + high) >>> 1
    const found = blocks[middle]!.client
    if (found === client) return middle
    if (found > client) low = middle + 1
    else high = middle - 1
  }
  return -1
}
