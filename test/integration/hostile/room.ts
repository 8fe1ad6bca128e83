/** A document with somebody in it, and what must still hold of it after a stranger was there. */
import { expect } from 'vitest'
import * as Y from 'yjs'
import { text, update } from '../../fuzz/update-bytes.js'
import { PlainClient } from '../../support/plain-client.js'
import type { ReplicaProcess } from '../../support/replica-process.js'
import type { Target } from './corpus.js'

export class Room {
  readonly document: string
  readonly victim: PlainClient
  /** The whole document before anything happens. */
  readonly before: Uint8Array
  /** The id under which the victim wrote it, and the clock of its next struct. */
  readonly target: Target
  private readonly replica: ReplicaProcess

  private constructor(replica: ReplicaProcess, document: string, victim: PlainClient) {
    this.replica = replica
    this.document = document
    this.victim = victim
    this.before = Y.encodeStateAsUpdate(victim.doc)
    const { clientID, store } = victim.doc
    this.target = { client: clientID, clock: Y.getState(store, clientID), state: this.before }
  }

  static async open(replica: ReplicaProcess, document: string): Promise<Room> {
    const victim = new PlainClient(`${replica.url}/y/${document}`)
    await victim.synced()
    victim.doc.transact(() => {
      victim.text.insert(0, 'what the victim wrote')
      victim.text.format(5, 3, { bold: true })
      victim.text.delete(2, 2)
      victim.doc.getMap('m').set('key', { value: [1, 2] })
      victim.doc.getArray('a').push(['one', 2])
    })
    await stored(victim)
    return new Room(replica, document, victim)
  }

  /** The victim writes one more letter. Resolves when it is on disk. */
  async edit(): Promise<void> {
    this.victim.text.insert(this.victim.text.length, '!')
    await stored(this.victim)
  }

  /** What somebody reads who opens the document now. */
  read(): Promise<Uint8Array> {
    return readDocument(this.replica, this.document)
  }

  async json(): Promise<{ types: Record<string, unknown> }> {
    const response = await fetch(`${this.replica.http}/v1/documents/${encodeURIComponent(this.document)}`)
    expect(response.status).toBe(200)
    return (await response.json()) as { types: Record<string, unknown> }
  }

  close(): void {
    this.victim.close()
  }
}

/** What somebody reads who opens the document now, `loaded`. */
export async function readDocument(replica: ReplicaProcess, document: string): Promise<Uint8Array> {
  const reader = new PlainClient(`${replica.url}/y/${document}`)
  await reader.synced()
  reader.close()
  return loaded(Y.encodeStateAsUpdate(reader.doc))
}

/** Resolves when all that `client` wrote has come back. */
export async function stored(client: PlainClient): Promise<void> {
  const { doc, received } = client
  const { clientID } = doc
  const wanted = Y.getState(doc.store, clientID)
  let seen = 0
  let clock = 0
  await client.until(() => {
    for (; seen < received.length; seen++) {
      clock = Math.max(clock, Y.parseUpdateMeta(received[seen]!).to.get(clientID) ?? 0)
    }
    return clock >= wanted || client.closeCode !== undefined
  })
  expect(client.closeCode).toBeUndefined()
}

/** Which of the victim's first letters are deleted in a document, as clock and length. */
export function deletedOf({ target }: Room, document: Uint8Array): readonly (readonly [number, number])[] {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, document)
  const ranges = Y.createDeleteSetFromStructStore(doc.store).clients.get(target.client) ?? []
  return ranges.filter(({ clock }) => clock < target.clock).map(({ clock, len }) => [clock, len])
}

/**
 * The document of `updates` in the one form that everybody who loads it comes to. Fails where it waits for what is not
 * there.
 */
export function loaded(...updates: readonly Uint8Array[]): Uint8Array {
  const doc = new Y.Doc()
  doc.transact(() => {
    for (const update of updates) Y.applyUpdate(doc, update)
  })
  expect(doc.store.pendingStructs).toBeNull()
  expect(doc.store.pendingDs).toBeNull()
  return Y.encodeStateAsUpdate(doc)
}

/** Returns `document`. Fails where it does not load to the very same once more. */
export function wellFormed(document: Uint8Array): Uint8Array {
  expect(Buffer.compare(loaded(document), document), 'the document can be read and written again').toBe(0)
  return document
}

let markers = 0

/** An honest edit by somebody new, in a root of its own. */
export function newMarker(): Uint8Array {
  return update([{ client: 2 ** 32 - ++markers, clock: 0, structs: [text('m', { parent: 'marks' })] }])
}
