/**
 * One comparison of the members' documents, as far as a few seconds go:
 *
 *   1. trees       which buckets differ between this replica and each peer
 *   2. leaves      which documents in them; all others have the same ops everywhere
 *   3. documents   those one by one, with their contents; again and again while they are on the move, so that a busy
 *                  document is caught at equal ops at both sides, or at least called lagging
 *   4. contents    of as many others as there is time for
 *
 * A peer that fails at any step counts as unreachable, and nothing that it said before counts.
 */
import { CausewayError } from '../../shared/errors/error.js'
import { CONVERGENCE_LIMITS, type Leaf } from '../../shared/protocol/convergence.js'
import { type Compared, Comparison, type Waiting } from '../replica/convergence.js'
import { differingBuckets, groupsOf } from '../replica/tree-difference.js'
import type { LeafPage } from '../storage/digest-reader.js'
import type { Log } from '../storage/log.js'
import type { ConvergencePeers } from './convergence-peers.js'

/** Documents that differ and are looked at one by one; those beyond are counted only. */
const EXAMINED = 1_024
/** Documents in differing buckets that are read of one replica; buckets beyond that are only known to differ. */
const LEAVES = 20_000
/** Documents with equal ops whose contents are compared. */
const CONTENTS = 1_000
/** What all of it may take, and each question about contents. */
const INSPECTION_MS = 5_000
const BUDGET_MS = 1_500
/** How often a document on the move is looked at, and the pause before the second time; it doubles. */
const ROUNDS = 4
const FIRST_PAUSE_MS = 25

export interface InspectionOptions {
  readonly cell: ConvergencePeers
  readonly list: Log['list']
  readonly members: readonly string[]
  readonly prefix: string
  /** Contents of at least so many documents in the order of their names are wanted, equal or not. */
  readonly wanted: number
  /** Documents that were found diverged before. */
  readonly knownDiverged: readonly string[]
  /** Of a clock that only rises. */
  readonly nowMs: () => number
  readonly pause: (ms: number) => Promise<void>
  readonly onPeerFailed: (peer: string, error: unknown) => void
}

interface Leaves {
  readonly byName: ReadonlyMap<string, Leaf>
  /** There are no more. */
  readonly isWhole: boolean
}

const NO_LEAVES: Leaves = { byName: new Map(), isWhole: true }

interface ComparedOps {
  /** Names of documents that have other ops somewhere, sorted. */
  readonly differing: readonly string[]
  readonly skippedBuckets: number
  /** How many documents were compared. */
  readonly checked: number
}

export class Inspection {
  private readonly options: InspectionOptions
  private readonly cell: ConvergencePeers
  private readonly reached: Set<string>
  private readonly comparisons = new Map<string, Comparison>()
  private readonly heldBack: Waiting[]
  private readonly deadlineMs: number

  constructor(options: InspectionOptions) {
    this.options = options
    this.cell = options.cell
    this.reached = new Set(options.members.filter((name) => name !== this.cell.self))
    this.heldBack = [...this.cell.heldBack()]
    this.deadlineMs = options.nowMs() + INSPECTION_MS
  }

  /** Rejects where this replica's own log cannot be read. */
  async run(): Promise<Compared> {
    const { prefix, knownDiverged, members } = this.options
    const { differing, skippedBuckets, checked } = await this.compareOps()
    const known = knownDiverged.filter((name) => name.startsWith(prefix))
    for (const name of known) this.comparisonOf(name).recall()
    const examined = differing.slice(0, EXAMINED)
    await this.examine([...new Set([...known, ...examined])])
    await this.examine((await this.otherNames()).filter((name) => !this.comparisons.has(name)))
    const unreachable = members.filter((name) => name !== this.cell.self && !this.reached.has(name))
    return {
      checked,
      comparisons: this.comparisons,
      unexamined: differing.length - examined.length + skippedBuckets,
      heldBack: this.heldBack.filter(({ replica }) => !unreachable.includes(replica)),
      unreachable,
    }
  }

  private get isLate(): boolean {
    return this.options.nowMs() >= this.deadlineMs
  }

  private async compareOps(): Promise<ComparedOps> {
    const { prefix } = this.options
    const tree = await this.cell.log.digestTree(prefix)
    const groups = groupsOf(tree.hashes)
    const byPeer = new Map<string, readonly number[]>()
    await this.ofEachPeer(async (peer) => {
      const answer = await this.cell.ask(peer, { type: 'tree', prefix, groups })
      byPeer.set(peer, differingBuckets(tree.hashes, answer.groups))
      this.heldBack.push(...answer.heldBack.map((op) => ({ ...op, replica: peer })))
    })
    const all = [...new Set([...byPeer.values()].flat())]
    const differing = new Set<string>()
    const buckets = this.firstBuckets(all, tree.counts)
    const own = buckets.size === 0 ? NO_LEAVES : await readLeaves((cursor) => this.ownLeaves(buckets, cursor))
    await this.ofEachPeer(async (peer) => {
      if (byPeer.get(peer)?.length === 0) return
      // Of all the buckets, also those that differ from somebody else: which bucket a name is in is not known here.
      const ask = (cursor: number) => this.cell.ask(peer, { type: 'leaves', prefix, buckets, cursor })
      for (const name of differingNames(own, await readLeaves(ask, LEAVES))) differing.add(name)
    })
    const untouched = all.reduce((count, bucket) => count - tree.counts[bucket]!, tree.documents)
    return {
      differing: [...differing].sort(),
      skippedBuckets: all.length - buckets.size,
      checked: untouched + new Set([...own.byName.keys(), ...differing]).size,
    }
  }

  /** As many as hold what may be read, by what this replica has in them; at least one. */
  private firstBuckets(buckets: readonly number[], counts: Uint32Array): ReadonlySet<number> {
    const first = new Set<number>()
    let documents = 0
    for (const bucket of buckets) {
      documents += counts[bucket]!
      if (documents > LEAVES && first.size > 0) break
      first.add(bucket)
    }
    return first
  }

  private ownLeaves(buckets: ReadonlySet<number>, cursor: number): Promise<LeafPage> {
    return this.cell.log.digestLeaves({ prefix: this.options.prefix, buckets, cursor })
  }

  /** Looks at documents one by one until they stand still, or there is no time left. */
  private async examine(names: readonly string[]): Promise<void> {
    const { pause } = this.options
    let moving = names
    for (let round = 0; round < ROUNDS && moving.length > 0; round++) {
      if (round > 0) await pause(FIRST_PAUSE_MS * 2 ** (round - 1))
      for (let from = 0; from < moving.length; from += CONVERGENCE_LIMITS.names) {
        if (this.isLate) return
        await this.look(moving.slice(from, from + CONVERGENCE_LIMITS.names))
      }
      moving = moving.filter((name) => ['lagging', 'late'].includes(this.comparisons.get(name)?.state ?? ''))
    }
  }

  /** All replicas at the same time: that is when they are most alike. */
  private async look(names: readonly string[]): Promise<void> {
    const budgetMs = Math.max(0, Math.min(BUDGET_MS, Math.ceil(this.deadlineMs - this.options.nowMs())))
    const see = async (replica: string): Promise<void> => {
      const views = await this.cell.views(replica, names, budgetMs)
      for (const [index, name] of names.entries()) this.comparisonOf(name).see(replica, views[index] ?? null)
    }
    await Promise.all([see(this.cell.self), this.ofEachPeer(see)])
  }

  /** Documents whose ops are the same everywhere, by their names. */
  private async otherNames(): Promise<string[]> {
    const { prefix, wanted, list } = this.options
    if (this.isLate || (this.reached.size === 0 && wanted === 0)) return []
    const { documents } = await list({ prefix, limit: Math.max(CONTENTS, wanted) })
    return documents.map(({ name }) => name)
  }

  private comparisonOf(name: string): Comparison {
    const comparison = this.comparisons.get(name) ?? new Comparison()
    this.comparisons.set(name, comparison)
    return comparison
  }

  private async ofEachPeer(work: (peer: string) => Promise<void>): Promise<void> {
    await Promise.all(
      [...this.reached].map(async (peer) => {
        try {
          await work(peer)
        } catch (error) {
          this.reached.delete(peer)
          for (const comparison of this.comparisons.values()) comparison.forget(peer)
          this.options.onPeerFailed(peer, error)
        }
      }),
    )
  }
}

/** Names of which the one side has other ops than the other, or one has none. */
function differingNames(own: Leaves, theirs: Leaves): string[] {
  const names = theirs.isWhole ? new Set([...own.byName.keys(), ...theirs.byName.keys()]) : theirs.byName.keys()
  return [...names].filter((name) => {
    const [left, right] = [own.byName.get(name), theirs.byName.get(name)]
    return left?.generation !== right?.generation || left?.count !== right?.count || left?.xor !== right?.xor
  })
}

/** Page by page, until there are `limit` or more. */
async function readLeaves(
  read: (cursor: number) => Promise<{ readonly leaves: readonly Leaf[]; readonly cursor: number }>,
  limit = Number.POSITIVE_INFINITY,
): Promise<Leaves> {
  const byName = new Map<string, Leaf>()
  let cursor = 0
  do {
    const page = await read(cursor)
    for (const leaf of page.leaves) byName.set(leaf.name, leaf)
    // A peer whose pages lead nowhere would be asked for ever.
    if (page.cursor > 0 && page.cursor <= cursor) throw new CausewayError('protocol/bad-message', { reason: 'cursor' })
    cursor = page.cursor
  } while (cursor > 0 && byName.size < limit)
  return { byName, isWhole: cursor === 0 }
}
