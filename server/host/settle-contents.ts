/**
 * Which content holds where two replicas accepted different content under one struct id, before they heard of each other:
 * for each id that of the op with the smallest (hlc, origin, seq), everywhere. Yjs keeps what comes first, and an op's
 * hlc is greater than that of all it builds on; so a document whose ops are applied in this order is the same at every
 * replica, however they were delivered.
 */
import type { DocumentWorkers } from '../document/pool.js'
import type { Log } from '../storage/log.js'
import type { TailUpdate } from '../storage/stored-document.js'

/** What holds, as stored: everything up to `position`. */
export interface SettledDocument {
  readonly position: number
  /** 32 hex digits, as of `DocumentWorkers.fingerprint`. */
  readonly fingerprint: string
}

/** Stores the settled document as its snapshot. Undefined: nothing is stored of it. Rejects as loading and storing do. */
export async function settleContents(
  { log, workers }: { readonly log: Log; readonly workers: DocumentWorkers },
  name: string,
): Promise<SettledDocument | undefined> {
  // Snapshots were made of what had come by then: only the history knows what came first.
  const stored = await log.load(name, { fromBase: true })
  if (stored === undefined) return undefined
  const tail = [...stored.tail].sort(byTime).map(({ update }) => update)
  const { update, known, fingerprint } = await workers.compact({ snapshot: stored.snapshot?.update, tail })
  const { generation, position } = stored
  await log.saveSnapshot({
    document: name,
    generation,
    position,
    update,
    known,
    fingerprint: Buffer.from(fingerprint, 'hex'),
  })
  return { position, fingerprint }
}

/** Orders ops so that each comes after all that it builds on, the same everywhere. */
export function byTime(left: TailUpdate, right: TailUpdate): number {
  if (left.hlc !== right.hlc) return left.hlc - right.hlc
  if (left.dot.origin !== right.dot.origin) return left.dot.origin < right.dot.origin ? -1 : 1
  return left.dot.seq - right.dot.seq
}
