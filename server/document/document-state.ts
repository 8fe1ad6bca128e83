/** A document as this room takes it: bytes. Nothing here keeps a document between two calls. */
import { CausewayError } from '../../shared/errors/error.js'

/**
 * Yjs v1 updates, applied in order: `snapshot`, then `tail`. Together they are closed: every struct that one of them
 * refers to is in one of them. Empty states are legal.
 */
export interface DocumentState {
  readonly snapshot: Uint8Array | undefined
  readonly tail: readonly Uint8Array[]
}

/**
 * Levels of shared types and JSON values that a walk follows into one another. No single update that ingest admits goes
 * so deep; what many of them pile up beyond it would end in a stack overflow that depends on the machine.
 */
export const NESTING_LIMIT = 512

/** One level further down. Throws `document/too-expensive` below `NESTING_LIMIT`. */
export function deeper(depth: number): number {
  if (depth >= NESTING_LIMIT) throw new CausewayError('document/too-expensive', { limit: `${NESTING_LIMIT} levels` })
  return depth + 1
}

/** How `view` may read a root. */
export const VIEW_KINDS = ['text', 'map', 'array', 'xml', 'prosemirror'] as const
export type ViewKind = (typeof VIEW_KINDS)[number]
