/** What a reader lacks, from the document itself: bytes of separate updates cannot be cut where a struct spans the cut. */
import * as Y from 'yjs'
import { CausewayError } from '../../shared/errors/error.js'
import type { DocumentState } from './document-state.js'
import { loadDocument } from './load.js'

/**
 * A Yjs v1 update with what the document holds beyond `stateVector` (Yjs encoding; entries that the document does not
 * know are ignored) and its whole delete set. Throws `protocol/bad-message` when `stateVector` is none.
 */
export function diff(state: DocumentState, stateVector: Uint8Array): Uint8Array {
  try {
    Y.decodeStateVector(stateVector)
  } catch (cause) {
    throw new CausewayError('protocol/bad-message', { reason: 'not a state vector' }, { cause })
  }
  return Y.encodeStateAsUpdate(loadDocument(state), stateVector)
}
