/**
 * The clients of one document on the stock endpoints: who is present, and what they tell each other without storing it.
 * What has changed in a turn leaves as one update, built once for each wire form.
 */
import { encodeYMessage } from '../../shared/protocol/sync.js'
import { Presence, type PresenceLimits, type PresenceOwner, type PresenceStamp } from './presence.js'
import type { Turn, TurnEnd } from './turn.js'
import { frameMessage } from './websocket-frame.js'

/** How a client's frames look: what stands before each message, and under which name equal frames are shared. */
export interface WireForm {
  /** Absent where the form is one client's own, so that keeping its frames would help nobody. */
  readonly key: string | undefined
  readonly prefix: Uint8Array
}

export interface AudienceMember {
  readonly form: WireForm
  readonly presenceOwner: PresenceOwner
  send(frames: Uint8Array): void
  /** A message of an application, which stock clients of one of the two protocols understand. */
  stateless(payload: string): void
}

export class Audience implements TurnEnd {
  readonly document: string
  private readonly presence: Presence
  private readonly turn: Turn
  private readonly members = new Map<PresenceOwner, AudienceMember>()
  private isInTurn = false

  constructor(document: string, limits: PresenceLimits, turn: Turn) {
    this.document = document
    this.presence = new Presence(limits)
    this.turn = turn
  }

  get size(): number {
    return this.members.size
  }

  /** Gives out the number under which a member is to `join`. */
  nextOwner(): PresenceOwner {
    return this.presence.join()
  }

  join(member: AudienceMember): void {
    this.members.set(member.presenceOwner, member)
  }

  leave(member: AudienceMember): void {
    if (!this.members.delete(member.presenceOwner)) return
    this.presence.leave(member.presenceOwner)
    this.changed()
  }

  /** Takes an awareness update; returns how many entries a limit refused. Throws `protocol/bad-message`. */
  receive(member: AudienceMember, stamp: PresenceStamp, update: Uint8Array, nowMs: number): number {
    try {
      return this.presence.receive(member.presenceOwner, stamp, update, nowMs)
    } finally {
      this.changed()
    }
  }

  /** The frame that shows a member who is present; absent where nobody is. */
  presentFrame({ form }: AudienceMember): Buffer | undefined {
    const update = this.presence.states()
    return update === undefined ? undefined : awarenessFrame(form, update)
  }

  /** Tells everybody but its sender. */
  tell(sender: AudienceMember, payload: string): void {
    for (const member of this.members.values()) if (member !== sender) member.stateless(payload)
  }

  tick(nowMs: number): void {
    this.presence.tick(nowMs)
    this.changed()
  }

  endOfTurn(): void {
    this.isInTurn = false
    // A nudge goes first: over it a client steps beyond the clock under which it is then shown its own state.
    for (const [owner, update] of this.presence.takeNudges()) {
      const member = this.members.get(owner)
      member?.send(awarenessFrame(member.form, update))
    }
    const update = this.presence.takeChanges()
    if (update === undefined) return
    const frames = new Map<string, Buffer>()
    for (const member of this.members.values()) {
      const { form } = member
      let frame = form.key === undefined ? undefined : frames.get(form.key)
      if (frame === undefined) {
        frame = awarenessFrame(form, update)
        if (form.key !== undefined) frames.set(form.key, frame)
      }
      member.send(frame)
    }
  }

  private changed(): void {
    if (this.isInTurn || this.presence.isAtRest) return
    this.isInTurn = true
    this.turn.atEnd(this)
  }
}

function awarenessFrame(form: WireForm, update: Uint8Array): Buffer {
  return frameMessage(form.prefix, encodeYMessage({ type: 'awareness', update }))
}

/** The audiences of all documents that have one. */
export class Audiences {
  private readonly limits: PresenceLimits
  private readonly turn: Turn
  private readonly byDocument = new Map<string, Audience>()

  constructor(limits: PresenceLimits, turn: Turn) {
    this.limits = limits
    this.turn = turn
  }

  get size(): number {
    return this.byDocument.size
  }

  of(document: string): Audience {
    let audience = this.byDocument.get(document)
    if (audience === undefined) {
      audience = new Audience(document, this.limits, this.turn)
      this.byDocument.set(document, audience)
    }
    return audience
  }

  leave(audience: Audience, member: AudienceMember): void {
    audience.leave(member)
    if (audience.size === 0) this.byDocument.delete(audience.document)
  }

  tick(nowMs: number): void {
    for (const audience of this.byDocument.values()) audience.tick(nowMs)
  }
}
