/** A server that knows updates by their bytes only, and beside it the Y.Doc of somebody who is sent what it stores. */
import { expect } from 'vitest'
import * as Y from 'yjs'
import { type Checked, checkUpdate } from '../../shared/update/check.js'
import { DeleteSet } from '../../shared/update/delete-set.js'
import { joinUpdates } from '../../shared/update/join.js'
import { parseUpdate } from '../../shared/update/parse.js'
import { StateVector } from '../../shared/update/state-vector.js'

export class ByteServer {
  readonly clocks = new StateVector()
  readonly deleted = new DeleteSet()
  readonly stored: Uint8Array[] = []
  readonly reader: Y.Doc

  constructor(gc = true) {
    this.reader = new Y.Doc({ gc })
  }

  receive(bytes: Uint8Array, mode: 'update' | 'step2'): Checked {
    const checked = checkUpdate(parseUpdate(bytes), this, mode)
    if (checked.type !== 'new') return checked
    this.stored.push(checked.update)
    for (const [client, from, to] of checked.clocks) {
      expect(from).toBe(this.clocks.get(client))
      this.clocks.advance(client, to)
    }
    this.deleted.addAll(checked.deletes)
    Y.applyUpdate(this.reader, checked.update)
    return checked
  }

  get joined(): Uint8Array {
    return joinUpdates(undefined, this.stored)
  }

  /** The reader has all that is stored, nothing is pending, and it was deleted what the server thinks is. */
  expectSound(): void {
    expect(this.reader.store.pendingStructs).toBeNull()
    expect(this.reader.store.pendingDs).toBeNull()
    expect([...this.clocks.encode()]).toEqual([...Y.encodeStateVector(this.reader)])
    const deleted = deletedOf(this.reader)
    for (const [client, clock, length] of this.deleted) expect(deleted.uncovered(client, clock, length)).toEqual([])
  }
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
