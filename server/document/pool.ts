/**
 * The one door to Yjs for the main thread: every call runs in a document worker under a budget. This file and what it
 * imports at run time know nothing of Yjs, so a replica's main thread never even loads it.
 */
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import type { ClockRange } from '../../shared/update/check.js'
import type { CompactedDocument } from './compact.js'
import type { DocumentState, ViewKind } from './document-state.js'
import type { PatchResult } from './patch.js'
import type { PatchOperation } from './patch-operation.js'
import type { DocumentTasks } from './tasks.js'
import { type Priority, WorkerPool } from './worker-pool.js'

export interface DocumentWorkersOptions {
  /** Threads at most. Default 1. */
  readonly threads?: number
  /** Wall-clock milliseconds that one task may run before its thread is ended. Default 10,000. */
  readonly budgetMs?: number
  /** Heap of one thread in MiB; beyond it the task fails alone. Default 512. */
  readonly memoryMb?: number
  /** Tasks that may wait, per priority. Default 1,000. */
  readonly queueLimit?: number
  /** Milliseconds without work after which a thread ends. Default 30,000. */
  readonly idleMs?: number
}

const PRIORITIES: Readonly<Record<keyof DocumentTasks, Priority>> = {
  agrees: 'interactive',
  compact: 'background',
  diff: 'interactive',
  fingerprint: 'background',
  patch: 'interactive',
  view: 'interactive',
}

/** Room for Yjs's own recursion over `NESTING_LIMIT` levels, with a wide margin. */
const STACK_MB = 8

/**
 * Documents in worker threads. Each method may reject with the errors of `WorkerPool.run` (`document/busy`,
 * `document/too-slow`, `document/too-expensive`, `internal/failure`, `cell/draining`) besides its own. Bytes handed in stay the caller's;
 * bytes handed out are the caller's.
 */
export class DocumentWorkers extends WorkerPool<DocumentTasks> {
  constructor(options: DocumentWorkersOptions = {}) {
    const { threads = 1, budgetMs = 10_000, memoryMb = 512, queueLimit = 1_000, idleMs = 30_000 } = options
    super({
      threads,
      budgetMs,
      queueLimit,
      idleMs,
      priorities: PRIORITIES,
      spawn: () =>
        new Worker(createRequire(import.meta.url).resolve('#workers/document-worker'), {
          name: 'document-worker',
          resourceLimits: { maxOldGenerationSizeMb: memoryMb, stackSizeMb: STACK_MB },
        }),
    })
  }

  /** Whether `update` holds the same content as the document for the known ids of `overlaps` (`contentAgrees`). */
  agrees(
    state: DocumentState,
    update: Uint8Array,
    overlaps: readonly ClockRange[],
    doubtfulFrom: ReadonlyMap<number, number>,
  ): Promise<boolean> {
    return this.run('agrees', state, update, overlaps, doubtfulFrom)
  }

  /** One canonical update for the whole state, verified (see `compact`). Rejects with `document/uncompactable`: keep the state as it is. */
  compact(state: DocumentState): Promise<CompactedDocument> {
    return this.run('compact', state)
  }

  /** A Yjs v1 update with what the document holds beyond `stateVector` (Yjs encoding), its whole delete set included. Rejects with `protocol/bad-message`. */
  diff(state: DocumentState, stateVector: Uint8Array): Promise<Uint8Array> {
    return this.run('diff', state, stateVector)
  }

  /** 32 hex digits; equal for equal documents (see `fingerprint`). */
  fingerprint(state: DocumentState): Promise<string> {
    return this.run('fingerprint', state)
  }

  /** The update that carries out `operations` as client `clientId`, all or none. Rejects with `request/invalid` (`details.path`, `details.reason`). */
  patch(state: DocumentState, operations: readonly PatchOperation[], clientId: number): Promise<PatchResult> {
    return this.run('patch', state, operations, clientId)
  }

  /** The JSON text of `{root: plain JSON}`, ready to be put into an answer; `types` overrides the kinds of roots (see `view`). */
  view(state: DocumentState, types?: Readonly<Record<string, ViewKind>>): Promise<string> {
    return this.run('view', state, types)
  }
}
