/** Everything that checking updates of a document needs to know of it: kept while it is open, made from its bytes. */
import { ByteWriter } from '../base/byte-writer.js'
import type { Checked, Known } from './check.js'
import { DeleteSet, readDeleteRanges } from './delete-set.js'
import { Places } from './places.js'
import { ownMistake, Reader } from './reader.js'
import { Roots } from './roots.js'
import { StateVector } from './state-vector.js'
import { StructReader } from './struct.js'
import { deletesOf, indexUpdate, type UpdateIndex } from './update-index.js'

export class KnownState implements Known {
  readonly clocks: StateVector
  readonly deleted: DeleteSet
  readonly places: Places
  readonly roots: Roots

  constructor(clocks = new StateVector(), deleted = new DeleteSet(), places = new Places(), roots = new Roots()) {
    this.clocks = clocks
    this.deleted = deleted
    this.places = places
    this.roots = roots
  }

  /** What a document holds whose whole state `update` is; it was checked before. */
  static of(update: Uint8Array | UpdateIndex): KnownState {
    const index = update instanceof Uint8Array ? indexUpdate(update) : update
    const clocks = new StateVector(index.blocks.map(({ client, clockEnd }) => [client, clockEnd]))
    const deleted = DeleteSet.fromFlat(readDeleteRanges(deletesOf(index)))
    deleted.merge(deletedStructsOf(index))
    return new KnownState(clocks, deleted, Places.of(index), Roots.of(index))
  }

  /** Reads what `encode` wrote. Anything else is our own mistake: storage checks its bytes. */
  static decode(bytes: Uint8Array): KnownState {
    const reader = new Reader(bytes, ownMistake)
    const part = (): Uint8Array => bytes.subarray(reader.sized(), reader.position)
    const known = [StateVector.decode(part()), DeleteSet.decode(part()), Places.decode(part())] as const
    // What was written before roots were counted has none.
    return new KnownState(...known, reader.remaining > 0 ? Roots.decode(part()) : new Roots())
  }

  encode(): Uint8Array {
    const writer = new ByteWriter()
    for (const part of [this.clocks, this.deleted, this.places, this.roots].map((one) => one.encode())) {
      writer.varUint(part.length)
      writer.bytes(part)
    }
    return writer.finish()
  }

  /** Takes in what `checkUpdate` let through. */
  add(checked: Checked): void {
    if (checked.type !== 'new') return
    for (const [client, , to] of checked.clocks) this.clocks.advance(client, to)
    this.deleted.addAll(checked.deletes)
    this.places.addAll(checked.places)
    this.roots.addAll(checked.roots)
  }

  copy(): KnownState {
    return new KnownState(this.clocks.copy(), this.deleted.copy(), this.places.copy(), this.roots.copy())
  }
}

/** GC and deleted structs are deleted whether or not the delete set says so. */
function deletedStructsOf({ bytes, blocks }: UpdateIndex): DeleteSet {
  const flat: number[] = []
  for (const { client, clock, clockEnd, from, hasDeleted } of blocks) {
    if (!hasDeleted) continue
    const reader = new StructReader(bytes, 'checked', from)
    for (let at = clock; at < clockEnd; at = reader.clockEnd) {
      reader.struct(at)
      if (reader.isDeleted) flat.push(client, at, reader.length)
    }
  }
  return DeleteSet.fromFlat(flat)
}
