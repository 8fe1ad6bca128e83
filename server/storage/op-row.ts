/**
 * One op as a row: what is computed when it is written, and checked when it is read.
 *
 * `chain` = SHA-256(chain of the origin's previous op ‖ canonical op), cut to 16 bytes: equal heads mean equal ops. It
 * takes the op before to check, so a read checks `checksum`, a CRC over everything the row holds.
 */
import { hash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import type { OriginId } from '../../shared/clock/dot.js'
import { asCausewayError } from '../../shared/errors/error.js'
import type { Op } from '../../shared/protocol/op.js'
import { decodeOpRecord, encodeOpCanonical } from '../../shared/protocol/op-codec.js'
import { DamageError } from './sqlite-values.js'

/** The documents that an op touches, as columns: the first pair, then the others packed. */
export interface LinkColumns {
  readonly document: number | null
  readonly previous: number | null
  readonly more: Uint8Array | null
}

export interface OpRow extends LinkColumns {
  readonly position: number
  readonly origin: number
  readonly seq: number
  readonly hlc: number
  readonly chain: Uint8Array
  readonly checksum: number
  readonly record: Uint8Array
}

export const OP_COLUMNS = 'position, origin, seq, hlc, chain, document, previous, more, checksum, record'

/** For one document that an op touches: its id, and the position of the op that touched it before (0: none). */
export interface Link {
  readonly document: number
  readonly previous: number
}

export const CHAIN_BYTES = 16
/** What the first op of an origin is chained to. */
export const CHAIN_START: Uint8Array = new Uint8Array(CHAIN_BYTES)

/** Writes the chain value of `op` to `target` (16 bytes), which may be `previous` itself. */
export function computeChain(previous: Uint8Array, op: Op, target: Uint8Array): void {
  // As a string: several times faster than a Buffer for every op.
  const digest = hash('sha256', encodeOpCanonical(op, previous), 'binary')
  for (let index = 0; index < CHAIN_BYTES; index++) target[index] = digest.charCodeAt(index)
}

/** The chain value of `op`; `previous` is that of its origin's op before, absent before the first. */
export function chainAfter(previous: Uint8Array | undefined, op: Op): Uint8Array {
  const chain = new Uint8Array(CHAIN_BYTES)
  computeChain(previous ?? CHAIN_START, op, chain)
  return chain
}

/** CRC of a row, bound to its position. */
export function checksumOf(
  position: number,
  document: number | null,
  previous: number | null,
  more: Uint8Array | null,
  chain: Uint8Array,
  record: Uint8Array,
): number {
  // Numbers that differ by less than 2^32 give different seeds, one by one.
  const seed = (position + Math.imul(document ?? 0, 0x9e3779b1) + Math.imul(previous ?? 0, 0x85ebca6b)) >>> 0
  const crc = crc32(record, crc32(chain, seed))
  return more ? crc32(more, crc) : crc
}

const NO_LINKS: LinkColumns = { document: null, previous: null, more: null }

export function linkColumns(links: readonly Link[]): LinkColumns {
  const first = links[0]
  if (!first) return NO_LINKS
  if (links.length === 1) return { document: first.document, previous: first.previous, more: null }
  const encoder = encoding.createEncoder()
  for (const { document, previous } of links.slice(1)) {
    encoding.writeVarUint(encoder, document)
    encoding.writeVarUint(encoder, previous)
  }
  return { document: first.document, previous: first.previous, more: encoding.toUint8Array(encoder) }
}

/** Throws `DamageError`. */
export function linksOf({ document, previous, more }: LinkColumns): Link[] {
  if (document === null || previous === null) return []
  const links: Link[] = [{ document, previous }]
  if (!more) return links
  try {
    const decoder = decoding.createDecoder(more)
    while (decoding.hasContent(decoder)) {
      links.push({ document: decoding.readVarUint(decoder), previous: decoding.readVarUint(decoder) })
    }
    return links
  } catch (thrown) {
    throw new DamageError('unreadable links', undefined, { cause: thrown })
  }
}

/** The op of a row whose checksum and columns agree with its record. Throws `DamageError`. */
export function readOp(row: OpRow, originOf: (number: number) => OriginId): Op {
  const { position, document, previous, more, chain, record } = row
  if (checksumOf(position, document, previous, more, chain, record) !== row.checksum)
    throw new DamageError('checksum of an op does not match', position)
  let op: Op
  try {
    op = decodeOpRecord(record, originOf)
  } catch (thrown) {
    throw new DamageError(`unreadable op: ${asCausewayError(thrown).message}`, position, { cause: thrown })
  }
  if (op.dot.origin !== originOf(row.origin) || op.dot.seq !== row.seq || op.hlc !== row.hlc) {
    throw new DamageError('columns of an op differ from its record', position)
  }
  return op
}
