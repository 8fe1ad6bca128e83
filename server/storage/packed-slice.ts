/** Ops on their way from the reader thread: a few large pieces, made ops again only where they are needed. */
import type { OriginId } from '../../shared/clock/dot.js'
import { decodeOpRecord } from '../../shared/protocol/op-codec.js'
import type { LoggedOp } from '../../shared/protocol/op-log.js'
import type { LogSlice } from './log.js'

export interface PackedSlice extends Omit<LogSlice, 'ops'> {
  /** Two numbers per op: its position, and the size of its record. */
  readonly numbers: Float64Array<ArrayBuffer>
  /** 16 bytes per op. */
  readonly chains: Uint8Array<ArrayBuffer>
  /** As stored, one behind the other. */
  readonly records: Uint8Array<ArrayBuffer>
  /** The origins that the records name, by the numbers that they use. */
  readonly origins: ReadonlyMap<number, OriginId>
}

/** Chain values for dots that were asked for, and the position up to which the log was looked at. */
export interface PackedChains {
  readonly position: number
  readonly chains: readonly (Uint8Array | undefined)[]
}

/** What is packed of one op. */
export interface SlicedOp {
  readonly position: number
  readonly chain: Uint8Array
  readonly record: Uint8Array
}

const NUMBERS = 2
const CHAIN_BYTES = 16

export function packSlice(
  ops: readonly SlicedOp[],
  origins: ReadonlyMap<number, OriginId>,
  rest: Omit<LogSlice, 'ops'>,
): PackedSlice {
  const numbers = new Float64Array(NUMBERS * ops.length)
  const chains = new Uint8Array(CHAIN_BYTES * ops.length)
  const records = new Uint8Array(ops.reduce((sum, { record }) => sum + record.length, 0))
  let end = 0
  for (const [index, { position, chain, record }] of ops.entries()) {
    numbers[NUMBERS * index] = position
    numbers[NUMBERS * index + 1] = record.length
    chains.set(chain, CHAIN_BYTES * index)
    records.set(record, end)
    end += record.length
  }
  return { ...rest, numbers, chains, records, origins }
}

/** The bytes of the ops are views of what was packed. */
export function unpackSlice({ numbers, chains, records, origins, ...rest }: PackedSlice): LogSlice {
  const originOf = (number: number): OriginId => origins.get(number)!
  const ops: LoggedOp[] = []
  let start = 0
  for (let at = 0; at < numbers.length; at += NUMBERS) {
    const end = start + numbers[at + 1]!
    ops.push({
      op: decodeOpRecord(records.subarray(start, end), originOf),
      chain: chains.subarray(CHAIN_BYTES * ops.length, CHAIN_BYTES * (ops.length + 1)),
      position: numbers[at]!,
    })
    start = end
  }
  return { ...rest, ops }
}
