/**
 * Every short history of a small cell: edits, deliveries, restarts, backups put back, lost disks, retirements, each
 * enumerated. Beside the vectors stands the truth, the set of ops that each replica really holds; after every step the
 * two must say the same, and once everybody has met everybody nothing may be missing anywhere.
 */
import { describe, expect, test } from 'vitest'
import { assert } from '../base/assert.js'
import { COORDINATION_NAME, type Dot, makeOrigin, type OriginId } from './dot.js'
import { Lineages, type Retirement } from './lineages.js'
import { EMPTY_VECTOR, maxVector, type VersionVector } from './version-vector.js'

interface ModelOp {
  readonly dot: Dot
  /** The truth behind `dot`: the process that made it, too. */
  readonly id: string
  readonly opens: boolean
  readonly predecessor: Dot | undefined
  readonly deps: VersionVector
  /** The truth behind `deps`. */
  readonly past: ReadonlySet<string>
}

interface Disk {
  readonly ops: ReadonlyMap<string, ModelOp>
  readonly last: Dot | undefined
}

interface Member {
  readonly disk: Disk
  readonly backup: Disk | undefined
  /** Of the running process; its ops begin with the first edit. */
  readonly origin: OriginId
  readonly startedAs: number
  readonly hasOpened: boolean
  readonly applied: number
  /** Kept step by step, as a replica keeps it. */
  readonly vector: VersionVector
}

interface World {
  readonly members: readonly Member[]
  /** Entries of the coordination store, all of them retirements. */
  readonly retirements: readonly Retirement[]
  readonly starts: number
}

const NAMES = ['a', 'b', 'c']
const COORDINATION = makeOrigin(COORDINATION_NAME, '1'.repeat(16))
const EMPTY_DISK: Disk = { ops: new Map(), last: undefined }

const idsOf = ({ ops }: Disk): ReadonlySet<string> => new Set([...ops.values()].map(({ id }) => id))
const keyOf = ({ origin, seq }: Dot): string => `${origin}:${seq}`
const originAt = (member: number, start: number): OriginId =>
  makeOrigin(NAMES[member]!, start.toString(16).padStart(16, '0'))

/** What a member has learned from the ops on its disk and from the coordination entries that it applied. */
function lineagesOf(
  { disk, applied }: Pick<Member, 'disk' | 'applied'>,
  { retirements }: Pick<World, 'retirements'>,
): Lineages {
  const lineages = new Lineages()
  for (const { dot, opens, predecessor } of disk.ops.values()) if (opens) lineages.learnOpening(dot, predecessor)
  for (const retirement of retirements.slice(0, applied)) lineages.learnRetirement(retirement)
  return lineages
}

/** The vector that a member shows: its ops, and its coordination entry as far as it may claim it. */
function shown(
  member: Member,
  world: Pick<World, 'retirements'>,
  rules: Rules,
  lineages = lineagesOf(member, world),
): VersionVector {
  const applied = { origin: COORDINATION, seq: member.applied }
  const claim = applied.seq === 0 || rules.claimsAtOnce ? applied : lineages.claimable(member.vector, applied)
  if (!claim?.seq) return member.vector
  return lineages.fold(maxVector(member.vector, new Map([[claim.origin, claim.seq]])))
}

interface Rules {
  readonly learnsWrongPredecessor?: boolean
  readonly claimsAtOnce?: boolean
  readonly keepsIncarnation?: boolean
  readonly skipsDeps?: boolean
  readonly retiresUnlevelled?: boolean
}

function replace(world: World, index: number, change: Partial<Member>, rest: Partial<World> = {}): World {
  return {
    ...world,
    ...rest,
    members: world.members.map((member, at) => (at === index ? { ...member, ...change } : member)),
  }
}

function put(member: Member, world: World, op: ModelOp): Partial<Member> {
  const disk: Disk = {
    ops: new Map([...member.disk.ops, [keyOf(op.dot), op]]),
    last: op.dot.origin === member.origin ? op.dot : member.disk.last,
  }
  const lineages = lineagesOf({ disk, applied: member.applied }, world)
  return { disk, vector: lineages.merge(member.vector, new Map([[op.dot.origin, op.dot.seq]])) }
}

function edit(world: World, index: number, rules: Rules): World {
  const member = world.members[index]!
  const { last } = member.disk
  const seq = (last?.seq ?? 0) + 1
  const deps = new Map(shown(member, world, rules))
  const opens = !member.hasOpened
  deps.delete(member.origin)
  // The mutant opens as if the disk still held what the cell knows of it.
  const known = last && Math.max(...world.members.map(({ vector }) => vector.get(last.origin) ?? 0))
  const predecessor = opens && last ? { ...last, seq: rules.learnsWrongPredecessor ? known! : last.seq } : undefined
  const op: ModelOp = {
    dot: { origin: member.origin, seq },
    opens,
    predecessor,
    deps,
    past: idsOf(member.disk),
    id: `${member.origin}:${seq}@${member.startedAs}`,
  }
  return replace(world, index, { ...put(member, world, op), hasOpened: true })
}

/** What `to` may take from `from`: the next op of each origin whose past it holds. */
function deliverable(world: World, from: number, to: number, rules: Rules): ModelOp[] {
  const receiver = world.members[to]!
  const lineages = lineagesOf(receiver, world)
  const vector = shown(receiver, world, rules)
  return [...world.members[from]!.disk.ops.values()].filter(({ dot, opens, predecessor, deps }) => {
    if (lineages.includes(vector, dot) || dot.seq > (lineages.retiredAt(dot.origin) ?? dot.seq)) return false
    const isNext = opens
      ? !predecessor || lineages.includes(vector, predecessor)
      : lineages.valueIn(vector, dot.origin) === dot.seq - 1 &&
        receiver.disk.ops.has(keyOf({ ...dot, seq: dot.seq - 1 }))
    return isNext && (rules.skipsDeps || lineages.dominates(vector, deps))
  })
}

/** Starts a process on a disk: the vector is what the disk holds. */
function start(world: World, index: number, disk: Disk, applied: number, rules: Rules): World {
  const starts = world.starts + 1
  const member = world.members[index]!
  const lineages = lineagesOf({ disk, applied }, world)
  let vector = EMPTY_VECTOR
  for (const { dot } of disk.ops.values()) vector = maxVector(vector, new Map([[dot.origin, dot.seq]]))
  const origin = rules.keepsIncarnation ? member.origin : originAt(index, starts)
  const hasOpened = rules.keepsIncarnation === true && disk.last !== undefined
  return replace(
    world,
    index,
    { disk, origin, startedAs: starts, hasOpened, applied, vector: lineages.fold(vector) },
    { starts },
  )
}

/** Lineages that no disk goes on with and that all members hold alike: what the cell may retire, and where they end. */
function retirable(world: World, rules: Rules): Dot[] {
  const { members } = world
  const vectors = members.map((member) => shown(member, world, rules))
  const alive = new Set(
    members.flatMap(({ disk, backup, origin }) => [origin, disk.last?.origin, backup?.last?.origin]),
  )
  const explicit = new Set(vectors.flatMap((vector) => [...vector.keys()]))
  return [...explicit].flatMap((origin) => {
    if (alive.has(origin) || origin === COORDINATION) return []
    const [seq = 0, ...others] = vectors.map((vector) => vector.get(origin) ?? 0)
    if (rules.retiresUnlevelled) return [{ origin, seq: Math.max(seq, ...others) }]
    return others.every((other) => other === seq) ? [{ origin, seq }] : []
  })
}

function next(world: World, rules: Rules, limits: { edits: number; starts: number }): World[] {
  const worlds: World[] = []
  const { members, retirements } = world
  const edits = new Set(members.flatMap(({ disk, backup }) => [...disk.ops.keys(), ...(backup?.ops.keys() ?? [])])).size
  for (const [index, member] of members.entries()) {
    if (edits < limits.edits) worlds.push(edit(world, index, rules))
    for (const from of members.keys()) {
      if (from === index) continue
      for (const op of deliverable(world, from, index, rules))
        worlds.push(replace(world, index, put(member, world, op)))
    }
    if (member.applied < retirements.length) worlds.push(replace(world, index, { applied: member.applied + 1 }))
    if (!member.backup && member.disk.ops.size > 0) worlds.push(replace(world, index, { backup: member.disk }))
    if (world.starts >= limits.starts + members.length) continue
    if (member.hasOpened) worlds.push(start(world, index, member.disk, member.applied, rules))
    if (member.backup) worlds.push(start(world, index, member.backup, 0, rules))
    if (member.disk.ops.size > 0) worlds.push(start(world, index, EMPTY_DISK, 0, rules))
  }
  for (const last of retirable(world, rules)) {
    const entry = { origin: COORDINATION, seq: retirements.length + 1 }
    worlds.push({ ...world, retirements: [...retirements, { entry, last }] })
  }
  return worlds
}

const isSubset = (left: Iterable<string>, right: { has(key: string): boolean }): boolean => {
  for (const key of left) if (!right.has(key)) return false
  return true
}

/** The vectors against the truth; a sentence where they differ. */
function lie(world: World, rules: Rules): string | undefined {
  const { members } = world
  const views = members.map((member) => {
    const lineages = lineagesOf(member, world)
    const vector = shown(member, world, rules, lineages)
    return { ...member, lineages, vector, ops: member.disk.ops, ids: idsOf(member.disk) }
  })
  for (const { ops, ids, vector, lineages } of views) {
    for (const { dot, past } of ops.values()) {
      if (!lineages.includes(vector, dot)) return `holds ${keyOf(dot)} and does not say so`
      if (!isSubset(past, ids)) return `holds ${keyOf(dot)} without its past`
    }
    for (const [origin, seq] of lineages.unfold(vector)) {
      if (origin !== COORDINATION && !ops.has(keyOf({ origin, seq }))) return `claims ${origin}:${seq}`
    }
  }
  for (const left of views) {
    for (const right of views) {
      const isTrue =
        isSubset(right.ids, left.ids) && (right.vector.get(COORDINATION) ?? 0) <= (left.vector.get(COORDINATION) ?? 0)
      if (left.lineages.dominates(left.vector, right.vector) !== isTrue) {
        return `${left.origin} against ${right.origin}: the vectors say ${!isTrue}`
      }
    }
  }
  return undefined
}

/** Everybody meets everybody until nothing moves: then all hold what anybody holds. */
function stuck(world: World, rules: Rules): string | undefined {
  let settled = world
  for (let moved = true; moved; ) {
    moved = false
    for (const to of settled.members.keys()) {
      const { applied } = settled.members[to]!
      if (applied < settled.retirements.length) settled = replace(settled, to, { applied: settled.retirements.length })
      for (const from of settled.members.keys()) {
        const [op] = deliverable(settled, from, to, rules)
        if (!op) continue
        settled = replace(settled, to, put(settled.members[to]!, settled, op))
        moved = true
      }
    }
  }
  const all = new Set(settled.members.flatMap(({ disk }) => [...idsOf(disk)]))
  if (settled.members.some(({ disk }) => disk.ops.size < all.size)) return 'something is never delivered'
  const vectors = settled.members.map((member) => shown(member, settled, rules))
  if (new Set(vectors.map((vector) => JSON.stringify([...vector].sort()))).size > 1) return 'equal sets, other vectors'
  return lie(settled, rules)
}

const show = ({ members, retirements, starts }: World): string =>
  JSON.stringify([
    members.map(({ disk, backup, origin, hasOpened, applied, vector }) => [
      [...idsOf(disk)].sort(),
      disk.last,
      backup && [...backup.ops.keys()].sort(),
      origin,
      hasOpened,
      applied,
      [...vector].sort(),
    ]),
    retirements,
    starts,
  ])

/** All worlds within `depth` steps. Returns what is wrong with the first wrong one, or how many were seen. */
function explore(
  count: number,
  depth: number,
  limits: { edits: number; starts: number },
  rules: Rules = {},
): string | number {
  const members = Array.from({ length: count }, (_, index): Member => {
    return {
      disk: EMPTY_DISK,
      backup: undefined,
      origin: originAt(index, index + 1),
      startedAs: index + 1,
      hasOpened: false,
      applied: 0,
      vector: EMPTY_VECTOR,
    }
  })
  let edge: World[] = [{ members, retirements: [], starts: count }]
  const seen = new Set(edge.map(show))
  for (let step = 0; step < depth; step++) {
    const reached: World[] = []
    for (const world of edge) {
      for (const world2 of next(world, rules, limits)) {
        const key = show(world2)
        if (seen.has(key)) continue
        seen.add(key)
        const wrong = lie(world2, rules) ?? stuck(world2, rules)
        if (wrong) return `${wrong}\n${key}`
        reached.push(world2)
      }
    }
    edge = reached
  }
  assert(edge.length > 0, 'the model came to an end')
  return seen.size
}

describe('every short history', () => {
  test.each([
    // replicas, steps, edits, starts
    [2, 9, 3, 2],
    [3, 7, 3, 1],
  ])('of %i replicas, %i steps: the vectors tell the truth, and nothing gets stuck', (count, depth, edits, starts) => {
    const seen = explore(count, depth, { edits, starts })
    expect(seen).toBeGreaterThan(1_000)
  })

  test.each<[string, Rules]>([
    ['an opening that names what the cell knew, not what the disk held', { learnsWrongPredecessor: true }],
    ['an incarnation kept over a start', { keepsIncarnation: true }],
    ['a delivery that does not look at deps', { skipsDeps: true }],
    ['a retirement while members hold different ends', { retiresUnlevelled: true }],
    ['a retirement counted by who does not hold the lineage', { claimsAtOnce: true }],
  ])('%s is found', (_, rules) => {
    expect(explore(2, 9, { edits: 3, starts: 2 }, rules)).toEqual(expect.any(String))
  })
})
