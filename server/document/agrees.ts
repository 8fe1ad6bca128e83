/** Content checks by bytes, in a worker because they walk the blocks concerned: no Yjs is involved. */
import type { ClockRange } from '../../shared/update/check.js'
import { joinUpdates } from '../../shared/update/join.js'
import { contentAgrees } from '../../shared/update/overlap.js'
import type { DocumentState } from './document-state.js'

/** Whether `update` holds the same content as the document for the ids of `overlaps` (`contentAgrees`). */
export function agrees(
  state: DocumentState,
  update: Uint8Array,
  overlaps: readonly ClockRange[],
  doubtfulFrom?: ReadonlyMap<number, number>,
): boolean {
  return contentAgrees(joinUpdates(state.snapshot, state.tail), update, overlaps, doubtfulFrom)
}
