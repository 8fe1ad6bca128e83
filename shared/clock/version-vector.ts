/**
 * Version vectors: for each origin the highest gap-free seq. One entry per replica lineage, never one per client.
 */
import type { OriginId } from './dot.js'

export type VersionVector = ReadonlyMap<OriginId, number>

export const EMPTY_VECTOR: VersionVector = new Map()
