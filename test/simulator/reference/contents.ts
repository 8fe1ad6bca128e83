/** The documents of a reference replica, made of the ops delivered to it in any causal order. */
import type { Contents, WriteId } from '../history.js'
import { keyOf } from '../observed.js'
import type { OfferedWrite, Op } from './messages.js'
import type { Mutant } from './mutants.js'

interface Document {
  readonly ids: WriteId[]
  readonly known: Set<WriteId>
  /** By author: how many of its writes are here. */
  readonly places: Map<string, number>
  readonly registers: Map<string, OfferedWrite>
  opCount: number
  /** XOR over hashes of the ops, and their sum: 32 bits alone collide among a few ten thousand sets of ops. */
  opHash: number
  opSum: number
}

export class Documents {
  readonly ops = new Map<string, Op>()
  readonly held = new Set<WriteId>()
  private readonly documents = new Map<string, Document>()
  private readonly mutant: Mutant | undefined

  constructor(mutant: Mutant | undefined) {
    this.mutant = mutant
  }

  get names(): Iterable<string> {
    return this.documents.keys()
  }

  /** Returns the documents in which the op now waits for earlier ones of its author. */
  apply(op: Op): string[] {
    const key = keyOf(op.dot)
    if (this.ops.has(key)) return []
    this.ops.set(key, op)
    const { write } = op
    if (!write) return []
    this.held.add(write.id)
    const waiting: string[] = []
    for (const [name, place] of write.places) {
      const document = this.document(name)
      const before = document.places.get(write.author) ?? 0
      if (place > before + 1) waiting.push(name)
      document.places.set(write.author, Math.max(before, place))
      document.opCount++
      document.opHash ^= hashText(key)
      document.opSum += hashText(`${key} `)
      // Offered again elsewhere, it has come under another dot.
      if (document.known.has(write.id)) continue
      document.known.add(write.id)
      document.ids.push(write.id)
      for (const register of write.registers) {
        if (register.startsWith(`${name}#`)) this.setRegister(document, register, write)
      }
    }
    return waiting
  }

  placeOf(document: string, author: string): number {
    return this.documents.get(document)?.places.get(author) ?? 0
  }

  read(names: readonly string[]): Contents {
    const writes = new Map<string, readonly WriteId[]>()
    const registers = new Map<string, WriteId>()
    for (const name of names) {
      const document = this.documents.get(name)
      writes.set(name, document ? [...document.ids] : [])
      for (const [register, { id }] of document?.registers ?? []) registers.set(register, id)
    }
    return { writes, registers }
  }

  /** What stands for the ops of a document, and what stands for the content they made. */
  fingerprint(name: string): { readonly digest: string; readonly fingerprint: string } {
    const { ids, registers, places, opCount, opHash, opSum } = this.document(name)
    const content = [
      [...ids].sort((one, other) => one - other).join(),
      [...registers]
        .map(([register, { id }]) => `${register}=${id}`)
        .sort()
        .join(),
      [...places]
        .map(([author, place]) => `${author}:${place}`)
        .sort()
        .join(),
    ]
    return { digest: `${opCount}/${opHash >>> 0}/${opSum}`, fingerprint: hashText(content.join(' ')).toString(16) }
  }

  /** The latest stamp wins, which belongs to the write, not to its op: a write may have several. */
  private setRegister(document: Document, register: string, write: OfferedWrite): void {
    const holder = document.registers.get(register)
    if (!holder || this.mutant === 'arrival-order-registers' || isBefore(holder, write)) {
      document.registers.set(register, write)
    }
  }

  private document(name: string): Document {
    let document = this.documents.get(name)
    if (!document) {
      document = { ids: [], known: new Set(), places: new Map(), registers: new Map(), opCount: 0, opHash: 0, opSum: 0 }
      this.documents.set(name, document)
    }
    return document
  }
}

function isBefore(one: OfferedWrite, other: OfferedWrite): boolean {
  return one.stamp !== other.stamp ? one.stamp < other.stamp : one.author < other.author
}

/** 32 bits, well mixed: similar texts must not cancel out where hashes are XORed. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
