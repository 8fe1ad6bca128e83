/** The reference cell as a cell under test; with a mutant, wrong in one way. */
import type { CellUnderTest } from '../cell-under-test.js'
import { ReferenceClient } from './client.js'
import { bootCoordinator, COORDINATOR } from './coordinator.js'
import { describeMessage, type Message, type Stored } from './messages.js'
import type { Mutant } from './mutants.js'
import { ReferenceReplica } from './replica.js'

export function referenceCell(mutant?: Mutant): CellUnderTest<Message, Stored> {
  return {
    bootReplica: (machine, setup) => new ReferenceReplica(machine, setup, mutant),
    bootClient: (machine, setup) => new ReferenceClient(machine, setup, mutant),
    services: new Map([[COORDINATOR, bootCoordinator]]),
    hasClaims: true,
    describe: describeMessage,
  }
}
