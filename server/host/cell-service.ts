/**
 * The cell as HTTP, transports and operators see it: sessions, how far writes have come, the members. What is behind it
 * is the host of this replica's membership, and the desk where requests wait.
 */
import type { WriteConcern } from '../../shared/causal/majority-cut.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { SessionKeys } from '../../shared/session/token.js'
import { createSessionKeys } from '../access/session-keys.js'
import type { Cell, CellStatus, Freshness, Progress } from '../replica/cell.js'
import type { CellHost } from './cell-host.js'
import type { Metrics } from './metrics.js'
import { SessionDesk } from './session-desk.js'

/** Probes of which the answers are listened to: each costs a message per peer, and an old one has no reader any more. */
const PROBES_LIMIT = 64

export class CellService implements Cell, Freshness {
  readonly sessions: SessionDesk
  private readonly host: CellHost
  private readonly probes = new Map<number, (member: string, durable: VersionVector) => void>()
  /** Alarms of others than the membership. */
  private readonly moreAlarms: () => CellStatus['alarms']

  constructor(options: {
    readonly host: CellHost
    readonly secret: string | undefined
    readonly metrics: Metrics
    readonly alarms: () => CellStatus['alarms']
  }) {
    const { host, secret, metrics } = options
    this.host = host
    this.moreAlarms = options.alarms
    this.sessions = new SessionDesk({
      view: () => host.view,
      keys: keysOf(host, secret),
      members: () => host.size,
      askVectors: (heard) => this.askVectors(heard),
      progressOf: (seen) => host.progressOf(seen),
      isReached: (seen, concern) => host.isReached(seen, concern),
      waited: (cause, seconds) => metrics.waitSeconds[cause].observe(seconds),
    })
    host.onVector(({ peer, probe, vector, standing }) => {
      if (standing === 'active') this.probes.get(probe)?.(peer, vector)
    })
    host.onChanged(() => this.changed())
  }

  get size(): number {
    return this.host.size
  }

  get hasQuorum(): boolean {
    return this.host.hasQuorum
  }

  get durable(): VersionVector {
    return this.host.durable
  }

  status(): CellStatus {
    const status = this.host.status()
    return { ...status, alarms: [...status.alarms, ...this.moreAlarms()] }
  }

  forceRecover(): void {
    this.host.forceRecover()
  }

  removeMember(name: string): void {
    this.host.removeMember(name)
  }

  async reached(
    seen: VersionVector,
    concern: WriteConcern,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Progress> {
    const reached = this.sessions.reached(seen, concern, timeoutMs, signal)
    this.tellWaiting()
    return await reached
  }

  caughtUp(timeoutMs: number): Promise<number> | undefined {
    return this.host.caughtUp(timeoutMs)
  }

  /** To be called a few times a second: who waits makes peers tell at once what they have. */
  tick(): void {
    this.tellWaiting()
  }

  private changed(): void {
    this.sessions.changed()
    this.tellWaiting()
  }

  private tellWaiting(): void {
    this.host.sessionsWait(this.sessions.waiting > 0)
  }

  private askVectors(heard: (member: string, durable: VersionVector) => void): void {
    const { host, probes } = this
    if (host.member.countsInQuorums) heard(host.name, host.durable)
    if (host.size === 1) return
    probes.set(host.probe(), heard)
    if (probes.size > PROBES_LIMIT) probes.delete(probes.keys().next().value!)
  }
}

/** The cell's identity is known once it is born; before that there are no sessions. */
function keysOf(host: CellHost, secret: string | undefined): SessionKeys {
  let keys: SessionKeys | undefined
  const known = (): SessionKeys => {
    const { identity } = host
    if (!identity) throw new CausewayError('cell/starting')
    keys ??= createSessionKeys({ cell: identity.cell, secret })
    return keys
  }
  return {
    get current() {
      return known().current
    },
    mac: (keyId, bytes) => known().mac(keyId, bytes),
  }
}
