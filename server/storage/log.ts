/**
 * The durable op log as the main thread sees it.
 *
 * Order of events, which the caller may rely on: a `load` includes every commit whose `onDone` had been called when it
 * was called, and nothing whose `onDone` has not been called when its promise resolves (persist before show). What was
 * committed in between stands above the answer's `position`; `figures.position` of each commit tells which.
 */
import type { Dot } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { CausewayError } from '../../shared/errors/error.js'
import type { LoggedOp, LogRange } from '../../shared/protocol/op-log.js'
import type { CellChange, StoredCell, StoredHeads } from '../../shared/protocol/stored-cell.js'
import type { LeafPage, LeafRange, StoredDigest } from './digest-reader.js'
import type { DigestTree } from './digest-tree.js'
import type {
  DocumentPage,
  ListOptions,
  LoadOptions,
  Opening,
  SnapshotToSave,
  StoredDocument,
} from './stored-document.js'

export interface LogOptions {
  /** Created where it is missing. One process at a time. */
  readonly directory: string
  readonly replicaName: string
  /** 16 lower-case hex digits, drawn at this process start. */
  readonly incarnation: string
}

/** Something stored that is not what was stored, and a document that it may concern. */
export interface NamedDamage {
  readonly document?: string
  readonly position: number
  readonly reason: string
}

/** A part of the log. */
export interface LogSlice {
  /** In the order of the log; `from` is not stored, and absent. */
  readonly ops: readonly LoggedOp[]
  /** Everything up to here was looked at. */
  readonly position: number
  /** That is the end of the log. */
  readonly atEnd: boolean
  /** An op of the range is held but no longer in the log. */
  readonly isPruned: boolean
}

/** A whole state, read as it stood at one moment, in chunks of at most `PEER_LIMITS.chunkBytes`. */
export interface OpenedCut {
  readonly cut: VersionVector
  /** Chunks are asked for in order, each as often as needed. Rejects as a read, also when the reader that held the cut has died. */
  chunk(index: number): Promise<{ readonly bytes: Uint8Array; readonly isLast: boolean }>
  close(): void
}

/** What a start found on the disk. */
export interface Recovered extends StoredHeads {
  readonly cell: StoredCell
  /** The newest origin that this disk wrote under, with its last durable seq: what the next `open` op names. */
  readonly predecessor?: Dot
  /** Greatest hlc on the disk; 0 where it is empty. */
  readonly latestHlc: HybridTime
  /** Last position of the log; 0 where it is empty. */
  readonly position: number
  readonly documents: number
  /** Names of documents whose bytes are damaged: they are never served. */
  readonly quarantined: readonly string[]
  readonly verifiedOps: number
  /** What their verification found; a document is quarantined only where it cannot be loaded. */
  readonly damaged: readonly NamedDamage[]
  /** Present when the log is shorter than it once was (a cut write-ahead log, an old copy of the files): ops that were acknowledged are missing. */
  readonly rolledBack?: { readonly from: number; readonly to: number }
}

/** Figures of one durable batch. */
export interface CommitFigures {
  /** Position of the batch's first op; the others follow without gaps. */
  readonly position: number
  readonly ops: number
  readonly bytes: number
  /** Figures of the transaction that carried it, together with `batches - 1` others. */
  readonly transaction: {
    readonly batches: number
    readonly ops: number
    readonly rows: number
    readonly bytes: number
    readonly durationMs: number
    /** The commit itself: writing the frames and waiting for the disk. */
    readonly syncMs: number
  }
}

export interface PruneOptions {
  /** Bytes of op records to keep. */
  readonly maxBytes: number
  readonly maxAgeMs: number
  readonly nowMs: number
  /** No op above this vector goes: the majority-durable cut. */
  readonly ceiling: VersionVector
}

export interface PruneReport {
  readonly deletedOps: number
  /** Every op up to this position is gone. */
  readonly floor: number
  /** The same as a vector: what is held and no longer in the log. */
  readonly floorVector: VersionVector
  /** There is more to prune at once. */
  readonly more: boolean
  /** Documents that hold the cut back until a snapshot is saved: at most `PRUNE_WANTED_LIMIT`. */
  readonly wanted: readonly { readonly document: string; readonly generation: number; readonly position: number }[]
}

export interface Backlog {
  readonly batches: number
  readonly bytes: number
}

export interface LogStats {
  /** Last durable position. */
  readonly position: number
  readonly backlog: Backlog
  readonly walBytes: number
  readonly databaseBytes: number
  /** Bytes of op records in the log. */
  readonly logBytes: number
  readonly quarantined: readonly string[]
}

export interface ScrubReport {
  readonly verifiedOps: number
  readonly verifiedSnapshots: number
  /** True when this slice ended a round over the whole set. */
  readonly finishedRound: boolean
  readonly damaged: readonly NamedDamage[]
}

export interface Log {
  readonly recovered: Recovered
  /** What was handed in and is not answered yet. */
  readonly backlog: Backlog
  /**
   * Stores an encoded batch (`encodeOpBatch`), whose bytes then belong to the log, and calls `onDone` in the order of
   * the commits: without an error when it is on disk. When one fails, it and every batch behind it get the same error,
   * and only then is a new one accepted; `onDone` must not commit while it is told an error. After `storage/full`,
   * `storage/read-only` and `storage/busy` (definite) later ones may succeed; `storage/failed` and `storage/damaged` are
   * for ever, and the process should end.
   * Throws `storage/busy` (nothing was accepted: the batch's dots are free again), `cell/draining` once it is closing,
   * and for ever what the log failed with.
   */
  commit(batch: Uint8Array, onDone: (error?: CausewayError, figures?: CommitFigures) => void): void
  /**
   * The document as of one moment; `undefined` where no op has touched it. Rejects with `document/unavailable`,
   * `document/too-expensive`, `storage/busy`, `storage/failed`, with `upTo` also `history/compacted`.
   */
  load(document: string, options?: LoadOptions): Promise<StoredDocument | undefined>
  /** As `load`, of now, with the owned client ids. */
  open(document: string): Promise<Opening>
  /**
   * Replaces the snapshot atomically. Rejects with `request/invalid` (older than the present one, or no position of this
   * log), `document/not-found`, `document/too-large`, and what a commit may fail with.
   */
  saveSnapshot(snapshot: SnapshotToSave): Promise<void>
  list(options: ListOptions): Promise<DocumentPage>
  /** The op digests of all documents whose name starts with `prefix`, as a tree that replicas compare. Rejects as a read. */
  digestTree(prefix: string): Promise<DigestTree>
  /** The documents of some of its buckets, page by page. Rejects as a read. */
  digestLeaves(range: LeafRange): Promise<LeafPage>
  /** Digest and clock of the newest lives of at most `CONVERGENCE_LIMITS.names` documents, without reading them. Rejects as a read. */
  digestsOf(names: readonly string[]): Promise<readonly (StoredDigest | undefined)[]>
  /** Writes a little and takes it back: resolves where a commit may succeed again. Rejects as a commit fails. */
  probe(): Promise<void>
  prune(options: PruneOptions): Promise<PruneReport>
  /**
   * Replaces what is given of the cell; resolves when it is on disk. Claims are stored member by member: those of others
   * stay. Rejects as a commit fails, and with `cell/too-many-lineages` for a claim that could not be read back.
   */
  saveCell(change: CellChange): Promise<void>
  /**
   * Ops of the log in its order. A vector names everything that its entries imply by the openings of ops that are held
   * here. An op that is damaged is one that is no longer in the log. Rejects as a read.
   */
  readOps(range: LogRange): Promise<LogSlice>
  /**
   * The chain value after each op; undefined where it is neither in the log nor the last of its origin. At most
   * `PEER_LIMITS.heads` dots (`request/invalid`).
   */
  readChains(dots: readonly Dot[]): Promise<readonly (Uint8Array | undefined)[]>
  /**
   * Opens a whole state at one cut for a peer. Few at a time: rejects with `storage/busy`; with `document/unavailable`
   * where some document is damaged, since a state without it would be taken for whole.
   */
  openCut(): Promise<OpenedCut>
  /** Sets chunks aside from now on; what was set aside before is gone. They survive a restart only as garbage. */
  beginState(): Promise<void>
  storeChunk(index: number, bytes: Uint8Array): Promise<void>
  discardState(): Promise<void>
  /**
   * Joins the state that was set aside, which stands at `cut`, with what is here, in one transaction: afterwards the
   * log holds as ops only what `cut` does not, in the order in which it was delivered, and documents are the state with
   * those ops on top. Everything that this log no longer holds as ops must lie in `cut` (`request/invalid` otherwise,
   * and for chunks that are missing or unreadable, or no state at `cut`; nothing has changed then). Rejects with
   * `cell/forked` where the state holds other ops under the same dots. No commit may be under way.
   * Documents that are open elsewhere have to be loaded anew.
   */
  joinState(cut: VersionVector): Promise<StoredHeads & { readonly position: number; readonly latestHlc: HybridTime }>
  /** A consistent, verified copy of the database at `path`, which must not exist. */
  backup(path: string): Promise<void>
  /** Verifies the next slice of what is stored. */
  scrub(): Promise<ScrubReport>
  stats(): Promise<LogStats>
  /** Finishes what was handed in, checkpoints, and gives the directory free. */
  close(): Promise<void>
}
