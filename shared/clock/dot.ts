/**
 * Identity of ops. An origin is a replica name and an incarnation: 64 random bits drawn at every process start. A dot
 * can therefore never be used twice, not after a lost disk, an old backup or a cloned volume (DESIGN.md section 2).
 */
import { assert } from '../base/assert.js'

/** `name.incarnation`, the incarnation as 16 hex digits. Names hold no dot. */
export type OriginId = string & { readonly __brand: 'OriginId' }

/** The name of one op: its origin and its place in that origin's sequence, from 1. */
export interface Dot {
  readonly origin: OriginId
  readonly seq: number
}

/** Name under which the coordination store's revisions stand in vectors; its incarnation is the store's epoch. */
export const COORDINATION_NAME = 'coord'

const ORIGIN_NAME = /^[a-z0-9][a-z0-9-]{0,31}$/
const INCARNATION = /^[0-9a-f]{16}$/

/** Whether a replica may be called so: 1 to 32 lower-case letters, digits and hyphens, no hyphen first, and not `coord`. */
export function isReplicaName(text: string): boolean {
  return ORIGIN_NAME.test(text) && text !== COORDINATION_NAME
}

/** Joins a replica name and an incarnation (16 lower-case hex digits) into an origin id. */
export function makeOrigin(replicaName: string, incarnation: string): OriginId {
  assert(ORIGIN_NAME.test(replicaName), `bad replica name ${replicaName}`)
  assert(INCARNATION.test(incarnation), `bad incarnation ${incarnation}`)
  return `${replicaName}.${incarnation}` as OriginId
}

/** Whether `text` has the form of an origin id: the check for input. */
export function isOrigin(text: string): text is OriginId {
  const dot = text.indexOf('.')
  return dot > 0 && ORIGIN_NAME.test(text.slice(0, dot)) && INCARNATION.test(text.slice(dot + 1))
}

export function replicaNameOf(origin: OriginId): string {
  return origin.slice(0, origin.indexOf('.'))
}

export function incarnationOf(origin: OriginId): string {
  return origin.slice(origin.indexOf('.') + 1)
}

/** A dot as the key of a map: in full, `a.7f03…:3`. */
export function dotKey({ origin, seq }: Dot): string {
  return `${origin}:${seq}`
}

/** `a:3`, or `a.7f03:3` (the incarnation's first four digits) where `origin` is not a current one. */
export function formatDot(dot: Dot, current: ReadonlySet<OriginId> = new Set([dot.origin])): string {
  const name = replicaNameOf(dot.origin)
  return current.has(dot.origin) ? `${name}:${dot.seq}` : `${name}.${incarnationOf(dot.origin).slice(0, 4)}:${dot.seq}`
}
