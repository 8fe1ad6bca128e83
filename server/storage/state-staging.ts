/** Chunks of a peer's state, set aside in a table of their own until the last one is there. */
import type Database from 'better-sqlite3'
import { PEER_LIMITS } from '../../shared/protocol/peer.js'
import { refuse } from './state-format.js'

export class StateStaging {
  private readonly database: Database.Database
  private readonly insert: Database.Statement<[number, Uint8Array]>
  private readonly select: Database.Statement<[number], Uint8Array>
  private readonly count: Database.Statement<[], number>

  constructor(database: Database.Database) {
    this.database = database
    this.insert = database.prepare('INSERT OR REPLACE INTO state_chunks VALUES (?, ?)')
    this.select = database.prepare<[number], Uint8Array>('SELECT bytes FROM state_chunks WHERE id = ?').pluck()
    this.count = database.prepare<[], number>('SELECT COALESCE(MAX(id) + 1, 0) FROM state_chunks').pluck()
  }

  get isEmpty(): boolean {
    return this.count.get() === 0
  }

  /** In order, each as often as they come. Throws `request/invalid`. */
  store(index: number, bytes: Uint8Array): void {
    const next = this.count.get()!
    if (!(Number.isSafeInteger(index) && index >= 0 && index <= next)) refuse(`chunk ${index} after ${next}`)
    if (bytes.length > PEER_LIMITS.chunkBytes) refuse(`a chunk of ${bytes.length} bytes`)
    this.insert.run(index, bytes)
  }

  clear(): void {
    this.database.exec('DELETE FROM state_chunks')
  }

  *chunks(): Generator<Uint8Array> {
    for (let index = 0; ; index++) {
      const bytes = this.select.get(index)
      if (!bytes) return
      yield bytes
    }
  }
}
