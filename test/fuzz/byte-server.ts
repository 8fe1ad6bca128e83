/** A server that knows updates by their bytes only, and beside it the Y.Doc of somebody who is sent what it stores. */
import * as Y from 'yjs'
import { assert } from '../../shared/base/assert.js'
import { type Checked, checkUpdate } from '../../shared/update/check.js'
import { DeleteSet } from '../../shared/update/delete-set.js'
import { joinUpdates } from '../../shared/update/join.js'
import { KnownState } from '../../shared/update/known-state.js'
import { parseUpdate } from '../../shared/update/parse.js'
import { StateVector } from '../../shared/update/state-vector.js'

export class ByteServer {
  readonly known: KnownState
  readonly stored: Uint8Array[]
  private doc: Y.Doc | undefined

  /** `state` is what an update `joined` holds. */
  constructor(state?: KnownState, joined?: Uint8Array) {
    this.known = state ?? new KnownState()
    this.stored = joined ? [joined] : []
  }

  get reader(): Y.Doc {
    if (!this.doc) {
      this.doc = quietDoc()
      for (const bytes of this.stored) Y.applyUpdate(this.doc, bytes)
    }
    return this.doc
  }

  /** Throws `document/bad-update`; an `AssertionError` is a mistake of ours. */
  receive(bytes: Uint8Array, mode: 'update' | 'step2'): Checked {
    const { known } = this
    const checked = checkUpdate(parseUpdate(bytes), known, mode)
    if (checked.type !== 'new') return checked
    const { reader } = this
    this.stored.push(checked.update)
    for (const [client, from, to] of checked.clocks) {
      assert(from === known.clocks.get(client) && to > from, `client ${client} does not go on where it ended`)
    }
    known.add(checked)
    Y.applyUpdate(reader, checked.update)
    return checked
  }

  get joined(): Uint8Array {
    return joinUpdates(undefined, this.stored)
  }

  /** The reader has all that is stored and nothing is pending; what the server knows to be deleted is. */
  assertSound(): void {
    assertComplete(this.reader, this.known.clocks)
    const deleted = deletedOf(this.reader)
    for (const range of this.known.deleted) {
      assert(deleted.uncovered(...range).length === 0, `${range} should be deleted`)
    }
  }
}

/** `doc` stands at `clocks` and holds nothing pending. */
export function assertComplete(doc: Y.Doc, clocks: StateVector): void {
  assert(doc.store.pendingStructs === null, 'structs are pending')
  assert(doc.store.pendingDs === null, 'deletes are pending')
  const held = StateVector.decode(Y.encodeStateVector(doc))
  assert(held.size === clocks.size, `${held.size} clients, not ${clocks.size}`)
  for (const [client, clock] of clocks.entries()) {
    assert(held.get(client) === clock, `client ${client} is at ${held.get(client)}, not ${clock}`)
  }
}

/**
 * A document that only ever holds what it was given. Yjs tidies up formats without effect when it hears of some, which
 * is an edit: right for somebody's document, but a reader that is compared with others must not make any.
 */
export function quietDoc(): Y.Doc {
  // A random id costs more than the rest.
  const doc = new Y.Doc({ guid: 'quiet' })
  doc.on('afterTransaction', (transaction) => {
    transaction._needFormattingCleanup = false
  })
  return doc
}

/** All that is deleted in a document: also what went because its parent did, which no delete set said. */
export function deletedOf(doc: Y.Doc): DeleteSet {
  const clients = Y.createDeleteSetFromStructStore(doc.store).clients
  return new DeleteSet(
    [...clients].flatMap(([client, items]) =>
      items.map(({ clock, len }): [number, number, number] => [client, clock, len]),
    ),
  )
}
