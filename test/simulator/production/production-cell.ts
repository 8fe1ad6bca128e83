/** The cell that real processes make up, as a cell under test; with a mutant, wrong in one way. */
import type { CellUnderTest } from '../cell-under-test.js'
import { ProductionClient } from './client.js'
import { describeMessage, type Message, type Stored } from './messages.js'
import type { Mutant } from './mutants.js'
import { type Images, ProductionReplica } from './replica.js'

export function productionCell(mutant?: Mutant): CellUnderTest<Message, Stored> {
  const images: Images = new Map()
  return {
    bootReplica: (machine, setup) => new ProductionReplica(machine, setup, images, mutant),
    bootClient: (machine, setup) => new ProductionClient(machine, setup),
    services: new Map(),
    hasClaims: false,
    describe: describeMessage,
  }
}
