/**
 * How deep shared types of one update lie inside one another. Readers delete a type by deleting what is in it, each
 * level on the stack of the one above: a few thousand levels are a document that nobody can delete from any more.
 */
import { badUpdate } from './reader.js'
import { NONE, type StructReader } from './struct.js'
import { type ClientBlock, findBlock } from './update-index.js'

export class TypeNesting {
  private readonly blocks: readonly ClientBlock[]
  private readonly limit: number
  /** For each block the clocks from which on a depth holds, and the depth, in turn: neighbours mostly share it. */
  private readonly levels: number[][]

  constructor(blocks: readonly ClientBlock[], limit: number) {
    this.blocks = blocks
    this.limit = limit
    this.levels = blocks.map(() => [])
  }

  /** Takes in the current struct of a block; what it refers to inside the update was taken in before. */
  place(block: number, reader: StructReader): void {
    // An item lies where its neighbours lie. Honest ones agree; of others the deeper one counts.
    let depth = Math.max(
      this.depthOf(reader.originClient, reader.originClock),
      this.depthOf(reader.rightClient, reader.rightClock),
    )
    if (reader.parentClient !== NONE) depth = 1 + this.depthOf(reader.parentClient, reader.parentClock)
    if (depth > this.limit) throw badUpdate('types-too-deep', reader.from)
    const levels = this.levels[block]!
    if (levels.at(-1) !== depth) levels.push(reader.clock, depth)
  }

  /** Types of this update around an id: 0 where the id is not in it. */
  private depthOf(client: number, clock: number): number {
    const at = client === NONE ? -1 : findBlock(this.blocks, client)
    if (at < 0 || clock < this.blocks[at]!.clock) return 0
    const levels = this.levels[at]!
    let low = 0
    let high = levels.length / 2
    while (low < high) {
      const middle = (low + high) >>> 1
      if (levels[2 * middle]! > clock) high = middle
      else low = middle + 1
    }
    return low === 0 ? 0 : levels[2 * low - 1]!
  }
}
