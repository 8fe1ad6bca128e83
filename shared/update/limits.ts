/**
 * What one update may ask for. The defaults admit what honest apps send (a first sync of 200,000 structs, a document
 * that 10,000 sessions wrote) and keep what a byte can cost within a small factor of itself: an update is checked in one
 * go, and while it is, nobody else is served.
 */
export interface UpdateLimits {
  /** Clients whose structs one update carries. */
  readonly clients: number
  /** Structs in one update. */
  readonly structs: number
  /** Delete ranges in one update. */
  readonly deleteRanges: number
  /** Different root types that one update names. */
  readonly roots: number
  /** Subdocuments in one update: each costs a reader several KiB. */
  readonly subdocuments: number
  /** Bytes of a map key, attribute, node name, root name or subdocument id. */
  readonly keyBytes: number
  /** Objects and arrays inside one another in one value. Readers are recursive: the limit is their stack. */
  readonly valueDepth: number
  /** Shared types inside one another in one update: deleting the outermost one recurses through them all. */
  readonly typeDepth: number
}

export const DEFAULT_UPDATE_LIMITS: UpdateLimits = {
  clients: 10_000,
  structs: 500_000,
  deleteRanges: 100_000,
  roots: 10_000,
  subdocuments: 5_000,
  keyBytes: 4_096,
  valueDepth: 64,
  typeDepth: 256,
}

/** What is stored was accepted, under these limits or wider ones of an earlier version: it is read whatever it holds. */
export const STORED_UPDATE_LIMITS: UpdateLimits = {
  ...DEFAULT_UPDATE_LIMITS,
  clients: Number.POSITIVE_INFINITY,
  deleteRanges: Number.POSITIVE_INFINITY,
}

/**
 * The end of a struct or delete range lies at or below this clock. Other implementations count in 32 bits, and no
 * session ever writes so many units.
 */
export const CLOCK_LIMIT = 2 ** 31 - 1

/** Client ids are at most this. Yjs draws 32 bits, the Rust implementation 53. */
export const CLIENT_LIMIT = Number.MAX_SAFE_INTEGER

/** Entries of a received state vector: a document that this many sessions wrote is past all use. */
export const STATE_VECTOR_ENTRY_LIMIT = 1_000_000
