/**
 * Snapshot and tail to one canonical update. The way goes round a Y.Doc, which collects what
 * is deleted. It is not trusted: what the new bytes load to must be the same document, by state vector and
 * fingerprint, before anybody may replace the old ones. Some content loads and can then not be written again
 * (a value nested too deep to encode); such a document keeps its snapshot and tail, whole.
 */
import * as Y from 'yjs'
import { CausewayError } from '../../shared/errors/error.js'
import { KnownState } from '../../shared/update/known-state.js'
import type { DocumentState } from './document-state.js'
import { fingerprintOf } from './fingerprint.js'
import { loadDocument } from './load.js'

export interface CompactedDocument {
  /** The whole document as one Yjs v1 update, deleted content collected; compacting it again gives the same bytes. */
  readonly update: Uint8Array
  /** What checks of later updates need to know of it (`KnownState.encode`). */
  readonly known: Uint8Array
  readonly fingerprint: string
}

/**
 * Throws `document/uncompactable` (`details.reason`) when the state cannot be loaded, written, or found equal again:
 * the caller keeps what it has.
 */
export function compact(state: DocumentState): CompactedDocument {
  const before = attempt('load', () => loadDocument(state))
  const fingerprint = attempt('walk', () => fingerprintOf(before))
  const update = attempt('encode', () => Y.encodeStateAsUpdate(before))
  const stateVector = Y.encodeStateVector(before)
  const after = attempt('reload', () => loadDocument({ snapshot: update, tail: [] }))
  if (Buffer.compare(Y.encodeStateVector(after), stateVector) !== 0) throw uncompactable('state vector differs')
  if (attempt('walk again', () => fingerprintOf(after)) !== fingerprint) throw uncompactable('fingerprint differs')
  return { update, known: KnownState.of(update).encode(), fingerprint }
}

function attempt<Result>(step: string, action: () => Result): Result {
  try {
    return action()
  } catch (cause) {
    throw uncompactable(`failed to ${step}`, cause)
  }
}

function uncompactable(reason: string, cause?: unknown): CausewayError {
  return new CausewayError('document/uncompactable', { reason }, { cause })
}
