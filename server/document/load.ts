/**
 * Bytes to a Y.Doc. The whole state goes in as one transaction of a fresh document: it is the fastest way, structs merge
 * and deleted content is collected once, at the end, and the result is the join of the updates and nothing else. An
 * observer of remote changes in Yjs removes formats that became redundant; that is an edit of its own, which a client
 * may make and send, and which a copy on a server must never make by itself.
 */
import * as Y from 'yjs'
import { AssertionError, assert } from '../../shared/base/assert.js'
import { joinUpdates } from '../../shared/update/join.js'
import type { DocumentState } from './document-state.js'
import { hasPending, treatAsLocal } from './yjs-internals.js'

/** From so many updates on, putting their bytes together first costs less than what Yjs sets up for each of them. */
const JOIN_FROM = 16

/**
 * The document that `state` describes. Throws when the bytes are no updates, and `AssertionError` when the state is not
 * closed: such a document is not to be served. `gc: false` keeps deleted content.
 */
export function loadDocument(state: DocumentState, options: { readonly gc?: boolean } = {}): Y.Doc {
  const updates = state.tail.length < JOIN_FROM ? separate(state) : joined(state)
  const doc = new Y.Doc({ gc: options.gc ?? true })
  doc.transact((transaction) => {
    for (const update of updates) Y.applyUpdate(doc, update)
    treatAsLocal(transaction)
  })
  assert(!hasPending(doc), 'the document refers to structs that it does not have')
  return doc
}

function separate({ snapshot, tail }: DocumentState): readonly Uint8Array[] {
  return snapshot ? [snapshot, ...tail] : tail
}

function joined(state: DocumentState): readonly Uint8Array[] {
  try {
    return [joinUpdates(state.snapshot, state.tail)]
  } catch (error) {
    if (!(error instanceof AssertionError)) throw error
    return separate(state) // Not as a log holds them: one after the other, each new.
  }
}
