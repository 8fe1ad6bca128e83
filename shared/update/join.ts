/**
 * Joins updates as `checkUpdate` lets them through: each client's structs go on where the update before ended, so the
 * whole is their bytes one after the other, with the counts summed and the delete sets merged. No struct is looked into;
 * the price is one copy of the bytes, which no merge of structs could be cheaper than.
 */
import { assert } from '../base/assert.js'
import { composeUpdate, type StructRun } from './compose.js'
import { DeleteSet, readDeleteRanges } from './delete-set.js'
import { type ClientBlock, deletesOf, indexUpdate, type UpdateIndex } from './update-index.js'

/**
 * One update that equals `base` followed by those of `tail`, in canonical order: clients descending, delete ranges
 * merged. Throws `AssertionError` where a client's structs do not join on, or an update holds Skips.
 */
export function joinUpdates(base: Uint8Array | undefined, tail: readonly Uint8Array[]): Uint8Array {
  const updates = tail.map(indexUpdate)
  return joinIndexed(base ? [indexUpdate(base), ...updates] : updates).bytes
}

/** As `joinUpdates`, for updates whose indexes are at hand; the answer has its own, ready for the next join. */
export function joinIndexed(updates: readonly UpdateIndex[]): UpdateIndex {
  if (updates.length === 1) return updates[0]!
  const clients = new Map<number, Joined>()
  for (const update of updates) {
    for (const block of update.blocks) {
      const joined = clients.get(block.client)
      if (joined) append(joined, block, update.bytes)
      else clients.set(block.client, begin(block, update.bytes))
    }
  }
  const runs = [...clients.values()].sort((left, right) => right.client - left.client)
  const bytes = composeUpdate(runs, joinDeletes(updates))
  return { bytes, ...locate(runs, bytes) }
}

const NO_DELETES = Uint8Array.of(0)

/** One client's structs of all updates. */
interface Joined extends StructRun {
  clockEnd: number
  structs: number
  size: number
  hasDeleted: boolean
  readonly parts: Uint8Array[]
}

function begin(block: ClientBlock, bytes: Uint8Array): Joined {
  assert(!block.hasSkips, `client ${block.client}: a stored update holds Skips`)
  const { client, clock, clockEnd, structs, from, to, hasDeleted } = block
  return { client, clock, clockEnd, structs, size: to - from, hasDeleted, parts: [bytes.subarray(from, to)] }
}

function append(joined: Joined, block: ClientBlock, bytes: Uint8Array): void {
  const { client, clock, clockEnd, structs, from, to, hasDeleted } = block
  assert(!block.hasSkips, `client ${client}: a stored update holds Skips`)
  assert(clock === joined.clockEnd, `client ${client}: structs from ${clock} on follow ${joined.clockEnd}`)
  joined.clockEnd = clockEnd
  joined.structs += structs
  joined.size += to - from
  joined.hasDeleted ||= hasDeleted
  joined.parts.push(bytes.subarray(from, to))
}

/** The first update is mostly the large one: the others are merged into it all at once. */
function joinDeletes([first, ...rest]: readonly UpdateIndex[]): Uint8Array {
  if (!first) return NO_DELETES
  const deleted = DeleteSet.fromFlat(readDeleteRanges(deletesOf(first)))
  deleted.merge(DeleteSet.fromFlat(rest.flatMap((update) => readDeleteRanges(deletesOf(update)))))
  return deleted.encode()
}

/** The index of what was composed: its blocks lie one behind the other, each after its three numbers. */
function locate(runs: readonly Joined[], bytes: Uint8Array): Omit<UpdateIndex, 'bytes'> {
  const reader = deletesOf({ bytes, blocks: [], deletesAt: 0 })
  reader.varUint()
  const blocks = runs.map(({ client, clock, clockEnd, structs, size, hasDeleted }): ClientBlock => {
    for (let number = 0; number < 3; number++) reader.varUint()
    const from = reader.position
    reader.skip(size)
    return { client, clock, clockEnd, structs, from, to: reader.position, hasSkips: false, hasDeleted }
  })
  return { blocks, deletesAt: reader.position }
}
