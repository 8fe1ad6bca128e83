import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { makeOrigin, type OriginId } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import { EMPTY_VECTOR } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import { type Op, partsOf } from '../../shared/protocol/op.js'
import { checkUpdate } from '../../shared/update/check.js'
import { KnownState } from '../../shared/update/known-state.js'
import { parseUpdate } from '../../shared/update/parse.js'
import { Replica, type ReplicaEffect, type ReplicaInput, type Source } from './replica.js'

const DOCUMENTS = ['d', 'e']

/** A replica with a log that remembers, and documents that come and go. */
class Node {
  readonly origin: OriginId
  readonly replica: Replica<Source>
  readonly log: Op[] = []
  /** Appended and not committed. */
  private pending: Op[] = []
  /** Loads under way, with the position at which the log was read. */
  private readonly loading = new Map<string, number>()
  readonly unfit: string[] = []
  private wallMs: number

  constructor(name: string, wallMs: number) {
    this.origin = makeOrigin(name, `${name}0`.repeat(8))
    this.wallMs = wallMs
    this.replica = new Replica({
      origin: this.origin,
      predecessor: undefined,
      vector: EMPTY_VECTOR,
      latestHlc: 0 as HybridTime,
    })
  }

  step(input: ReplicaInput<Source>): void {
    for (const effect of this.replica.step(input)) this.perform(effect)
  }

  private perform(effect: ReplicaEffect<Source>): void {
    if (effect.type === 'append') this.pending.push(effect.op)
    if (effect.type === 'unfit') this.unfit.push(effect.document)
  }

  beginLoad(document: string): void {
    if (this.replica.document(document) || this.loading.has(document)) return
    this.step({ type: 'document-loading', document })
    this.loading.set(document, this.log.length)
  }

  endLoad(document: string): void {
    const position = this.loading.get(document)
    if (position === undefined) return
    this.loading.delete(document)
    const known = new KnownState()
    const tail = []
    for (const [index, op] of this.log.slice(0, position).entries()) {
      for (const part of partsOf(op)) {
        if (part.document !== document) continue
        const checked = checkUpdate(parseUpdate(part.update), known, 'update')
        if (checked.type === 'gap') throw new Error('a gap in the log')
        known.add(checked)
        tail.push({ position: index + 1, dot: op.dot, update: part.update })
      }
    }
    const loaded = { name: document, generation: 0, known, snapshot: undefined, tail, position, clock: {}, owned: [] }
    this.step({ type: 'document-loaded', loaded })
  }

  unload(document: string): void {
    const open = this.replica.document(document)
    if (open && this.replica.isQuiet(open)) this.step({ type: 'document-unloaded', document })
  }

  edit(documents: readonly string[], text: string): void {
    const parts = documents.flatMap((document) => {
      if (!this.replica.document(document)) return []
      const doc = new Y.Doc()
      for (const update of this.accepted(document)) Y.applyUpdate(doc, update)
      const before = Y.encodeStateVector(doc)
      doc.getText('t').insert(doc.getText('t').length, text)
      if (doc.getText('t').length > 3) doc.getText('t').delete(0, 1)
      return [{ document, update: Y.encodeStateAsUpdate(doc, before), kind: 'update' as const }]
    })
    if (parts.length === 0) return
    this.step({ type: 'updates-received', source: { lane: {} }, parts, nowMs: this.wallMs })
  }

  private accepted(document: string): readonly Uint8Array[] {
    return this.replica.document(document)!.acceptedContent
  }

  deliver(ops: readonly Op[]): void {
    if (ops.length > 0) this.step({ type: 'ops-delivered', ops, nowMs: this.wallMs })
  }

  commit(most: number): readonly Op[] {
    const ops = this.pending.splice(0, most)
    this.log.push(...ops)
    if (ops.length > 0)
      this.step({ type: 'committed', count: ops.length, position: this.log.length, nowMs: this.wallMs })
    return ops
  }

  /** Returns what of others is gone with it. */
  fail(): readonly Op[] {
    const lost = this.pending.filter(({ dot }) => dot.origin !== this.origin)
    this.pending = []
    this.step({ type: 'commit-failed', error: new CausewayError('storage/full') })
    this.step({ type: 'writable-again' })
    return lost
  }

  shown(document: string): string {
    const doc = new Y.Doc()
    for (const op of this.log) {
      for (const part of partsOf(op)) if (part.document === document) Y.applyUpdate(doc, part.update)
    }
    expect(doc.store.pendingStructs).toBeNull()
    expect(doc.store.pendingDs).toBeNull()
    return JSON.stringify([doc.getText('t').toString(), [...Y.encodeStateVector(doc)].length])
  }

  inMemory(document: string): string | undefined {
    const open = this.replica.document(document)
    if (!open) return undefined
    const doc = new Y.Doc()
    for (const { update } of open.tail) Y.applyUpdate(doc, update)
    expect(open.known.clocks.encode().length).toBe(Y.encodeStateVector(doc).length)
    return JSON.stringify([doc.getText('t').toString(), [...Y.encodeStateVector(doc)].length])
  }
}

type Act =
  | { readonly type: 'edit'; readonly documents: readonly string[] }
  | { readonly type: 'commit'; readonly count: number }
  | { readonly type: 'deliver'; readonly count: number }
  | { readonly type: 'begin' | 'end' | 'unload'; readonly document: string }
  | { readonly type: 'fail' }

const document = fc.constantFrom(...DOCUMENTS)
const act: fc.Arbitrary<readonly [number, Act]> = fc.tuple(
  fc.nat(1),
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        type: fc.constant('edit' as const),
        documents: fc.subarray(DOCUMENTS, { minLength: 1 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ type: fc.constant('commit' as const), count: fc.integer({ min: 1, max: 3 }) }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ type: fc.constant('deliver' as const), count: fc.integer({ min: 1, max: 3 }) }),
    },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('begin' as const), document }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('end' as const), document }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('unload' as const), document }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('fail' as const) }) },
  ),
)

function run(acts: readonly (readonly [number, Act])[]): readonly [Node, Node] {
  // One clock is an hour behind: its ops must still come after what they depend on.
  const nodes = [new Node('a', 5_000_000), new Node('b', 1_400_000)] as const
  const links: [Op[], Op[]] = [[], []]
  for (const node of nodes) {
    node.beginLoad('d')
    node.endLoad('d')
  }
  const commit = (who: number, count: number): void => {
    const node = nodes[who]!
    for (const op of node.commit(count)) if (op.dot.origin === node.origin) links[1 - who]!.push(op)
  }
  for (const [who, each] of acts) {
    const node = nodes[who]!
    switch (each.type) {
      case 'edit':
        node.edit(each.documents, who === 0 ? 'a' : 'b')
        break
      case 'commit':
        commit(who, each.count)
        break
      case 'deliver':
        node.deliver(links[who]!.splice(0, each.count))
        break
      case 'begin':
        node.beginLoad(each.document)
        break
      case 'end':
        node.endLoad(each.document)
        break
      case 'unload':
        node.unload(each.document)
        break
      case 'fail':
        links[who]!.unshift(...node.fail())
        break
    }
  }
  for (let round = 0; round < 3; round++) {
    for (const who of [0, 1]) {
      commit(who, Number.MAX_SAFE_INTEGER)
      nodes[1 - who]!.deliver(links[1 - who]!.splice(0))
    }
  }
  for (const node of nodes) {
    for (const name of DOCUMENTS) {
      node.beginLoad(name)
      node.endLoad(name)
    }
  }
  return nodes
}

function check([left, right]: readonly [Node, Node]): void {
  for (const name of DOCUMENTS) {
    expect(left.shown(name)).toBe(right.shown(name))
    for (const node of [left, right]) expect(node.inMemory(name)).toBe(node.shown(name))
  }
  for (const node of [left, right]) {
    expect(node.unfit).toEqual([])
    const reached = new Map<OriginId, number>()
    const times = new Map<string, number>()
    for (const op of node.log) {
      for (const [origin, seq] of op.deps) {
        expect(reached.get(origin) ?? 0).toBeGreaterThanOrEqual(seq)
        expect(op.hlc).toBeGreaterThan(times.get(`${origin} ${seq}`)!)
      }
      // Whatever stands before an own op in the log it may build on.
      const others = new Map([...reached].filter(([origin]) => origin !== node.origin))
      if (op.dot.origin === node.origin) expect(op.deps).toEqual(others)
      expect(op.dot.seq).toBe((reached.get(op.dot.origin) ?? 0) + 1)
      reached.set(op.dot.origin, op.dot.seq)
      times.set(`${op.dot.origin} ${op.dot.seq}`, op.hlc)
    }
    expect(node.replica.vector).toEqual(reached)
  }
}

test('[CD][CV] ops of two replicas enter documents that load, unload and lose commits: both end alike, in memory and on disk', () => {
  fc.assert(
    fc.property(fc.array(act, { minLength: 60, maxLength: 120, size: 'max' }), (acts) => check(run(acts))),
    { numRuns: 150 },
  )
})
