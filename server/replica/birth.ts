/**
 * How a cell begins, exactly once. When all listed members meet empty, the least-named one draws the birth id; each
 * stores it and says so. A member is *born*, and may accept ops, when it knows that the id is on every listed disk, or
 * that another is born already; before that it counts as empty, so nothing is lost when a disk is, and whatever id any
 * of them has stored is the one that is offered again.
 *
 *   empty → stored (the id is on this disk) → born
 *
 * After that, stored membership wins over flags (DESIGN.md section 2, "Birth, loss and recovery").
 */
import { unreachable } from '../../shared/base/assert.js'
import { type CellIdentity, compareCells, formatCell, type StoredBirth } from '../../shared/clock/cell.js'
import { CausewayError } from '../../shared/errors/error.js'

export type { StoredBirth }

export type BirthInput =
  /**
   * A link opened. `isBorn`: the peer serves, or once did; `knowsUs`: it holds an op of this replica, or remembers that
   * this replica held one.
   */
  | {
      readonly type: 'met'
      readonly peer: string
      readonly identity: CellIdentity | undefined
      readonly isBorn: boolean
      readonly knowsUs: boolean
    }
  | { readonly type: 'lost'; readonly peer: string }
  /** The peer offers an id that is on its disk. */
  | { readonly type: 'offered'; readonly peer: string; readonly identity: CellIdentity; readonly isBorn: boolean }
  /** The last `store` effect is on disk. */
  | { readonly type: 'stored' }

export type BirthEffect =
  /** Answered by `stored`. */
  | { readonly type: 'store'; readonly birth: StoredBirth }
  /** The id is on this disk. */
  | { readonly type: 'offer'; readonly peer: string; readonly identity: CellIdentity; readonly isBorn: boolean }
  /**
   * This member belongs to a cell. `fresh`: to one that began just now, empty everywhere; `alone`: to one that begins
   * with this member only, others are added to it; `joined`: to one that was there before, whose state it has to take
   * first.
   */
  | { readonly type: 'born'; readonly how: How }
  /** Two members belong to different cells. */
  | { readonly type: 'refuse'; readonly peer: string; readonly error: CausewayError }

type How = 'fresh' | 'alone' | 'joined'

interface Met {
  identity: CellIdentity | undefined
  isBorn: boolean
  knowsUs: boolean
}

export class Birth {
  private readonly self: string
  private readonly others: readonly string[]
  private readonly drawn: CellIdentity
  private readonly met = new Map<string, Met>()
  /** On disk. */
  private own: StoredBirth | undefined
  private storing: { readonly birth: StoredBirth; readonly how: How | undefined } | undefined

  /** `listed`: names of the cell's members by configuration; `drawn`: random, used where this member draws the id. */
  constructor(options: {
    self: string
    listed: ReadonlySet<string>
    drawn: CellIdentity
    stored: StoredBirth | undefined
  }) {
    this.self = options.self
    this.others = [...options.listed].filter((name) => name !== options.self).sort()
    this.drawn = options.drawn
    this.own = options.stored
  }

  /** Absent while this member counts as empty and no id is on its disk. */
  get identity(): CellIdentity | undefined {
    return this.own?.identity
  }

  get isBorn(): boolean {
    return this.own?.isBorn === true
  }

  /** An operator says that this member, alone, begins the cell; the others join it. Nothing where it has an id already. */
  beginAlone(): BirthEffect[] {
    const effects: BirthEffect[] = []
    const how = this.others.length === 0 ? 'fresh' : 'alone'
    if (!this.own && !this.storing) this.store({ identity: this.drawn, isBorn: true }, how, effects)
    return effects
  }

  /** The cell goes on in another epoch; it is on disk already. */
  moveTo(identity: CellIdentity): void {
    this.own = { identity, isBorn: true }
    this.met.clear()
  }

  /** What a start has to do: a cell of one member needs nobody. */
  start(): BirthEffect[] {
    return this.others.length === 0 ? this.beginAlone() : []
  }

  step(input: BirthInput): BirthEffect[] {
    const effects: BirthEffect[] = []
    switch (input.type) {
      case 'met':
        this.hear(input.peer, input, effects)
        if (this.own) this.offer(input.peer, this.own, effects)
        this.decide(effects)
        break
      case 'lost':
        this.met.delete(input.peer)
        break
      case 'offered':
        this.hear(input.peer, input, effects)
        this.decide(effects)
        break
      case 'stored':
        this.stored(effects)
        this.decide(effects)
        break
      default:
        unreachable(input)
    }
    return effects
  }

  private hear(
    peer: string,
    { identity, isBorn, knowsUs = this.met.get(peer)?.knowsUs ?? false }: Omit<Met, 'knowsUs'> & { knowsUs?: boolean },
    effects: BirthEffect[],
  ): void {
    const { own } = this
    if (own?.isBorn && identity && isBorn && compareCells(own.identity, identity) === 'foreign') {
      const details = { ours: formatCell(own.identity), theirs: formatCell(identity) }
      effects.push({ type: 'refuse', peer, error: new CausewayError('cell/foreign', details) })
      return
    }
    this.met.set(peer, { identity, isBorn, knowsUs })
  }

  private decide(effects: BirthEffect[]): void {
    if (this.isBorn || this.storing) return
    const met = [...this.met.values()]
    // Every listed disk had the id before anybody was born: one that has none lost it since, or was never listed.
    const born = this.own ? undefined : met.find(({ identity, isBorn }) => isBorn && identity)?.identity
    if (born) {
      this.store({ identity: born, isBorn: true }, 'joined', effects)
      return
    }
    const ids = [this.own?.identity, ...met.map(({ identity }) => identity)].filter((id) => id !== undefined)
    const [least] = ids.sort((left, right) => (left.cell < right.cell ? -1 : left.cell > right.cell ? 1 : 0))
    if (least && least.cell !== this.own?.identity.cell) {
      this.store({ identity: least, isBorn: false }, undefined, effects)
      return
    }
    const others = this.others.map((name) => this.met.get(name))
    if (others.some((other) => other === undefined)) return
    if (!this.own) {
      if (this.others.every((name) => this.self < name)) {
        this.store({ identity: this.drawn, isBorn: false }, undefined, effects)
      }
      return
    }
    const { identity } = this.own
    const isEverywhere = others.every((other) => other?.identity && compareCells(identity, other.identity) === 'same')
    // An id that was stored once more, on a new disk, by a member that was born on its old one.
    const wasHere = met.some(({ knowsUs }) => knowsUs)
    if (isEverywhere) this.store({ identity, isBorn: true }, wasHere ? 'joined' : 'fresh', effects)
  }

  private store(birth: StoredBirth, how: How | undefined, effects: BirthEffect[]): void {
    this.storing = { birth, how }
    effects.push({ type: 'store', birth })
  }

  private stored(effects: BirthEffect[]): void {
    const { storing } = this
    if (!storing) return
    this.storing = undefined
    this.own = storing.birth
    for (const peer of this.met.keys()) this.offer(peer, storing.birth, effects)
    if (storing.how) effects.push({ type: 'born', how: storing.how })
  }

  private offer(peer: string, { identity, isBorn }: StoredBirth, effects: BirthEffect[]): void {
    effects.push({ type: 'offer', peer, identity, isBorn })
  }
}

/** What a cell's coordination state says of its members. */
export interface StoredMembers {
  readonly present: ReadonlySet<string>
  readonly removed: ReadonlySet<string>
}

/**
 * Configured names against stored membership, which wins: those to leave out with a warning, since the cell removed
 * them. Throws `config/invalid` for a name that the cell never had: it is added by a command, not by a flag.
 */
export function ignoredNames(listed: ReadonlySet<string>, stored: StoredMembers): readonly string[] {
  const unknown = [...listed].filter((name) => !stored.present.has(name) && !stored.removed.has(name))
  if (unknown.length > 0) {
    const names = unknown.sort().join(', ')
    throw new CausewayError(
      'config/invalid',
      { key: 'peers', names },
      {
        message: `peers names ${names}, which this cell never had: only a cell of one takes members by configuration, with newCell.`,
      },
    )
  }
  return [...listed].filter((name) => stored.removed.has(name)).sort()
}
