/** Puts an update together from structs that are bytes already: sized first, then copied once. */
import { varUintSize } from '../base/byte-writer.js'

/** Consecutive structs of one client. */
export interface StructRun {
  readonly client: number
  /** Clock of the first struct. */
  readonly clock: number
  readonly structs: number
  /** Their bytes, in order. */
  readonly parts: readonly Uint8Array[]
}

/** `runs` in descending order of clients; `deletes` as encoded. */
export function composeUpdate(runs: readonly StructRun[], deletes: Uint8Array): Uint8Array {
  let size = varUintSize(runs.length) + deletes.length
  for (const run of runs) {
    size += varUintSize(run.structs) + varUintSize(run.client) + varUintSize(run.clock)
    for (const part of run.parts) size += part.length
  }
  const bytes = new Uint8Array(size)
  let at = writeVarUint(bytes, 0, runs.length)
  for (const run of runs) {
    at = writeVarUint(bytes, at, run.structs)
    at = writeVarUint(bytes, at, run.client)
    at = writeVarUint(bytes, at, run.clock)
    for (const part of run.parts) {
      bytes.set(part, at)
      at += part.length
    }
  }
  bytes.set(deletes, at)
  return bytes
}

function writeVarUint(bytes: Uint8Array, from: number, value: number): number {
  let at = from
  let rest = value
  while (rest > 0x7f) {
    bytes[at++] = (rest % 128) | 0x80
    rest = Math.floor(rest / 128)
  }
  bytes[at++] = rest
  return at
}
