/** What HTTP asks of the document workers, in its terms. */
import { randomInt } from 'node:crypto'
import { parsePatchOperations } from '../document/patch-operation.js'
import type { DocumentWorkers } from '../document/pool.js'
import type { DocumentWork } from '../http/documents.js'

/** Yjs client ids are random 32-bit numbers; each patch is a client of its own. */
const CLIENT_IDS = 2 ** 32

export function createDocumentWork(workers: DocumentWorkers): DocumentWork {
  return {
    view: (document, types) => workers.view(document, types),
    diff: (document, stateVector) => workers.diff(document, stateVector),
    patch: async (document, operations) => {
      const { update } = await workers.patch(document, parsePatchOperations(operations), randomInt(1, CLIENT_IDS))
      return update
    },
  }
}
