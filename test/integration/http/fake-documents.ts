/** A replica's documents as HTTP sees them, in memory: what it accepts and refuses is what the contract says, no more. */
import * as Y from 'yjs'
import type { DocumentState, DocumentWork } from '../../../server/http/documents.js'
import type { DocumentBytes, DocumentListing, Documents, Submitted } from '../../../server/replica/documents.js'
import { makeOrigin } from '../../../shared/clock/dot.js'
import { EMPTY_VECTOR, type VersionVector } from '../../../shared/clock/version-vector.js'
import { CausewayError } from '../../../shared/errors/error.js'

/** Of everything that is stored. */
export const ORIGIN = makeOrigin('a', '00000000000000a1')

interface Kept {
  readonly doc: Y.Doc
  readonly updates: Uint8Array[]
  seq: number
}

export class FakeDocuments implements Documents {
  readonly kept = new Map<string, Kept>()
  /** Thrown by the next call, once. */
  failure: unknown
  calls = 0
  private seq = 0

  /** Everything that was ever stored. */
  get vector(): VersionVector {
    return this.seq > 0 ? new Map([[ORIGIN, this.seq]]) : EMPTY_VECTOR
  }

  subscribe(): never {
    throw new Error('HTTP does not subscribe')
  }

  async submit(parts: readonly { readonly document: string; readonly update: Uint8Array }[]): Promise<Submitted> {
    this.fail()
    const checked = parts.map(({ document, update }) => ({ document, update, doc: this.tryOut(document, update) }))
    const before = checked.map(({ document }) => this.kept.get(document)).map((kept) => kept && stateOf(kept.doc))
    const isNew = checked.some(({ doc }, index) => !before[index] || stateOf(doc) !== before[index])
    if (isNew) this.seq++
    for (const { document, update, doc } of checked) {
      const updates = this.kept.get(document)?.updates ?? []
      this.kept.set(document, { doc, updates: [...updates, update], seq: this.seq })
    }
    const dot = isNew ? { origin: ORIGIN, seq: this.seq } : undefined
    const clock = this.vector
    return { dot, seen: dot ? new Map([[dot.origin, dot.seq]]) : clock, clock }
  }

  private tryOut(document: string, update: Uint8Array): Y.Doc {
    const doc = new Y.Doc()
    for (const old of this.kept.get(document)?.updates ?? []) Y.applyUpdate(doc, old)
    const stateVector = Buffer.from(Y.encodeStateVector(doc)).toString('base64url')
    try {
      Y.applyUpdate(doc, update)
    } catch (cause) {
      throw new CausewayError('document/bad-update', { document, reason: 'malformed' }, { cause })
    }
    if (doc.store.pendingStructs || doc.store.pendingDs)
      throw new CausewayError('document/gap', { document, stateVector })
    return doc
  }

  async read(document: string): Promise<DocumentBytes> {
    this.fail()
    const kept = this.kept.get(document)
    if (kept === undefined) throw new CausewayError('document/not-found', { document })
    const [snapshot, ...tail] = kept.updates
    const stateVector = Y.encodeStateVector(kept.doc)
    return { name: document, snapshot, tail, stateVector, clock: { a: kept.seq }, seen: this.vector }
  }

  async list(options: { prefix: string; limit: number; cursor?: string }): Promise<DocumentListing> {
    this.fail()
    const { prefix, cursor } = options
    // A store may give less than asked for: three at once here.
    const limit = Math.min(options.limit, 3)
    const names = [...this.kept.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    const after = (name: string): boolean =>
      cursor === undefined || Buffer.compare(Buffer.from(name), Buffer.from(cursor)) > 0
    const found = names.filter((name) => name.startsWith(prefix) && after(name))
    const page = found.slice(0, limit).map((name) => ({
      name,
      bytes: this.kept.get(name)!.updates.reduce((sum, update) => sum + update.byteLength, 0),
      clock: { a: this.kept.get(name)!.seq },
      updatedAt: '2030-01-01T00:00:00.000Z',
    }))
    const listing = { documents: page, seen: this.vector }
    return found.length > limit ? { ...listing, cursor: page.at(-1)!.name } : listing
  }

  /** Counts the call and throws what was asked for. */
  private fail(): void {
    this.calls++
    const { failure } = this
    this.failure = undefined
    if (failure !== undefined) throw failure
  }
}

function stateOf(doc: Y.Doc): string {
  return Buffer.from(Y.encodeStateAsUpdate(doc)).toString('base64')
}

function load({ snapshot, tail }: DocumentState): Y.Doc {
  const doc = new Y.Doc()
  for (const update of snapshot === undefined ? tail : [snapshot, ...tail]) Y.applyUpdate(doc, update)
  return doc
}

/** Of the operations, it knows `insertText` at the end of a root, and `set` of a key in a root. */
export const fakeWork: DocumentWork = {
  async view(document, types) {
    const doc = load(document)
    const kinds: Record<string, string> = { ...types }
    const entries = [...new Set([...doc.share.keys(), ...Object.keys(kinds)])].map((root) => {
      const kind = kinds[root] ?? (doc.getMap(root).size > 0 ? 'map' : 'text')
      return [root, kind === 'map' ? load(document).getMap(root).toJSON() : load(document).getText(root).toString()]
    })
    return JSON.stringify(Object.fromEntries(entries))
  },
  async diff(document, stateVector) {
    try {
      return Y.encodeStateAsUpdate(load(document), stateVector)
    } catch (cause) {
      throw new CausewayError('protocol/bad-message', { reason: 'not a state vector' }, { cause })
    }
  },
  async patch(document, operations) {
    const doc = load(document)
    const before = Y.encodeStateVector(doc)
    for (const [at, operation] of (operations as { op: string; path: string[] }[]).entries()) {
      const { op, path, text, value } = operation as { op: string; path: string[]; text?: string; value?: unknown }
      if (op === 'insertText') doc.getText(path[0]).insert(doc.getText(path[0]).length, text!)
      else if (op === 'set') doc.getMap(path[0]).set(path[1]!, value)
      else {
        const details = { path: `operations[${at}].op`, reason: 'is not known to this fake' }
        throw new CausewayError('request/invalid', details)
      }
    }
    return Y.encodeStateAsUpdate(doc, before)
  },
}

/** A Yjs update that writes `text` into the root `title`, by a client of its own. */
export function textUpdate(text: string, clientId = 1): Uint8Array {
  const doc = new Y.Doc()
  doc.clientID = clientId
  doc.getText('title').insert(0, text)
  return Y.encodeStateAsUpdate(doc)
}

/** An update whose predecessor nobody has seen. */
export function gappedUpdate(): Uint8Array {
  const doc = new Y.Doc()
  doc.clientID = 7
  doc.getText('title').insert(0, 'first')
  const before = Y.encodeStateVector(doc)
  doc.getText('title').insert(5, ' second')
  return Y.encodeStateAsUpdate(doc, before)
}

/** What the root `title` holds after these updates. */
export function titleOf(...updates: Uint8Array[]): string {
  return load({ snapshot: undefined, tail: updates }).getText('title').toString()
}
