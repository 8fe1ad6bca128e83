/** The log of a replica as those see it who send its ops on: its ops with their places, and parts of it. */
import type { VersionVector } from '../clock/version-vector.js'
import type { Op } from './op.js'

/** An op in this replica's log. */
export interface LoggedOp {
  readonly op: Op
  /** Of its origin, after it. */
  readonly chain: Uint8Array
  readonly position: number
  /** The peer that brought it; absent for own ops, and where it is no longer known. */
  readonly from?: string
}

/** Which part of the log to read, in its order. */
export interface LogRange {
  /** Only ops behind this position. */
  readonly after: number
  /** Only ops that are not in this vector, and only those that are in `upTo`, where it is given. */
  readonly beyond: VersionVector
  readonly upTo?: VersionVector
  /** Only ops of these replicas, where it is given. */
  readonly names?: ReadonlySet<string>
  /** About so much (`opCost`), and at least one op where there is one. */
  readonly limitCost: number
}
