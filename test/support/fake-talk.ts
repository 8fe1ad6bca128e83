/** Replicas that tell each other things, in one process: what is told waits until the test delivers it, or loses it. */
import type { PeerTalk, Topic } from '../../server/replica/cell.js'

export interface Told {
  readonly from: string
  readonly to: string
  readonly topic: Topic
  readonly document: string
  readonly payload: Uint8Array
}

const IN_FLIGHT_LIMIT = 10_000

type Listener = (from: string, document: string, payload: Uint8Array) => void

class Talk implements PeerTalk {
  readonly listeners = new Map<Topic, Listener>()
  readonly links = new Set<string>()
  readonly whenLinked: ((peer: string) => void)[] = []
  readonly whenUnlinked: ((peer: string) => void)[] = []
  private readonly name: string
  private readonly take: (told: Told) => void

  constructor(name: string, take: (told: Told) => void) {
    this.name = name
    this.take = take
  }

  get linked(): readonly string[] {
    return [...this.links]
  }

  tell(topic: Topic, document: string, payload: Uint8Array, to?: string): void {
    for (const peer of to === undefined ? this.links : [to]) {
      if (this.links.has(peer)) this.take({ from: this.name, to: peer, topic, document, payload: payload.slice() })
    }
  }

  onTold(topic: Topic, listener: Listener): void {
    this.listeners.set(topic, listener)
  }

  onLinked(listener: (peer: string) => void): void {
    this.whenLinked.push(listener)
  }

  onUnlinked(listener: (peer: string) => void): void {
    this.whenUnlinked.push(listener)
  }

  async ask(): Promise<Uint8Array> {
    throw new Error('nobody asks here')
  }

  onAsked(): void {}
}

export class FakeTalk {
  /** What is on its way, oldest first. */
  readonly inFlight: Told[] = []
  private readonly talks = new Map<string, Talk>()
  private readonly afterTold: (cell: FakeTalk) => void

  /** `afterTold` runs when something was told: to have it delivered by itself. */
  constructor(names: readonly string[], afterTold: (cell: FakeTalk) => void = () => {}) {
    this.afterTold = afterTold
    for (const name of names) this.talks.set(name, new Talk(name, (told) => this.take(told)))
    for (const one of names) for (const other of names) if (one < other) this.link(one, other)
  }

  of(name: string): PeerTalk {
    return this.talks.get(name)!
  }

  link(one: string, other: string): void {
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const) {
      const talk = this.talks.get(from)!
      if (talk.links.has(to)) continue
      talk.links.add(to)
      for (const listener of talk.whenLinked) listener(to)
    }
  }

  /** What is on its way between the two is lost. */
  unlink(one: string, other: string): void {
    const isBetween = ({ from, to }: Told) => (from === one && to === other) || (from === other && to === one)
    this.inFlight.splice(0, this.inFlight.length, ...this.inFlight.filter((told) => !isBetween(told)))
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const) {
      const talk = this.talks.get(from)!
      if (talk.links.delete(to)) for (const listener of talk.whenUnlinked) listener(to)
    }
  }

  /** Delivers what stands at `index` in `inFlight`; false where nothing does. */
  deliver(index = 0): boolean {
    const [told] = this.inFlight.splice(index, 1)
    if (told === undefined) return false
    this.talks.get(told.to)!.listeners.get(told.topic)?.(told.from, told.document, told.payload)
    return true
  }

  lose(index: number): void {
    this.inFlight.splice(index, 1)
  }

  private take(told: Told): void {
    if (this.inFlight.length >= IN_FLIGHT_LIMIT) throw new Error('what is told grows without end')
    this.inFlight.push(told)
    this.afterTold(this)
  }
}
