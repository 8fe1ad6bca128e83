/**
 * The clients of one document on the stock endpoints: who is present, and what they tell each other without storing it.
 * What has changed in a turn leaves as one update, built once for each wire form, and as one message to peers.
 */
import { encodeHocuspocusBody } from '../../shared/protocol/hocuspocus.js'
import type { ClientClock, ToldPresence } from '../../shared/protocol/peer-presence.js'
import { encodeYMessage } from '../../shared/protocol/sync.js'
import type { TransportMetrics } from './observer.js'
import type { LocalAudience, PeerAudiences } from './peer-audiences.js'
import { Presence, type PresenceLimits, type PresenceOwner, type PresenceStamp } from './presence.js'
import type { Turn, TurnEnd } from './turn.js'
import { frameMessage } from './websocket-frame.js'

/** How a client's frames look: what stands before each message, and under which name equal frames are shared. */
export interface WireForm {
  /** Absent where the form is one client's own, so that keeping its frames would help nobody. */
  readonly key: string | undefined
  readonly prefix: Uint8Array
  /** Whether the protocol has messages of applications. */
  readonly hasStateless: boolean
}

export interface AudienceMember {
  readonly form: WireForm
  readonly presenceOwner: PresenceOwner
  send(frames: Uint8Array): void
}

/** What all audiences of a transport share. */
export interface AudienceOptions {
  readonly limits: PresenceLimits
  readonly turn: Turn
  readonly metrics: TransportMetrics
  /** Absent where this replica has no peers. */
  readonly peers?: PeerAudiences | undefined
}

export class Audience implements TurnEnd, LocalAudience {
  readonly document: string
  /** Absent until somebody shows presence: most documents of bots and servers never see any. */
  private presence: Presence | undefined
  private readonly options: AudienceOptions
  private readonly members = new Map<PresenceOwner, AudienceMember>()
  /** As long as there is no presence, which counts on from here. */
  private newestOwner: PresenceOwner = 0
  private isInTurn = false

  constructor(document: string, options: AudienceOptions) {
    this.document = document
    this.options = options
  }

  get size(): number {
    return this.members.size
  }

  /** Gives out the number under which a member is to `join`. */
  nextOwner(): PresenceOwner {
    return this.presence === undefined ? ++this.newestOwner : this.presence.join()
  }

  join(member: AudienceMember): void {
    if (this.members.size === 0) this.options.peers?.opened(this)
    this.members.set(member.presenceOwner, member)
  }

  leave(member: AudienceMember): void {
    if (!this.members.delete(member.presenceOwner)) return
    this.presence?.leave(member.presenceOwner)
    if (this.members.size === 0) this.ended()
    else this.changed()
  }

  /** Takes an awareness update; returns how many entries a limit refused. Throws `protocol/bad-message`. */
  receive(member: AudienceMember, stamp: PresenceStamp, update: Uint8Array, nowMs: number): number {
    try {
      return this.shown().receive(member.presenceOwner, stamp, update, nowMs)
    } finally {
      this.changed()
    }
  }

  /** The client id that a member announced as its own. */
  ownIdOf({ presenceOwner }: AudienceMember): number | undefined {
    return this.presence?.ownIdOf(presenceOwner)
  }

  /** The frame that shows a member who is present; absent where nobody is. */
  presentFrame({ form }: AudienceMember): Buffer | undefined {
    const update = this.presence?.states()
    return update === undefined ? undefined : frameMessage(form.prefix, awareness(update))
  }

  /** Tells everybody but its sender, who has means to hear it. */
  tell(sender: AudienceMember, payload: string): void {
    const message = encodeHocuspocusBody({ type: 'stateless', payload })
    this.broadcast(message, (member) => member !== sender && member.form.hasStateless)
    this.options.peers?.tellStateless(this, payload)
  }

  tick(nowMs: number): void {
    if (this.presence === undefined) return
    this.presence.tick(nowMs)
    this.changed()
  }

  endOfTurn(): void {
    this.isInTurn = false
    if (this.presence === undefined) return
    // A nudge goes first: over it a client steps beyond the clock under which it is then shown its own state.
    for (const [owner, update] of this.presence.takeNudges()) {
      const member = this.members.get(owner)
      member?.send(frameMessage(member.form.prefix, awareness(update)))
    }
    const update = this.presence.takeChanges()
    if (update !== undefined) this.broadcast(awareness(update), () => true)
    this.tellPeers()
  }

  // --- from other replicas

  tellings(stamp: number): readonly ToldPresence[] {
    return this.presence?.tellings(stamp) ?? []
  }

  takeTellings(stamp: number): readonly ToldPresence[] {
    return this.presence?.takeTellings(stamp) ?? []
  }

  hear(peer: string, stamp: number, entries: readonly ToldPresence[], nowMs: number): void {
    const refused = this.shown().hear(peer, stamp, entries, nowMs)
    if (refused > 0) this.options.metrics.count('presence-refused', refused)
    this.changed()
  }

  forget(peer: string, stamp?: number, except?: ReadonlySet<number>): void {
    this.presence?.forget(peer, stamp, except)
    this.changed()
  }

  hearPassed(clocks: readonly ClientClock[]): void {
    this.presence?.hearPassed(clocks)
    this.changed()
  }

  /** Tells everybody here, who has means to hear it. */
  hearStateless(payload: string): void {
    this.broadcast(encodeHocuspocusBody({ type: 'stateless', payload }), ({ form }) => form.hasStateless)
  }

  private shown(): Presence {
    this.presence ??= new Presence(this.options.limits, this.newestOwner, this.options.peers?.room)
    return this.presence
  }

  private tellPeers(): void {
    const { peers } = this.options
    if (peers === undefined || this.presence === undefined) return
    peers.tellChanges(this)
    peers.tellPassed(this, this.presence.takePassed())
  }

  /** Peers hear at once that nobody is left: they hear it before whoever comes next is told. */
  private ended(): void {
    this.tellPeers()
    this.options.peers?.closed(this)
    this.presence?.release()
  }

  private broadcast(message: Uint8Array, isFor: (member: AudienceMember) => boolean): void {
    const frames = new Map<string, Buffer>()
    for (const member of this.members.values()) {
      if (!isFor(member)) continue
      const { form } = member
      let frame = form.key === undefined ? undefined : frames.get(form.key)
      if (frame === undefined) {
        frame = frameMessage(form.prefix, message)
        if (form.key !== undefined) frames.set(form.key, frame)
      }
      member.send(frame)
    }
  }

  private changed(): void {
    if (this.isInTurn || this.presence === undefined || this.presence.isAtRest) return
    this.isInTurn = true
    this.options.turn.atEnd(this)
  }
}

function awareness(update: Uint8Array): Uint8Array {
  return encodeYMessage({ type: 'awareness', update })
}

/** The audiences of all documents that have one. */
export class Audiences {
  private readonly options: AudienceOptions
  private readonly byDocument = new Map<string, Audience>()

  constructor(options: AudienceOptions) {
    this.options = options
  }

  get size(): number {
    return this.byDocument.size
  }

  of(document: string): Audience {
    let audience = this.byDocument.get(document)
    if (audience === undefined) {
      audience = new Audience(document, this.options)
      this.byDocument.set(document, audience)
    }
    return audience
  }

  leave(audience: Audience, member: AudienceMember): void {
    audience.leave(member)
    if (audience.size === 0) this.byDocument.delete(audience.document)
  }

  tick(nowMs: number): void {
    this.options.peers?.tick(nowMs)
    for (const audience of this.byDocument.values()) audience.tick(nowMs)
  }
}
