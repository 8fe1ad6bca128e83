/**
 * What clients do: small writes to few documents, reads of several at all levels, claims now and then where there are
 * any. Few documents and
 * many sessions, so that almost every read shows writes of others. Drawn from a random source of its own: what a cell
 * does, right or wrong, does not change what it is asked.
 */
import type { Random } from '../../shared/base/random.js'
import type { Level, Request } from './history.js'
import type { Stage } from './stage.js'

const DOCUMENTS = ['x', 'y', 'z', 'u', 'v']
const REGISTERS_PER_DOCUMENT = 2
/** New keys all the time: a claim is interesting while its past is still on its way. */
const KEYS = 2
const KEYS_LAST_MS = 800
const THINK_MS = [60, 560] as const
/** How often a client loses its connection before it asks, and goes on at another replica. */
const HOP_CHANCE = 0.15
const DEADLINE_MS = 2_000
/** A client with so many unsaved writes makes no more: it would only try its disk. */
const MOST_UNSAVED = 12

export class Workload<Message, Stored> {
  private readonly stage: Stage<Message, Stored>
  private readonly random: Random
  private readonly endsAtMs: number
  private clientCount = 0
  private writeCount = 0

  /** Begins with so many clients, who stop to ask at `endsAtMs`. */
  constructor(stage: Stage<Message, Stored>, random: Random, clients: number, endsAtMs: number) {
    this.stage = stage
    this.random = random
    this.endsAtMs = endsAtMs
    for (let count = 0; count < clients; count++) this.addClient()
  }

  addClient(): void {
    const name = `s${++this.clientCount}`
    this.stage.addClient(name)
    this.think(name)
  }

  private think(client: string): void {
    const { world } = this.stage
    world.at(world.nowMs + this.random.between(...THINK_MS), () => {
      if (world.nowMs > this.endsAtMs || !this.stage.clients.includes(client)) return
      if (this.random.chance(HOP_CHANCE)) for (const replica of this.stage.members) world.network.break(client, replica)
      const open = [...this.stage.openCalls(client)]
      const isReading = open.some(({ type }) => type !== 'write')
      const request = this.nextRequest(open.length < MOST_UNSAVED)
      if (request && !(isReading && request.type !== 'write')) this.stage.submit(client, request, DEADLINE_MS)
      this.think(client)
    })
  }

  private nextRequest(mayWrite: boolean): Request | undefined {
    const kind = this.random.below(100)
    if (this.stage.hasClaims && kind < 5) return { type: 'claim', key: this.key() }
    if (this.stage.hasClaims && kind < 12) return { type: 'read-claim', key: this.key() }
    if (kind < 56) return { type: 'read', documents: this.documents(), level: this.level() }
    if (!mayWrite) return undefined
    const documents = this.documents()
    const register = `${this.random.pick(documents)}#${this.random.below(REGISTERS_PER_DOCUMENT)}`
    const registers = this.random.chance(0.4) ? [register] : []
    const concern = this.random.chance(0.5) ? 'majority' : 'local'
    return { type: 'write', id: ++this.writeCount, documents, registers, concern }
  }

  private documents(): string[] {
    const count = this.random.pick([1, 1, 2, 3])
    const chosen = new Set<string>()
    while (chosen.size < count) chosen.add(this.random.pick(DOCUMENTS))
    return [...chosen]
  }

  private level(): Level {
    const kind = this.random.below(100)
    if (kind < 10) return 'eventual'
    if (kind < 70) return 'session'
    return kind < 85 ? 'majority' : 'fresh'
  }

  private key(): string {
    return `key-${Math.floor(this.stage.world.nowMs / KEYS_LAST_MS)}-${this.random.below(KEYS)}`
  }
}
