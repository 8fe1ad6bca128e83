/**
 * Links between nodes and connections over them. A connection is what TCP gives: its data arrive in order, once, some
 * time; what is on the way when it ends arrives up to some point. Different connections overtake one another. A blocked
 * link delivers nothing and tells nobody: data wait in it (TCP repeats them), until it opens or the connection breaks.
 * Posts are what UDP gives.
 *
 * A link has a direction, so that partitions can be one-way.
 */
import { assert } from '../base/assert.js'
import type { Agenda } from './agenda.js'
import type { Choices } from './choices.js'
import type { ConnectionId, Input } from './program.js'

export interface LinkSettings {
  /** Least and most milliseconds on the way. */
  latencyMs: readonly [least: number, most: number]
  /** Least milliseconds between two messages of one connection: a slow link. */
  spacingMs: number
  postLoss: number
  postDuplication: number
}

interface Link extends LinkSettings {
  blocked: boolean
}

/** The nodes, as the network sees them. A life is one process from start to end, numbered over all nodes. */
export interface Lives<Message> {
  lifeOf(node: string): number | undefined
  /** Hands an input to that life, if it still is. */
  deliver(node: string, life: number, input: Input<Message>): void
}

type Item<Message> =
  | { readonly type: 'syn' | 'syn-ack' | 'end'; atMs: number }
  /** The end's own conclusion that the connection is dead: needs no link. */
  | { readonly type: 'verdict'; atMs: number }
  | { readonly type: 'data'; atMs: number; readonly message: Message }

interface End<Message> {
  readonly node: string
  life: number | undefined
  open: boolean
  /** What travels to this end, in order of arrival, and over which link. */
  readonly link: Link
  incoming: Item<Message>[]
  /** Whether the arrival of the first item is planned. */
  planned: boolean
}

interface Connection<Message> {
  readonly id: ConnectionId
  readonly ends: readonly [opener: End<Message>, acceptor: End<Message>]
  /** Whether the opener knows how its opening ended. */
  settled: boolean
  broken: boolean
}

const CONNECT_TIMEOUT_MS = 3_000
/** After a power cut at the other end: heartbeats go unanswered. */
const SILENCE_MS = 5_000

export class Network<Message> {
  private readonly agenda: Agenda
  private readonly choices: Choices
  private readonly lives: Lives<Message>
  private readonly defaults: LinkSettings
  private readonly links = new Map<string, Link>()
  private readonly connections = new Map<ConnectionId, Connection<Message>>()
  private connectionCount = 0

  constructor(agenda: Agenda, choices: Choices, lives: Lives<Message>, defaults: LinkSettings) {
    this.agenda = agenda
    this.choices = choices
    this.lives = lives
    this.defaults = defaults
  }

  // What happens to links

  /** Changes the settings of one direction; returns how to put the former ones back. */
  tune(from: string, to: string, settings: Partial<LinkSettings>): () => void {
    const link = this.link(from, to)
    const { latencyMs, spacingMs, postLoss, postDuplication } = link
    Object.assign(link, settings)
    return () => Object.assign(link, { latencyMs, spacingMs, postLoss, postDuplication })
  }

  /** Nothing passes in this direction until `unblock`. */
  block(from: string, to: string): void {
    this.link(from, to).blocked = true
  }

  unblock(from: string, to: string): void {
    const link = this.link(from, to)
    if (!link.blocked) return
    link.blocked = false
    for (const connection of this.connections.values()) {
      for (const end of connection.ends) {
        if (end.link !== link || end.incoming.length === 0) continue
        let earliestMs = this.agenda.nowMs + this.choices.between(...link.latencyMs)
        for (const item of end.incoming) {
          item.atMs = Math.max(item.atMs, earliestMs)
          earliestMs = item.atMs
        }
        if (!end.planned) this.plan(connection, end)
      }
    }
  }

  /** Ends all connections between two nodes; of what is on the way some may still arrive. */
  break(one: string, other: string): void {
    for (const connection of [...this.connections.values()]) {
      const [opener, acceptor] = connection.ends
      const between = [opener.node, acceptor.node]
      if (between.includes(one) && between.includes(other)) this.breakConnection(connection)
    }
  }

  // What processes do

  open(from: string, life: number, to: string): ConnectionId {
    assert(from !== to, 'a node does not connect to itself')
    const id = ++this.connectionCount as ConnectionId
    const end = (node: string, link: Link, ofLife?: number): End<Message> => {
      return { node, life: ofLife, open: ofLife !== undefined, link, incoming: [], planned: false }
    }
    const connection: Connection<Message> = {
      id,
      ends: [end(from, this.link(to, from), life), end(to, this.link(from, to))],
      settled: false,
      broken: false,
    }
    this.connections.set(id, connection)
    this.transmit(connection, connection.ends[1], { type: 'syn', atMs: 0 })
    this.agenda.at(this.agenda.nowMs + CONNECT_TIMEOUT_MS, () => {
      if (!connection.settled && !connection.broken) this.breakConnection(connection)
    })
    return id
  }

  send(from: string, life: number, id: ConnectionId, message: Message): void {
    const connection = this.connections.get(id)
    if (!connection) return
    const [own, other] = endsOf(connection, from)
    if (own.open && own.life === life) this.transmit(connection, other, { type: 'data', atMs: 0, message })
  }

  close(from: string, life: number, id: ConnectionId): void {
    const connection = this.connections.get(id)
    if (!connection) return
    const [own, other] = endsOf(connection, from)
    if (!own.open || own.life !== life) return
    this.shut(connection, own)
    this.transmit(connection, other, { type: 'end', atMs: 0 })
  }

  post(from: string, to: string, message: Message): void {
    const link = this.link(from, to)
    const copies = 1 + (this.choices.chance(link.postDuplication) ? 1 : 0)
    for (let copy = 0; copy < copies; copy++) {
      if (link.blocked || this.choices.chance(link.postLoss)) continue
      this.agenda.at(this.agenda.nowMs + this.choices.between(...link.latencyMs), () => {
        const life = this.lives.lifeOf(to)
        if (life !== undefined && !link.blocked) this.lives.deliver(to, life, { type: 'posted', peer: from, message })
      })
    }
  }

  /** A process is gone. Killed, its system closes what it had open; without power nobody says anything. */
  lifeEnded(node: string, life: number, withPower: boolean): void {
    for (const connection of [...this.connections.values()]) {
      for (const own of connection.ends) {
        if (own.node !== node || own.life !== life || !own.open) continue
        const other = endsOf(connection, node)[1]
        this.shut(connection, own)
        this.cutShort(other)
        if (withPower) this.transmit(connection, other, { type: 'end', atMs: 0 })
        else this.conclude(connection, other, SILENCE_MS)
      }
    }
  }

  // How it travels

  private link(from: string, to: string): Link {
    const key = `${from}>${to}`
    let link = this.links.get(key)
    if (!link) {
      link = { ...this.defaults, blocked: false }
      this.links.set(key, link)
    }
    return link
  }

  private transmit(connection: Connection<Message>, to: End<Message>, item: Item<Message>): void {
    if (connection.broken) return
    const { latencyMs, spacingMs } = to.link
    const earliestMs = (to.incoming.at(-1)?.atMs ?? 0) + spacingMs
    item.atMs = Math.max(earliestMs, this.agenda.nowMs + this.choices.between(...latencyMs))
    this.enqueue(connection, to, item)
  }

  private enqueue(connection: Connection<Message>, to: End<Message>, item: Item<Message>): void {
    to.incoming.push(item)
    if (!to.planned) this.plan(connection, to)
  }

  /** One arrival is planned at a time: those of one connection are no choice of the agenda. */
  private plan(connection: Connection<Message>, end: End<Message>): void {
    const first = end.incoming[0]
    if (!first) return
    end.planned = true
    this.agenda.at(first.atMs, () => {
      end.planned = false
      const next = end.incoming[0]
      if (!next) return
      const wasPutOff = next.atMs > this.agenda.nowMs
      // A blocked link holds it up: `unblock` plans it again.
      if (!wasPutOff && end.link.blocked && next.type !== 'verdict') return
      if (!wasPutOff) end.incoming.shift()
      this.plan(connection, end)
      if (!wasPutOff) this.arrive(connection, end, next)
    })
  }

  private arrive(connection: Connection<Message>, end: End<Message>, item: Item<Message>): void {
    const { id } = connection
    const peer = endsOf(connection, end.node)[1].node
    switch (item.type) {
      case 'syn':
        this.accept(connection, end, peer)
        break
      case 'syn-ack':
        connection.settled = true
        this.deliver(end, { type: 'opened', connection: id, peer })
        break
      case 'data':
        this.deliver(end, { type: 'received', connection: id, peer, message: item.message })
        break
      case 'end':
      case 'verdict': {
        const wasOpen = end.open
        this.shut(connection, end)
        if (wasOpen) this.lives.deliver(end.node, end.life!, { type: 'closed', connection: id, peer })
      }
    }
  }

  private accept(connection: Connection<Message>, end: End<Message>, peer: string): void {
    const [opener] = connection.ends
    end.life = this.lives.lifeOf(end.node)
    end.open = end.life !== undefined
    this.transmit(connection, opener, { type: end.open ? 'syn-ack' : 'end', atMs: 0 })
    this.deliver(end, { type: 'accepted', connection: connection.id, peer })
  }

  private deliver(end: End<Message>, input: Input<Message>): void {
    if (end.open) this.lives.deliver(end.node, end.life!, input)
  }

  private breakConnection(connection: Connection<Message>): void {
    for (const end of connection.ends) {
      this.cutShort(end)
      this.conclude(connection, end, this.choices.between(...end.link.latencyMs))
    }
    connection.broken = true
  }

  /** Of what travels to `end`, only the first few still arrive; nothing through a blocked link. */
  private cutShort(end: End<Message>): void {
    const kept = end.link.blocked ? 0 : this.choices.between(0, end.incoming.length)
    end.incoming.length = kept
  }

  private conclude(connection: Connection<Message>, end: End<Message>, afterMs: number): void {
    const earliestMs = end.incoming.at(-1)?.atMs ?? 0
    this.enqueue(connection, end, { type: 'verdict', atMs: Math.max(earliestMs, this.agenda.nowMs + afterMs) })
  }

  private shut(connection: Connection<Message>, end: End<Message>): void {
    end.open = false
    end.incoming = []
    connection.settled = true
    if (connection.ends.every(({ open }) => !open)) this.connections.delete(connection.id)
  }
}

function endsOf<Message>(connection: Connection<Message>, node: string): [own: End<Message>, other: End<Message>] {
  const [opener, acceptor] = connection.ends
  return opener.node === node ? [opener, acceptor] : [acceptor, opener]
}
