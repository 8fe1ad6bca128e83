/**
 * Whose the Yjs client ids of one document are. An id is owned by the first user who announced it as their own; nobody
 * takes it from them, whatever others announce or write. Who reaches no token owns nothing.
 *
 * A user owns `idsPerUser` ids of a document: one more, and the oldest of *their own* is nobody's again, so that no
 * flood of announcements sheds what belongs to somebody else. Beyond `idsPerDocument` no more are taken: what comes then
 * is unowned, and what is owned stays owned.
 *
 * Structs that extend somebody else's id are relayed. A space may refuse them; where it does not, the clock from which
 * on they came is remembered, and they are *doubtful* until their owner has shown that it holds the same: an honest relay
 * brings what the owner wrote, a dishonest one what it did not, and only the owner can tell.
 *
 * The state here is the accepted one: it goes back to what is durable with `rollBack`.
 */
import { assert } from '../../shared/base/assert.js'

export interface OwnershipLimits {
  /** Owned ids of one user in one document: one for each time that it was opened to write. */
  readonly idsPerUser: number
  readonly idsPerDocument: number
}

export const OWNERSHIP_LIMITS: OwnershipLimits = { idsPerUser: 256, idsPerDocument: 65_536 }

/** Longer ids of users own nothing; tokens cannot hold them. */
const USER_LIMIT_CHARACTERS = 256

export interface Owner {
  readonly user: string
  /** From this clock on, structs of the id were brought by others; never rises. */
  readonly relayedFrom?: number
}

export type Announcement =
  /** The id is the user's now; `evicts` was, and is nobody's. To be recorded. */
  | { readonly type: 'owned'; readonly evicts?: number }
  /** It was the user's before. */
  | { readonly type: 'known' }
  /** It is somebody else's, or there is no room, or the user cannot own. */
  | { readonly type: 'refused'; readonly reason: 'taken' | 'full' | 'nobody' }

/** How to take back one change that is not durable yet. */
interface Undo {
  readonly client: number
  readonly before: Owner | undefined
  readonly evicted: readonly [client: number, owner: Owner] | undefined
}

export class Ownership {
  private readonly limits: OwnershipLimits
  /** Oldest first. */
  private readonly owners = new Map<number, Owner>()
  private readonly idsOf = new Map<string, number>()
  /** By user: ids with structs that others brought and the user has not confirmed, and from which clock on. */
  private readonly doubtful = new Map<string, Map<number, number>>()
  private inFlight: Undo[] = []

  /** `owned`: what is durable, oldest first. */
  constructor(
    owned: readonly (Owner & { readonly client: number })[] = [],
    limits: OwnershipLimits = OWNERSHIP_LIMITS,
  ) {
    this.limits = limits
    for (const { client, ...owner } of owned) {
      this.put(client, owner)
      if (owner.relayedFrom !== undefined) this.doubt(client, owner)
    }
  }

  get size(): number {
    return this.owners.size
  }

  /** Whether something that was changed is not durable yet. */
  get hasInFlight(): boolean {
    return this.inFlight.length > 0
  }

  ownerOf(client: number): Owner | undefined {
    return this.owners.get(client)
  }

  /** Whether structs that `author` sends under this id are relayed. Nobody in particular has `undefined`. */
  isForeign(client: number, author: string | undefined): boolean {
    const owner = this.owners.get(client)
    return owner !== undefined && owner.user !== author
  }

  /** A user announces an id as their own. */
  announce(client: number, user: string): Announcement {
    const owner = this.owners.get(client)
    if (owner !== undefined) return owner.user === user ? { type: 'known' } : { type: 'refused', reason: 'taken' }
    if (!canOwn(user)) return { type: 'refused', reason: 'nobody' }
    const evicts = (this.idsOf.get(user) ?? 0) >= this.limits.idsPerUser ? this.oldestOf(user) : undefined
    if (evicts === undefined && this.owners.size >= this.limits.idsPerDocument) {
      return { type: 'refused', reason: 'full' }
    }
    const evicted = evicts === undefined ? undefined : ([evicts, this.owners.get(evicts)!] as const)
    if (evicts !== undefined) this.remove(evicts)
    this.put(client, { user })
    this.inFlight.push({ client, before: undefined, evicted })
    return evicts === undefined ? { type: 'owned' } : { type: 'owned', evicts }
  }

  /** Somebody else than its owner brought structs of an owned id from clock `from` on. True: to be recorded. */
  relay(client: number, from: number): boolean {
    const owner = this.owners.get(client)
    assert(owner, `client id ${client} has no owner`)
    this.doubt(client, { ...owner, relayedFrom: from })
    if (owner.relayedFrom !== undefined && owner.relayedFrom <= from) return false
    this.owners.set(client, { ...owner, relayedFrom: from })
    this.inFlight.push({ client, before: owner, evicted: undefined })
    return true
  }

  /**
   * Takes note of what another replica recorded, durably. False where both know an owner and they differ: which one
   * holds depends on when each was recorded, which only the log knows.
   */
  learn({
    client,
    user,
    relayedFrom,
    evicts,
  }: {
    client: number
    user: string
    relayedFrom?: number
    evicts?: number
  }): boolean {
    const owner = this.owners.get(client)
    if (owner !== undefined && owner.user !== user) return false
    if (evicts !== undefined && this.owners.get(evicts)?.user === user) this.remove(evicts)
    if (owner === undefined) this.put(client, { user, ...(relayedFrom !== undefined && { relayedFrom }) })
    else if (relayedFrom !== undefined && (owner.relayedFrom ?? Number.POSITIVE_INFINITY) > relayedFrom) {
      this.owners.set(client, { user, relayedFrom })
    }
    if (relayedFrom !== undefined) this.doubt(client, { user, relayedFrom })
    return true
  }

  /** Everything durable anew, as the log has it now; what is in flight stays on top. */
  replace(owned: readonly (Owner & { readonly client: number })[]): void {
    const { inFlight } = this
    const added = inFlight.map(({ client }) => [client, this.owners.get(client)] as const)
    this.owners.clear()
    this.idsOf.clear()
    for (const { client, ...owner } of owned) this.put(client, owner)
    for (const [client, owner] of added) if (owner && !this.owners.has(client)) this.put(client, owner)
  }

  /** Of the ids that a user owns, those under which others have written, and from which clocks on, until it is confirmed. */
  doubtfulOf(user: string | undefined): ReadonlyMap<number, number> {
    return (user === undefined ? undefined : this.doubtful.get(user)) ?? NOTHING
  }

  /** Its owner holds what others brought under this id. */
  confirm(client: number): void {
    const { user } = this.owners.get(client)!
    const ids = this.doubtful.get(user)
    ids?.delete(client)
    if (ids?.size === 0) this.doubtful.delete(user)
  }

  /** The oldest change in flight is durable. */
  settle(): void {
    assert(this.hasInFlight, 'a change of ownership settles once')
    this.inFlight.shift()
  }

  /** Nothing in flight will become durable. */
  rollBack(): void {
    for (const { client, before, evicted } of this.inFlight.toReversed()) {
      if (before === undefined) this.remove(client)
      else {
        this.owners.set(client, before)
        if (before.relayedFrom === undefined) this.confirm(client)
      }
      if (evicted !== undefined) this.put(...evicted)
    }
    this.inFlight = []
  }

  private put(client: number, owner: Owner): void {
    this.owners.set(client, owner)
    this.idsOf.set(owner.user, (this.idsOf.get(owner.user) ?? 0) + 1)
  }

  private doubt(client: number, { user, relayedFrom = 0 }: Owner): void {
    let ids = this.doubtful.get(user)
    if (ids === undefined) {
      ids = new Map()
      this.doubtful.set(user, ids)
    }
    ids.set(client, Math.min(relayedFrom, ids.get(client) ?? relayedFrom))
  }

  private remove(client: number): void {
    this.confirm(client)
    const { user } = this.owners.get(client)!
    this.owners.delete(client)
    const left = this.idsOf.get(user)! - 1
    if (left === 0) this.idsOf.delete(user)
    else this.idsOf.set(user, left)
  }

  private oldestOf(user: string): number | undefined {
    for (const [client, owner] of this.owners) if (owner.user === user) return client
    return undefined
  }
}

const NOTHING: ReadonlyMap<number, number> = new Map()

/** What is stored must come back as it was: half of a surrogate pair would not. */
function canOwn(user: string): boolean {
  return user.length > 0 && user.length <= USER_LIMIT_CHARACTERS && !/\p{Surrogate}/u.test(user)
}
