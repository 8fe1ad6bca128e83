/**
 * Who may serve. Every member remembers the largest durable vector that it ever heard of every other, directly or
 * relayed. One that shows less has lost something, and is *recovering*: it answers peers, never clients, and counts for
 * no new advance of U, until it is whole again. With N members, h = ⌊N/2⌋:
 *
 *   found      everything that it once claimed is here again: it leaves by itself
 *   levelled   what it claimed died with its disk: it holds all that N − h others hold which lack nothing, and all that
 *              the reachable recovering ones hold; it goes on in a new *life*, in which nothing old is claimed of it
 *
 * Whatever a majority had on disk is on at least one of any N − h members that lack nothing, as long as no more than h
 * members lack something or are down. Otherwise nobody leaves by levelling, and the cell is stuck: an operator brings
 * disks back, or accepts the loss.
 *
 * Only others that lack nothing are counted for levelling. To count recovering ones too is not enough: of five members,
 * two lose their disks; the first levels with the second and two more, and the fifth, which alone still holds an op that
 * it and the two had acknowledged, is never asked.
 *
 * A disk that looks whole may still be an old copy, and those who remember more may be away. So after a start a member is
 * *unconfirmed* until it has held, at one moment each, all that N − h others held which lack nothing: it serves, since
 * whoever asks brings a token, but it must not pass for one of those who know what a majority has.
 *
 * A disk that is empty, or knows itself to be rolled back (its log was longer once), cannot know what it claimed, and
 * those who remember may be away: it always levels.
 *
 * A member that is *new* never claimed anything: a cell that grows has it, and nothing is lost there. It is known to be
 * new when every other member is reachable and none remembers more of it than it holds; it is whole as soon as it holds
 * all that they hold.
 */
import { unreachable } from '../../shared/base/assert.js'
import { countLineages, LINEAGES_ALARM, type Lineages } from '../../shared/clock/lineages.js'
import { EMPTY_VECTOR, formatVector, sameVector, type VersionVector } from '../../shared/clock/version-vector.js'
import type { Claim, Claims, Standing } from '../../shared/protocol/peer.js'

export type RecoveryState = 'ready' | 'recovering' | 'stuck: majority lost'

export type RecoveryInput =
  | { readonly type: 'durable'; readonly vector: VersionVector }
  | {
      readonly type: 'heard'
      readonly peer: string
      readonly vector: VersionVector
      readonly standing: Standing
      readonly life: number
      readonly claims: Claims
    }
  | { readonly type: 'lost'; readonly peer: string }
  /** Members that count in majorities, this one included. */
  | { readonly type: 'members-changed'; readonly active: ReadonlySet<string> }
  /** An operator accepts loss: what was remembered is forgotten, here. */
  | { readonly type: 'forced' }
  /** The cell went on without this member, in a new epoch: what was remembered before it binds nobody. */
  | { readonly type: 'epoch-changed' }

export type RecoveryEffect =
  /** Keep on disk what was heard of these members; before U advances by it. */
  | { readonly type: 'remember'; readonly claims: Claims }
  /** Tell peers at once, and keep `life` on disk before. */
  | { readonly type: 'standing'; readonly standing: Standing; readonly life: number }
  /** For U: what the member has on disk, undefined while it counts for nothing new. */
  | { readonly type: 'counts'; readonly name: string; readonly vector: VersionVector | undefined }
  | { readonly type: 'state'; readonly state: RecoveryState }
  | {
      readonly type: 'alarm'
      readonly alarm: 'rollback-detected' | 'majority-lost' | 'many-lineages'
      readonly details: string
    }

export interface RecoveryOptions {
  readonly self: string
  readonly active: ReadonlySet<string>
  readonly lineages: Lineages
  readonly durable: VersionVector
  /** `whole`: as far as it knows; `rolled-back`: its log was longer once; `empty`: nothing is on it, in a cell that lives. */
  readonly disk: 'whole' | 'rolled-back' | 'empty'
  readonly life: number
  /** Remembered before this start. */
  readonly claims: Claims
  /** It was recovering before this start, and knew that it had lost something. */
  readonly hasLost?: boolean
  /** The cell was born just now: there is nothing that this disk could have lost. */
  readonly isNewborn?: boolean
}

interface Report {
  readonly vector: VersionVector
  readonly standing: Standing
  readonly life: number
}

export class Recovery {
  private readonly self: string
  private readonly lineages: Lineages
  private active: ReadonlySet<string>
  private durable: VersionVector
  private disk: RecoveryOptions['disk']
  private life: number
  private claims: Map<string, Claim>
  /** Of the members that are reachable, as last heard. */
  private readonly reports = new Map<string, Report>()
  private isRecovering: boolean
  private isConfirmed: boolean
  /** Others that this member has levelled with since its start. */
  private readonly met = new Set<string>()
  /** Others remembered something of it that it did not hold, in this process. */
  private hasLost: boolean
  /** The same of others, while they are recovering: also when they hold again what was remembered here. */
  private readonly lost = new Set<string>()
  private told: RecoveryState | undefined
  private hasAlarmed = false

  constructor(options: RecoveryOptions) {
    this.self = options.self
    this.lineages = options.lineages
    this.active = options.active
    this.durable = options.durable
    this.disk = options.disk
    this.life = options.life
    this.claims = new Map(options.claims)
    this.isRecovering = options.disk !== 'whole'
    this.hasLost = options.disk === 'rolled-back' || options.hasLost === true
    this.isConfirmed = options.isNewborn === true || options.active.size === 1
  }

  get standing(): Standing {
    if (this.isRecovering) return this.hasLost ? 'lacking' : 'recovering'
    return this.isConfirmed ? 'active' : 'unconfirmed'
  }

  /** What is remembered: for `hello`. */
  get remembered(): Claims {
    return this.claims
  }

  get state(): RecoveryState {
    if (this.isStuck) return 'stuck: majority lost'
    return this.isRecovering ? 'recovering' : 'ready'
  }

  /** Whether clients may be served. A stuck cell serves where nothing is lacking. */
  get mayServe(): boolean {
    return !this.isRecovering
  }

  /** What a start tells; before any input. */
  start(): RecoveryEffect[] {
    const effects: RecoveryEffect[] = []
    if (this.disk === 'rolled-back') effects.push({ type: 'alarm', alarm: 'rollback-detected', details: '' })
    this.leaveIfWhole(effects)
    this.count(this.self, effects)
    this.settle(effects)
    return effects
  }

  step(input: RecoveryInput): RecoveryEffect[] {
    const effects: RecoveryEffect[] = []
    switch (input.type) {
      case 'durable':
        this.durable = input.vector
        this.alarmIfWide(effects)
        break
      case 'heard':
        this.hear(input, effects)
        break
      case 'lost':
        this.reports.delete(input.peer)
        break
      case 'members-changed':
        this.active = input.active
        break
      case 'forced':
        this.claims = new Map()
        this.reports.clear()
        this.lost.clear()
        this.goOn(effects)
        break
      case 'epoch-changed':
        this.claims = new Map()
        this.reports.clear()
        this.lost.clear()
        this.met.clear()
        this.hasLost = false
        this.isConfirmed = this.active.size === 1
        break
      default:
        unreachable(input)
    }
    this.confirmIfMet(effects)
    this.leaveIfWhole(effects)
    this.count(this.self, effects)
    this.settle(effects)
    return effects
  }

  private hear(input: Extract<RecoveryInput, { type: 'heard' }>, effects: RecoveryEffect[]): void {
    const { peer, vector, standing, life, claims } = input
    const changed = new Map<string, Claim>()
    for (const [name, claim] of claims) this.remember(name, claim, changed)
    const known = this.claims.get(peer)
    if (!isRecovering(standing)) this.lost.delete(peer)
    else if (known && !this.lineages.dominates(vector, known.vector)) this.lost.add(peer)
    // What it shows while it is recovering it claims too: it is on its disk.
    this.remember(peer, { life, vector }, changed)
    this.reports.set(peer, { vector, standing, life })
    if (changed.size > 0) effects.push({ type: 'remember', claims: changed })
    this.loseIfLess(effects)
    for (const name of new Set([...changed.keys(), peer])) if (name !== this.self) this.count(name, effects)
  }

  private remember(name: string, claim: Claim, changed: Map<string, Claim>): void {
    const known = this.claims.get(name)
    if (known && claim.life < known.life) return
    const isNewLife = !known || claim.life > known.life
    const vector = isNewLife ? claim.vector : this.lineages.merge(known.vector, claim.vector)
    if (!isNewLife && sameVector(vector, known.vector)) return
    const next = { life: claim.life, vector }
    this.claims.set(name, next)
    changed.set(name, next)
  }

  /** Others remember more of this replica than it holds. */
  private loseIfLess(effects: RecoveryEffect[]): void {
    const claim = this.claims.get(this.self)
    if (claim && claim.life > this.life) {
      // An older disk, from before this replica went on without what had died.
      this.life = claim.life
      effects.push({ type: 'standing', standing: this.standing, life: this.life })
    }
    if (!this.lacksClaimed || (this.isRecovering && this.hasLost)) return
    this.hasLost = true
    this.isRecovering = true
    const missing = this.lineages.missing(this.durable, claim?.vector ?? EMPTY_VECTOR)
    effects.push({ type: 'alarm', alarm: 'rollback-detected', details: formatVector(missing) })
    effects.push({ type: 'standing', standing: this.standing, life: this.life })
  }

  private get lacksClaimed(): boolean {
    const claim = this.claims.get(this.self)
    return claim?.life === this.life && !this.lineages.dominates(this.durable, claim.vector)
  }

  private leaveIfWhole(effects: RecoveryEffect[]): void {
    if (!this.isRecovering) return
    if (this.hasFound) {
      this.isRecovering = false
      this.hasLost = false
      this.disk = 'whole'
      effects.push({ type: 'standing', standing: this.standing, life: this.life })
    } else if (this.isLevelled || this.isNewAndWhole) this.goOn(effects)
  }

  private confirmIfMet(effects: RecoveryEffect[]): void {
    if (this.isConfirmed) return
    for (const name of this.reachable) {
      if (this.isSound(name) && this.holds(this.reports.get(name)!.vector)) this.met.add(name)
    }
    if (this.met.size < this.enough) return
    this.isConfirmed = true
    if (!this.isRecovering) effects.push({ type: 'standing', standing: 'active', life: this.life })
  }

  private get hasFound(): boolean {
    if (this.lacksClaimed) return false
    // What a disk that lost something once claimed, only those who are away may know. Alone there is nobody to ask.
    return (
      this.disk === 'whole' || (this.disk === 'rolled-back' && this.active.size === 1 && this.active.has(this.self))
    )
  }

  private get isLevelled(): boolean {
    const levelled = this.reachable.filter((name) => this.isSound(name) && this.holds(this.reports.get(name)!.vector))
    const recovering = this.others.filter(({ standing }) => isRecovering(standing))
    return levelled.length >= this.enough && recovering.every(({ vector }) => this.holds(vector))
  }

  private get isNewAndWhole(): boolean {
    if (this.disk !== 'empty' || this.hasLost || this.reachable.length < this.active.size - 1) return false
    const isFirst = !this.others.some(({ standing }) => standing === 'active' || standing === 'unconfirmed')
    return !isFirst && this.others.every(({ vector }) => this.holds(vector))
  }

  /** Goes on without what died: nothing that was claimed before is owed any more. */
  private goOn(effects: RecoveryEffect[]): void {
    this.isRecovering = false
    this.hasLost = false
    this.isConfirmed = true
    this.disk = 'whole'
    this.life++
    this.claims.set(this.self, { life: this.life, vector: this.durable })
    effects.push({ type: 'remember', claims: new Map([[this.self, this.claims.get(this.self)!]]) })
    effects.push({ type: 'standing', standing: 'active', life: this.life })
  }

  private holds(vector: VersionVector): boolean {
    return this.lineages.dominates(this.durable, vector)
  }

  /** How many others must be levelled with. */
  private get enough(): number {
    return this.active.size - Math.floor(this.active.size / 2)
  }

  private get reachable(): readonly string[] {
    return [...this.active].filter((name) => name !== this.self && this.reports.has(name))
  }

  private get others(): readonly Report[] {
    return this.reachable.map((name) => this.reports.get(name)!)
  }

  /** Whether a reachable member, or this one, lacks something that it once claimed. */
  private isLacking(name: string): boolean {
    if (name === this.self) return this.isRecovering
    const report = this.reports.get(name)
    const claim = this.claims.get(name)
    if (!report) return false
    switch (report.standing) {
      case 'recovering':
      case 'lacking':
        return true
      case 'empty':
        // Not born yet; or born once, on another disk.
        return claim !== undefined && claim.vector.size > 0
      case 'active':
      case 'unconfirmed':
      case 'retiring':
        return claim?.life === report.life && !this.lineages.dominates(report.vector, claim.vector)
      default:
        return unreachable(report.standing)
    }
  }

  /** Whether what a member holds may be relied on: it counts for U, and others may level with it. */
  private isSound(name: string): boolean {
    return this.reports.get(name)?.standing !== 'empty' && !this.isLacking(name)
  }

  /** Whether a member is known to have lost something: one that is recovering may be new. */
  private isKnownToLack(name: string): boolean {
    if (name === this.self) return this.isRecovering && this.hasLost
    const report = this.reports.get(name)
    const claim = this.claims.get(name)
    if (!report || !this.isLacking(name)) return false
    return (
      report.standing === 'lacking' ||
      this.lost.has(name) ||
      (claim !== undefined && !this.lineages.dominates(report.vector, claim.vector))
    )
  }

  private get isStuck(): boolean {
    const lacking = [...this.active].filter((name) => this.isKnownToLack(name)).length
    const down = [...this.active].filter((name) => name !== this.self && !this.reports.has(name)).length
    return lacking > 0 && lacking + down > Math.floor(this.active.size / 2)
  }

  private count(name: string, effects: RecoveryEffect[]): void {
    const vector = name === this.self ? this.durable : this.reports.get(name)?.vector
    if (vector) effects.push({ type: 'counts', name, vector: this.isSound(name) ? vector : undefined })
  }

  private settle(effects: RecoveryEffect[]): void {
    const { state } = this
    if (state === this.told) return
    this.told = state
    effects.push({ type: 'state', state })
    if (state !== 'stuck: majority lost') return
    const lacking = [...this.active].filter((name) => this.isKnownToLack(name)).sort()
    effects.push({ type: 'alarm', alarm: 'majority-lost', details: lacking.join(' ') })
  }

  private alarmIfWide(effects: RecoveryEffect[]): void {
    const lineages = countLineages(this.lineages.fold(this.durable))
    const isWide = lineages > LINEAGES_ALARM
    if (isWide && !this.hasAlarmed) effects.push({ type: 'alarm', alarm: 'many-lineages', details: String(lineages) })
    this.hasAlarmed = isWide
  }
}

function isRecovering(standing: Standing): boolean {
  return standing === 'recovering' || standing === 'lacking'
}
