/**
 * A cell as HTTP sees it: the real desk where sessions are served, over a view that tests write. By itself it has one
 * member, which has what its documents have, and nothing is ever waited for.
 */

import { createSessionKeys } from '../../../server/access/session-keys.js'
import { SessionDesk } from '../../../server/host/session-desk.js'
import type { Cell, CellStatus, Progress } from '../../../server/replica/cell.js'
import type { WriteConcern } from '../../../shared/causal/majority-cut.js'
import type { CellId } from '../../../shared/clock/cell.js'
import type { Dot } from '../../../shared/clock/dot.js'
import { Lineages } from '../../../shared/clock/lineages.js'
import type { VersionVector } from '../../../shared/clock/version-vector.js'
import { CausewayError } from '../../../shared/errors/error.js'
import type { ReplicaView } from '../../../shared/session/check.js'
import type { SessionToken } from '../../../shared/session/token.js'
import { ManualClock } from '../../support/manual-clock.js'

const CELL = '0f'.repeat(16) as CellId

export class FakeCell implements Cell {
  readonly clock = new ManualClock()
  readonly lineages = new Lineages()
  readonly sessions: SessionDesk
  size = 1
  hasQuorum = true
  /** What this replica has, and U; undefined: what its documents have. */
  durable: VersionVector | undefined
  majorityDurable: VersionVector | undefined
  epoch = { ordinal: 1, id: '1'.repeat(16) }
  lost: (dot: Dot) => boolean = () => false
  /** How far every write has come; undefined: everywhere. */
  progress: Progress | undefined
  /** Whether writes wait until that is far enough; else they take it as it is. */
  waitsForProgress = false
  /** Members that were asked what they have, with what tells it. */
  asked: ((member: string, durable: VersionVector) => void)[] = []
  /** Whether those who are asked wait for the test to answer; else this replica answers for itself. */
  answersByHand = false
  reports: Partial<CellStatus> = {}
  private readonly own: () => VersionVector

  constructor(own: () => VersionVector) {
    this.own = own
    this.sessions = new SessionDesk({
      view: () => this.view(),
      keys: createSessionKeys({ cell: CELL, secret: 'a cell secret' }),
      members: () => this.size,
      askVectors: (heard) => {
        this.asked.push(heard)
        if (!this.answersByHand) heard('a', this.view().durable)
      },
      progressOf: () => this.progress ?? { acknowledged: 'all', replicas: this.size },
      isReached: (_seen, concern) => this.isReached(concern),
      waited: () => {},
      timers: this.clock,
    })
  }

  view(): ReplicaView {
    const durable = this.durable ?? this.own()
    return {
      cell: CELL,
      epoch: this.epoch,
      configEpoch: 1,
      lineages: this.lineages,
      durable,
      majorityDurable: this.majorityDurable ?? durable,
      isLost: (dot) => this.lost(dot),
      isReoriginated: () => false,
    }
  }

  /** A token of a session that has seen this. */
  tokenOf(vector: VersionVector, change: Partial<SessionToken> = {}): string {
    return this.sessions.encode({ ...this.sessions.fresh(), vector, ...change })
  }

  readonly commands: string[] = []

  forceRecover(): void {
    this.commands.push('force-recover')
  }

  removeMember(name: string): void {
    if (name !== 'b') throw new CausewayError('request/not-found', { member: name })
    this.commands.push(`remove ${name}`)
  }

  status(): CellStatus {
    const { durable, majorityDurable } = this.view()
    return {
      name: 'demo',
      id: CELL,
      epoch: 1,
      configEpoch: 1,
      self: 'a',
      state: 'ready',
      members: [{ name: 'a', state: 'active', reachable: true, durable, lagOps: 0, lagMs: 0 }],
      majorityDurable,
      heldBack: [],
      alarms: [],
      ...this.reports,
    }
  }

  reached(seen: VersionVector, concern: WriteConcern, timeoutMs: number, signal?: AbortSignal): Promise<Progress> {
    return this.sessions.reached(seen, concern, this.waitsForProgress ? timeoutMs : 0, signal)
  }

  private isReached(concern: WriteConcern): boolean {
    const { acknowledged, replicas } = this.progress ?? { acknowledged: 'all', replicas: this.size }
    if (concern === 'local' || acknowledged === 'all') return true
    if (concern === 'majority') return acknowledged === 'majority'
    return concern !== 'all' && replicas >= concern
  }
}
