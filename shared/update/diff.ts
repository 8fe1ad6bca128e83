/** What an update holds beyond a state vector, by its bytes alone. */
import { composeUpdate, type StructRun } from './compose.js'
import { structFrom } from './slice.js'
import type { ClockReader } from './state-vector.js'
import { StructReader } from './struct.js'
import { type ClientBlock, indexUpdate, type UpdateIndex } from './update-index.js'

/**
 * The structs of `update` (checked before, without Skips) from `vector` on, and its whole delete set: state vectors do
 * not tell what is deleted. A struct that the vector cuts through is cut there. With nothing to leave out, the answer is
 * the bytes of `update` themselves.
 */
export function diffUpdate(update: Uint8Array | UpdateIndex, vector: ClockReader): Uint8Array {
  const index = update instanceof Uint8Array ? indexUpdate(update) : update
  const { bytes, blocks } = index
  const runs: StructRun[] = []
  let isWhole = true
  for (const block of blocks) {
    const known = vector.get(block.client)
    if (known > block.clock) isWhole = false
    const run = runFrom(block, bytes, Math.max(known, block.clock))
    if (run) runs.push(run)
  }
  return isWhole ? bytes : composeUpdate(runs, bytes.subarray(index.deletesAt))
}

/** One client's structs from `clock` on, which lies in its block or behind. */
export function runFrom(block: ClientBlock, bytes: Uint8Array, clock: number): StructRun | undefined {
  const { client, clockEnd, structs, from, to } = block
  if (clock >= clockEnd) return undefined
  if (clock === block.clock) return { client, clock, structs, parts: [bytes.subarray(from, to)] }
  const reader = new StructReader(bytes, 'checked', from)
  let passed = 0
  for (let next = block.clock; next <= clock; next = reader.clockEnd) {
    reader.struct(next)
    passed++
  }
  const rest = bytes.subarray(reader.position, to)
  return { client, clock, structs: structs - passed + 1, parts: [structFrom(reader, client, clock), rest] }
}
