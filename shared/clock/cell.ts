/**
 * Which cell, and which life of it. A cell draws its birth id once. Its epoch changes only when an operator accepts loss
 * (`members force-recover`), and rises then; since that may be done on both sides of a split, an epoch also has an id,
 * and two of equal ordinal and other id are two cells that happen to share a past.
 */
import { CausewayError } from '../errors/error.js'
import { bytesOfHex, hexOf } from './version-vector.js'

/** 32 hex digits. */
export type CellId = string & { readonly __brand: 'CellId' }

export interface CellEpoch {
  /** From 1. */
  readonly ordinal: number
  /** 16 hex digits. */
  readonly id: string
}

export interface CellIdentity {
  readonly cell: CellId
  readonly epoch: CellEpoch
}

/** What a disk knows of its cell. */
export interface StoredBirth {
  readonly identity: CellIdentity
  /** The id is on every listed disk. */
  readonly isBorn: boolean
}

/** Where a rejoining stands, as the disk has it (see `server/replica/rejoin.ts`). */
export interface RejoinPhase {
  readonly phase: 'saved' | 'replaced'
  /** The cell's life that is rejoined. */
  readonly identity: CellIdentity
  /** Ops of the surplus that were accepted anew, or needed it no more. */
  readonly accepted: number
}

/** How `other` stands to `own`: `foreign` is another cell, or another side of a split that was made for ever. */
export function compareCells(own: CellIdentity, other: CellIdentity): 'same' | 'older' | 'newer' | 'foreign' {
  if (own.cell !== other.cell) return 'foreign'
  if (own.epoch.ordinal !== other.epoch.ordinal) return other.epoch.ordinal < own.epoch.ordinal ? 'older' : 'newer'
  return own.epoch.id === other.epoch.id ? 'same' : 'foreign'
}

/** `demo` of epoch 2 as `0f3a…/2`: for people. */
export function formatCell({ cell, epoch }: CellIdentity): string {
  return `${cell.slice(0, 8)}/${epoch.ordinal}.${epoch.id.slice(0, 4)}`
}

interface Sink {
  varUint(value: number): void
  raw(bytes: Uint8Array): void
}

interface Source {
  varUint(): number
  raw(length: number): Uint8Array
}

export function writeCell(out: Sink, { cell, epoch }: CellIdentity): void {
  out.raw(bytesOfHex(cell))
  out.varUint(epoch.ordinal)
  out.raw(bytesOfHex(epoch.id))
}

/** Throws `protocol/bad-message`. */
export function readCell(from: Source): CellIdentity {
  const cell = hexOf(from.raw(16)) as CellId
  const ordinal = from.varUint()
  if (ordinal < 1) throw new CausewayError('protocol/bad-message', { reason: 'epoch below 1' })
  return { cell, epoch: { ordinal, id: hexOf(from.raw(8)) } }
}
