/** [DU1] What a client was told is durable survives kill -9, at any moment, with no hand at the next start. */
import { afterAll, expect, test } from 'vitest'
import * as Y from 'yjs'
import { PlainClient } from '../support/plain-client.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../support/replica-process.js'

const rounds = Number(process.env['CAUSEWAY_KILLS'] ?? 10)
const documents = 8
const directory = temporaryDirectory()
afterAll(directory.remove)

/** One typist in one document: types as fast as echoes come, and knows how far it was echoed. */
class Typist {
  readonly client: PlainClient
  readonly document: string
  private echoed = 0

  constructor(url: string, document: string) {
    this.document = document
    this.client = new PlainClient(`${url}/y/${document}`)
  }

  /** Clock below which everything of this client came back. */
  get promised(): number {
    for (; this.echoed < this.client.received.length; this.echoed++) {
      const update = this.client.received[this.echoed]
      if (!update) break
      const end = Y.parseUpdateMeta(update).to.get(this.client.doc.clientID)
      if (end !== undefined) this.highest = Math.max(this.highest, end)
    }
    return this.highest
  }
  private highest = 0

  type(): void {
    this.client.text.insert(this.client.text.length, 'abcdefghij'[this.client.text.length % 10] ?? 'x')
  }
}

test(`[DU1] kill -9 at ${rounds} random moments under load: every echoed update is there afterwards`, {
  timeout: 60_000 + rounds * 10_000,
}, async () => {
  const port = await freePort()
  let replica = await ReplicaProcess.start({ port, data: directory.path })
  const owed = new Map<string, Map<number, number>>() // document → client → clock that was promised
  let promises = 0
  for (let round = 0; round < rounds; round++) {
    const typists = Array.from({ length: documents }, (_, index) => new Typist(replica.url, `kill/${index}`))
    await Promise.all(typists.map(({ client }) => client.synced()))
    // Random in how much was promised, so that the kill falls into reads, commits and compactions alike.
    const enough = 50 + Math.floor(Math.random() * 400)
    const pump = setInterval(() => {
      for (const typist of typists) for (let i = 0; i < 5; i++) typist.type()
    }, 1)
    await Promise.race(typists.map((typist) => typist.client.until(() => typist.promised >= enough)))
    await replica.end('SIGKILL')
    clearInterval(pump)
    await Promise.all(typists.map(({ client }) => client.until(() => client.closeCode !== undefined)))
    for (const typist of typists) {
      const clocks = owed.get(typist.document) ?? new Map<number, number>()
      clocks.set(typist.client.doc.clientID, typist.promised)
      owed.set(typist.document, clocks)
      promises += typist.promised
      typist.client.close()
    }
    replica = await ReplicaProcess.start({ port, data: directory.path })
    for (const [document, clocks] of owed) {
      const reader = new PlainClient(`${replica.url}/y/${document}`)
      await reader.synced()
      const has = Y.decodeStateVector(Y.encodeStateVector(reader.doc))
      for (const [client, clock] of clocks) expect(has.get(client) ?? 0).toBeGreaterThanOrEqual(clock)
      expect(reader.doc.store.pendingStructs).toBeNull()
      reader.close()
    }
  }
  expect(promises).toBeGreaterThan(rounds * 50)
  expect(await replica.end()).toBe(0)
})
