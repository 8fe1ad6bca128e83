/** A document beyond a state vector, by bytes: what a joining client gets of a document too large for the main thread. */
import { diffUpdate } from '../../shared/update/diff.js'
import { joinUpdates } from '../../shared/update/join.js'
import { StateVector } from '../../shared/update/state-vector.js'
import type { DocumentState } from './document-state.js'

/**
 * A Yjs v1 update with what the document holds beyond `stateVector` (Yjs encoding), its whole delete set included.
 * Throws `protocol/bad-message` for a state vector that is none.
 */
export function diff(state: DocumentState, stateVector: Uint8Array): Uint8Array {
  return diffUpdate(joinUpdates(state.snapshot, state.tail), StateVector.decode(stateVector))
}
