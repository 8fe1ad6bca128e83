import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { makeOrigin, type OriginId } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import { EMPTY_VECTOR } from '../../shared/clock/version-vector.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { Op } from '../../shared/protocol/op.js'
import { KnownState } from '../../shared/update/known-state.js'
import { Replica, type ReplicaEffect, type ReplicaInput, type ReplicaLimits, type Source } from './replica.js'

const origin = makeOrigin('a', '00000000000000aa')
const predecessorOrigin = makeOrigin('a', '00000000000000a0')

interface TestSource extends Source {
  readonly name: string
}
const lane = {}
const source = (name: string, itsLane: object = lane): TestSource => ({ name, lane: itsLane })
/** Somebody whose token names a user. */
const user = (userId: string): TestSource => ({ name: userId, lane: {}, userId })

/** A replica with its log as a list: what was appended, what is durable. */
class World {
  readonly replica: Replica<TestSource>
  readonly appended: Op[] = []
  /** Appended and neither committed nor failed. */
  private pending = 0
  private position = 0
  readonly effects: ReplicaEffect<TestSource>[] = []

  constructor(
    options: {
      limits?: Partial<ReplicaLimits>
      predecessor?: { origin: OriginId; seq: number }
      deniesRelay?: (document: string) => boolean
      newDocuments?: { perUser: number; perSpace: number }
      refusalToOpen?: () => CausewayError | undefined
    } = {},
  ) {
    this.replica = new Replica({
      origin,
      predecessor: options.predecessor,
      vector: options.predecessor ? new Map([[options.predecessor.origin, options.predecessor.seq]]) : EMPTY_VECTOR,
      latestHlc: 0 as HybridTime,
      ...(options.limits ? { limits: options.limits } : {}),
      ...(options.newDocuments ? { newDocuments: options.newDocuments } : {}),
      ...(options.deniesRelay ? { deniesRelay: options.deniesRelay } : {}),
      ...(options.refusalToOpen ? { refusalToOpen: options.refusalToOpen } : {}),
    })
  }

  step(input: ReplicaInput<TestSource>): ReplicaEffect<TestSource>[] {
    const effects = this.replica.step(input)
    this.effects.push(...effects)
    if (input.type === 'commit-failed') this.pending = 0
    for (const effect of effects) {
      if (effect.type !== 'append') continue
      this.appended.push(effect.op)
      this.pending++
    }
    return effects
  }

  open(name: string): this {
    const loaded = {
      name,
      generation: 0,
      known: new KnownState(),
      snapshot: undefined,
      tail: [],
      position: 0,
      clock: {},
      owned: [],
    }
    this.step({ type: 'document-loaded', loaded })
    return this
  }

  send(update: Uint8Array, options: { document?: string; from?: TestSource; kind?: 'update' | 'step2' } = {}) {
    const parts = [{ document: options.document ?? 'd', update, kind: options.kind ?? ('update' as const) }]
    return this.step({ type: 'updates-received', source: options.from ?? source('s'), parts, nowMs: 1_000 })
  }

  announce(client: number, userId: string) {
    return this.step({ type: 'id-announced', document: 'd', client, userId, nowMs: 1_000 })
  }

  /** What was recorded of owned ids. */
  get owned() {
    return this.appended.flatMap((op) => (op.kind === 'owned' ? [op.owned] : []))
  }

  commitAll() {
    const count = this.pending
    this.pending = 0
    this.position += count
    return count > 0 ? this.step({ type: 'committed', count, position: this.position, nowMs: 1_000 }) : []
  }

  shown(document = 'd'): string {
    const doc = new Y.Doc()
    const open = this.replica.document(document)
    for (const { update } of open?.tail ?? []) Y.applyUpdate(doc, update)
    return doc.getText('t').toString()
  }
}

const types = (effects: readonly ReplicaEffect<TestSource>[]): string[] => effects.map(({ type }) => type)
const refusals = (effects: readonly ReplicaEffect<TestSource>[]): string[] =>
  effects.flatMap((effect) => (effect.type === 'refuse' ? [effect.error.code] : []))

/** The one comparison of content that is asked for. */
function checkOf(effects: readonly ReplicaEffect<TestSource>[]) {
  const asked = effects.filter((effect) => effect.type === 'compare-content')
  expect(asked).toHaveLength(1)
  return asked[0]!
}

/** A Yjs client that hands out the update of each edit. */
function client(id: number) {
  const doc = new Y.Doc()
  doc.clientID = id
  let last: Uint8Array = new Uint8Array()
  doc.on('update', (update: Uint8Array) => {
    last = update
  })
  return {
    doc,
    insert(at: number, text: string): Uint8Array {
      doc.getText('t').insert(at, text)
      return last
    },
    remove(at: number, length: number): Uint8Array {
      doc.getText('t').delete(at, length)
      return last
    },
  }
}

describe('[SEC] owned client ids', () => {
  test('an announced id is recorded once, and touches no document', () => {
    const world = new World().open('d')
    expect(types(world.announce(1, 'ada'))).toEqual(['append', 'append'])
    expect(world.appended.map(({ kind }) => kind)).toEqual(['open', 'owned'])
    expect(world.owned).toEqual([{ document: 'd', generation: 0, client: 1, user: 'ada' }])
    expect(types([...world.announce(1, 'ada'), ...world.announce(1, 'eve')])).toEqual([])
    expect(world.commitAll()).toEqual([])
    expect(world.replica.document('d')?.exists).toBe(false)
  })

  test('a document is busy until what was announced is durable', () => {
    const world = new World().open('d')
    const document = world.replica.document('d')!
    world.announce(1, 'ada')
    expect(world.replica.isQuiet(document)).toBe(false)
    world.commitAll()
    expect(world.replica.isQuiet(document)).toBe(true)
  })

  test.each([
    // owner, author, refused?
    ['ada', 'ada', []],
    ['ada', 'eve', ['document/foreign-client']],
    ['ada', undefined, ['document/foreign-client']],
    [undefined, 'eve', []],
    [undefined, undefined, []],
  ])('where relay is denied, an id of %s extended by %s: %j', (owner, author, expected) => {
    const world = new World({ deniesRelay: (document) => document === 'd' }).open('d')
    if (owner !== undefined) world.announce(1, owner)
    const from = author === undefined ? source('nobody') : user(author)
    expect(refusals(world.send(client(1).insert(0, 'a'), { from }))).toEqual(expected)
    world.commitAll()
    expect(world.shown()).toBe(expected.length > 0 ? '' : 'a')
  })

  test.each(['update', 'step2'] as const)('where relay is denied, one foreign struct refuses the whole %s', (kind) => {
    const world = new World({ deniesRelay: () => true }).open('d')
    world.announce(1, 'ada')
    const ada = client(1)
    ada.insert(0, 'a')
    const eve = client(2)
    Y.applyUpdate(eve.doc, Y.encodeStateAsUpdate(ada.doc))
    eve.insert(1, 'e')
    const sent = world.send(Y.encodeStateAsUpdate(eve.doc), { from: user('eve'), kind })
    expect(refusals(sent)).toEqual(['document/foreign-client'])
  })

  test('where relay is denied, others delete what an owner wrote, and say again what is known', () => {
    const world = new World({ deniesRelay: () => true }).open('d')
    world.announce(1, 'ada')
    const ada = client(1)
    const text = ada.insert(0, 'abc')
    world.send(text, { from: user('ada') })
    const eve = client(2)
    Y.applyUpdate(eve.doc, text)
    expect(refusals(world.send(eve.remove(0, 1), { from: user('eve') }))).toEqual([])
    expect(checkOf(world.send(text, { from: user('eve') }))).toMatchObject({ overlaps: [[1, 0, 3]] })
    world.commitAll()
    expect(world.shown()).toBe('bc')
  })

  test('where relay is allowed it is noted before it is stored, once, and changes no owner', () => {
    const world = new World().open('d')
    world.announce(1, 'ada')
    const ada = client(1)
    world.send(ada.insert(0, 'a'), { from: user('ada') })
    expect(types(world.send(ada.insert(1, 'b'), { from: user('eve') }))).toEqual(['append', 'append'])
    expect(types(world.send(ada.insert(2, 'c'), { from: source('nobody') }))).toEqual(['append'])
    expect(world.appended.map(({ kind }) => kind)).toEqual(['open', 'owned', 'data', 'owned', 'data', 'data'])
    expect(world.owned.at(-1)).toEqual({ document: 'd', generation: 0, client: 1, user: 'ada', relayedFrom: 1 })
    world.commitAll()
    expect(world.shown()).toBe('abc')
    expect(world.replica.document('d')!.ownership.ownerOf(1)).toEqual({ user: 'ada', relayedFrom: 1 })
  })

  describe('[DU3] under which others have written', () => {
    /** Ada has written "ada" and gone; somebody has added `forged` under her id. */
    function relayed(forged: (ada: ReturnType<typeof client>) => Uint8Array) {
      const world = new World().open('d')
      world.announce(1, 'ada')
      const ada = client(1)
      world.send(ada.insert(0, 'ada'), { from: user('ada') })
      const copy = client(1)
      Y.applyUpdate(copy.doc, Y.encodeStateAsUpdate(ada.doc))
      copy.doc.clientID = 1
      world.send(forged(copy), { from: user('eve') })
      world.commitAll()
      return { world, ada, from: user('ada') }
    }
    const agree = (world: World, effects: readonly ReplicaEffect<TestSource>[]) => {
      const { lane, check } = checkOf(effects)
      return world.step({ type: 'content-compared', document: 'd', lane, check, verdict: 'agrees', nowMs: 1_000 })
    }
    const question = (world: World): number | undefined =>
      Y.decodeStateVector(world.replica.document('d')!.questionTo('ada')).get(1)

    test('its owner goes on only by showing what it stands on', () => {
      const { world, ada, from } = relayed((copy) => copy.insert(3, 'EVE'))
      ada.insert(3, 'while away')
      expect(question(world)).toBe(3)
      const known = world.replica.document('d')!.stateVector
      const sent = world.send(Y.encodeStateAsUpdate(ada.doc, known), { from, kind: 'step2' })
      expect(sent).toMatchObject([{ type: 'refuse', error: { code: 'document/gap', details: { relayed: true } } }])
      const asked = world.replica.document('d')!.questionTo('ada')
      const shown = world.send(Y.encodeStateAsUpdate(ada.doc, asked), { from, kind: 'step2' })
      expect(checkOf(shown)).toMatchObject({ overlaps: [[1, 3, 6]], doubtfulFrom: new Map([[1, 3]]) })
    })

    test('what it confirms is no more in doubt', () => {
      const { world, ada, from } = relayed((copy) => copy.insert(3, 'EVE'))
      ada.insert(3, 'EVE and more')
      const asked = world.replica.document('d')!.questionTo('ada')
      const again = world.send(Y.encodeStateAsUpdate(ada.doc, asked), { from, kind: 'step2' })
      expect(types(agree(world, again))).toEqual(['append'])
      expect(question(world)).toBe(6)
      expect(types(world.send(ada.insert(0, 'x'), { from }))).toEqual(['append'])
    })

    test('a part of it confirms nothing', () => {
      const { world, ada, from } = relayed((copy) => copy.insert(3, 'EVE'))
      ada.insert(3, 'E')
      agree(world, world.send(Y.encodeStateAsUpdate(ada.doc), { from, kind: 'step2' }))
      expect(question(world)).toBe(3)
    })

    test('nobody else is asked, and others go on as they did', () => {
      const { world } = relayed((copy) => copy.insert(3, 'EVE'))
      const document = world.replica.document('d')!
      expect(document.questionTo('eve')).toBe(document.stateVector)
      expect(document.questionTo(undefined)).toBe(document.stateVector)
      expect(types(world.send(client(2).insert(0, 'e'), { from: user('eve') }))).toEqual(['append'])
      expect(types(world.send(client(3).insert(0, 'a'), { from: user('ada') }))).toEqual(['append'])
    })
  })

  test('[DU1] a failed commit takes back who owns what, and the id may be announced again', () => {
    const world = new World().open('d')
    world.announce(1, 'ada')
    world.step({ type: 'commit-failed', error: new CausewayError('storage/full') })
    expect(world.replica.document('d')!.ownership.ownerOf(1)).toBeUndefined()
    expect(world.announce(1, 'ada')).toEqual([])
    world.step({ type: 'writable-again' })
    expect(types(world.announce(1, 'eve'))).toEqual(['append', 'append'])
    expect(world.appended.at(-1)!.dot.seq).toBe(2)
  })
})

describe('[SEC] quotas of new documents', () => {
  const opened = (world: World): World => {
    for (const name of ['team/a', 'team/b', 'team/c', 'other/a']) world.open(name)
    return world
  }
  const write = (world: World, document: string, from: TestSource) =>
    refusals(world.send(client(1).insert(0, 'x'), { document, from }))

  test('of a user are theirs alone, and those that exist, or are about to, go on', () => {
    const world = opened(new World({ newDocuments: { perUser: 1, perSpace: 99 } }))
    const eve = user('eve')
    expect(write(world, 'team/a', eve)).toEqual([])
    expect(write(world, 'team/b', eve)).toEqual(['document/too-many-new'])
    expect(refusals(world.send(client(2).insert(0, 'y'), { document: 'team/a', from: eve }))).toEqual([])
    world.commitAll()
    expect(refusals(world.send(client(3).insert(0, 'z'), { document: 'team/a', from: eve }))).toEqual([])
    expect(write(world, 'team/b', user('ada'))).toEqual([])
  })

  test('of a space leave others alone', () => {
    const world = opened(new World({ newDocuments: { perUser: 99, perSpace: 1 } }))
    expect(write(world, 'team/a', source('nobody'))).toEqual([])
    expect(write(world, 'team/b', user('ada'))).toEqual(['document/too-many-new'])
    expect(write(world, 'other/a', user('ada'))).toEqual([])
  })

  test('are not touched by what makes nothing', () => {
    const world = opened(new World({ newDocuments: { perUser: 1, perSpace: 1 } }))
    const from = user('ada')
    world.send(Uint8Array.of(0, 0), { document: 'team/a', from, kind: 'step2' })
    world.send(Uint8Array.of(7), { document: 'team/a', from })
    expect(write(world, 'team/b', from)).toEqual([])
  })

  test('a transaction that makes one too many makes none', () => {
    const world = opened(new World({ newDocuments: { perUser: 2, perSpace: 99 } }))
    const parts = ['team/a', 'team/b', 'team/c'].map((document, index) => ({
      document,
      update: client(index + 1).insert(0, 'x'),
      kind: 'update' as const,
    }))
    const sent = world.step({ type: 'updates-received', source: user('ada'), parts, nowMs: 1_000 })
    expect(refusals(sent)).toEqual(['document/too-many-new'])
    expect(world.appended).toEqual([])
  })
})

describe('[SEC] the roots of a document', () => {
  const named = (id: number, name: string): Uint8Array => {
    const doc = new Y.Doc()
    doc.clientID = id
    doc.getText(name).insert(0, 'x')
    return Y.encodeStateAsUpdate(doc)
  }

  test('are bounded all together, in flight and durable; those that are there may go on', () => {
    const world = new World({ limits: { documentRoots: 3 } }).open('d')
    expect(refusals(world.send(named(1, 'a')))).toEqual([])
    world.commitAll()
    expect([named(2, 'b'), named(3, 'c')].flatMap((update) => refusals(world.send(update)))).toEqual([])
    expect(refusals(world.send(named(4, 'd')))).toEqual(['document/too-large'])
    expect(refusals(world.send(named(5, 'b')))).toEqual([])
    world.step({ type: 'commit-failed', error: new CausewayError('storage/full') })
    world.step({ type: 'writable-again' })
    expect(refusals(world.send(named(4, 'd')))).toEqual([])
    world.commitAll()
    expect(refusals(world.send(Y.mergeUpdates([named(6, 'e'), named(7, 'f')])))).toEqual(['document/too-large'])
    expect(refusals(world.send(named(6, 'e')))).toEqual([])
  })

  test('are bounded by their names, too', () => {
    const world = new World({ limits: { documentRootNames: 10 } }).open('d')
    expect(refusals(world.send(named(1, 'seven..')))).toEqual([])
    expect(refusals(world.send(named(2, 'four')))).toEqual(['document/too-large'])
    expect(refusals(world.send(named(3, 'two')))).toEqual([])
    world.commitAll()
    expect(refusals(world.send(named(4, 'x')))).toEqual(['document/too-large'])
  })
})

describe('persist before show', () => {
  test('[DU1] an update is appended at once, delivered and acknowledged only when committed', () => {
    const world = new World().open('d')
    expect(types(world.send(client(1).insert(0, 'a')))).toEqual(['append', 'append'])
    expect(world.appended.map(({ kind }) => kind)).toEqual(['open', 'data'])
    expect(world.shown()).toBe('')
    expect(types(world.commitAll())).toEqual(['deliver', 'acknowledge'])
    expect(world.shown()).toBe('a')
  })

  test('[SG3] a transaction may be repeated, and its lane waits until all its parts are compared', () => {
    const world = new World().open('d').open('e')
    const author = client(1)
    const update = author.insert(0, 'a')
    const parts = ['d', 'e'].map((document) => ({ document, update, kind: 'update' as const }))
    const send = (from: TestSource) => world.step({ type: 'updates-received', source: from, parts, nowMs: 1_000 })
    send(source('first'))
    world.commitAll()

    const lane = {}
    const asked = checkOf(send(source('again', lane)))
    const isQuiet = (): boolean[] => ['d', 'e'].map((name) => world.replica.isQuiet(world.replica.document(name)!))
    expect(isQuiet()).toEqual([false, false])
    const later = author.insert(1, 'b')
    const [inFirst, inSecond] = [source('in d', lane), source('in e', lane)]
    expect(types(world.send(later, { from: inFirst, document: 'd' }))).toEqual([])
    expect(types(world.send(later, { from: inSecond, document: 'e' }))).toEqual([])

    const answer = (document: string, { check }: { readonly check: number }) =>
      world.step({ type: 'content-compared', document, lane, check, verdict: 'agrees', nowMs: 1_000 })
    const next = checkOf(answer('d', asked))
    expect([next.document.name, isQuiet()]).toEqual(['e', [false, false]])
    const effects = [...answer('e', next), ...world.commitAll()]
    const acknowledged = effects.flatMap((effect) => (effect.type === 'acknowledge' ? [effect.source.name] : []))
    expect(acknowledged).toEqual(['again', 'in d', 'in e'])
    expect(refusals(effects)).toEqual([])
    expect(world.shown('e')).toBe('ab')
    expect(isQuiet()).toEqual([true, true])
    expect(world.appended.map(({ kind }) => kind)).toEqual(['open', 'data', 'data', 'data'])
  })

  test('a part of a repeated transaction that tells other content refuses all of it', () => {
    const world = new World().open('d').open('e')
    const update = client(1).insert(0, 'a')
    const parts = (second: Uint8Array) => [
      { document: 'd', update, kind: 'update' as const },
      { document: 'e', update: second, kind: 'update' as const },
    ]
    const send = (second: Uint8Array, from: TestSource) =>
      world.step({ type: 'updates-received', source: from, parts: parts(second), nowMs: 1_000 })
    send(update, source('first'))
    world.commitAll()
    const lane = {}
    const { check } = checkOf(send(client(1).insert(0, 'x'), source('other', lane)))
    const next = checkOf(
      world.step({ type: 'content-compared', document: 'd', lane, check, verdict: 'agrees', nowMs: 1 }),
    )
    const verdict = { type: 'content-compared', document: 'e', lane, check: next.check, nowMs: 1 } as const
    expect(refusals(world.step({ ...verdict, verdict: 'differs' }))).toEqual(['document/equivocation'])
  })

  test('[DU1] a repeated update is acknowledged only when what it repeats is durable', () => {
    const world = new World().open('d')
    const update = client(1).insert(0, 'a')
    world.send(update, { from: source('first') })
    const again = world.send(update, { from: source('again', {}) })
    expect(types(again)).toEqual(['compare-content'])
    const asked = checkOf(again)
    expect(
      world.step({
        type: 'content-compared',
        document: 'd',
        lane: asked.lane,
        check: asked.check,
        verdict: 'agrees',
        nowMs: 1_000,
      }),
    ).toEqual([])
    const answers = world.commitAll().filter((effect) => effect.type === 'acknowledge')
    expect(answers.map((effect) => [effect.source.name, effect.echo])).toEqual([
      ['first', undefined],
      ['again', update],
    ])
  })

  test('[CD] what one commit made durable is delivered in the order of its ops, over all documents', () => {
    const world = new World().open('d').open('e')
    const [first, second] = [client(1), client(2)]
    world.send(first.insert(0, '1'))
    world.send(second.insert(0, '2'), { document: 'e' })
    world.send(first.insert(1, '3'))
    world.send(first.insert(2, '4'))
    const delivered = world.commitAll().flatMap((effect) => (effect.type === 'deliver' ? [effect] : []))
    expect(delivered.map(({ document, updates }) => [document.name, updates.length])).toEqual([
      ['d', 1],
      ['e', 1],
      ['d', 2],
    ])
    const seqs = delivered.flatMap(({ updates }) => updates.map(({ dot }) => dot.seq))
    expect(seqs).toEqual([...seqs].sort((left, right) => left - right))
  })

  test('several updates of one commit are delivered once per document, in order', () => {
    const world = new World().open('d')
    const writer = client(1)
    const updates = ['a', 'b', 'c'].map((letter, index) => writer.insert(index, letter))
    for (const update of updates) world.send(update)
    const [deliver] = world.commitAll()
    expect(deliver?.type === 'deliver' && deliver.updates.map(({ update }) => update)).toEqual(updates)
  })
})

describe('a failed commit', () => {
  const full = new CausewayError('storage/full')

  test('[DU1] leaves nothing behind: answers, states, seq and hlc go back to the last commit', () => {
    const world = new World().open('d')
    const writer = client(1)
    const first = writer.insert(0, 'a')
    world.send(first)
    world.commitAll()
    const second = writer.insert(1, 'b')
    world.send(second)
    const third = writer.insert(2, 'c')
    world.send(third)
    const failedSeqs = world.appended.slice(-2).map(({ dot }) => dot.seq)
    expect(refusals(world.step({ type: 'commit-failed', error: full }))).toEqual(['storage/full', 'storage/full'])
    expect(refusals(world.send(second))).toEqual(['storage/full'])
    expect(types(world.step({ type: 'writable-again' }))).toEqual(['resync'])
    world.send(second)
    expect(world.appended.at(-1)?.dot.seq).toBe(failedSeqs[0])
    world.commitAll()
    expect(world.shown()).toBe('ab')
  })

  test('of the first op of an incarnation opens it again', () => {
    const world = new World({ predecessor: { origin: predecessorOrigin, seq: 7 } }).open('d')
    const update = client(1).insert(0, 'a')
    world.send(update)
    world.step({ type: 'commit-failed', error: full })
    expect([...world.replica.vector]).toEqual([[predecessorOrigin, 7]])
    world.step({ type: 'writable-again' })
    world.send(update)
    expect(world.appended.slice(-2).map(({ kind, dot }) => [kind, dot.seq])).toEqual([
      ['open', 8],
      ['data', 9],
    ])
  })

  test('a verdict that comes after it decides nothing: neither a newer check of its lane, nor a closed document', () => {
    const world = new World().open('d')
    const other = client(1).insert(0, 'a')
    world.send(client(1).insert(0, 'b'), { from: source('honest', {}) })
    const old = checkOf(world.send(other))
    world.step({ type: 'commit-failed', error: full })
    world.step({ type: 'writable-again' })
    world.send(client(1).insert(0, 'c'), { from: source('honest', {}) })
    const newer = checkOf(world.send(other))
    const verdict = { type: 'content-compared', document: 'd', lane, nowMs: 1 } as const
    expect(world.step({ ...verdict, check: old.check, verdict: 'agrees' })).toEqual([])
    expect(refusals(world.step({ ...verdict, check: newer.check, verdict: 'differs' }))).toEqual([
      'document/equivocation',
    ])
    world.step({ type: 'commit-failed', error: full })
    world.step({ type: 'document-unloaded', document: 'd' })
    expect(world.step({ ...verdict, check: old.check, verdict: 'agrees' })).toEqual([])
  })

  test.each([
    // after it, does the process go on?
    ['storage/full', ['refuse']],
    ['storage/read-only', ['refuse']],
    ['storage/busy', ['refuse']],
    ['cell/draining', ['refuse']],
    ['storage/failed', ['refuse', 'stop']],
    ['storage/damaged', ['refuse', 'stop']],
    ['internal/failure', ['refuse', 'stop']],
  ] as const)('by %s has the effects %j', (code, effects) => {
    const world = new World().open('d')
    world.send(client(1).insert(0, 'a'))
    expect(types(world.step({ type: 'commit-failed', error: new CausewayError(code) }))).toEqual(effects)
  })
})

describe('identity', () => {
  test('the first op names the predecessor, seq goes on, and its entry is folded away', () => {
    const world = new World({ predecessor: { origin: predecessorOrigin, seq: 7 } }).open('d')
    expect([...world.replica.vector]).toEqual([[predecessorOrigin, 7]])
    world.send(client(1).insert(0, 'a'))
    expect(world.appended[0]).toMatchObject({
      kind: 'open',
      dot: { origin, seq: 8 },
      predecessor: { origin: predecessorOrigin, seq: 7 },
    })
    expect([...(world.appended[0]?.deps ?? [])]).toEqual([[predecessorOrigin, 7]])
    expect([...(world.appended[1]?.deps ?? [])]).toEqual([])
    // What is durable does not shrink while the first op is on its way.
    expect([...world.replica.vector]).toEqual([[predecessorOrigin, 7]])
    world.commitAll()
    expect([...world.replica.vector]).toEqual([[origin, 9]])
  })

  test('a start that accepts nothing appends nothing', () => {
    const world = new World().open('d')
    world.send(new Uint8Array([1]))
    expect(world.appended).toEqual([])
  })

  test('hlc rises with every op, also when the wall clock stands still', () => {
    const world = new World().open('d')
    const writer = client(1)
    for (let i = 0; i < 5; i++) world.send(writer.insert(i, 'x'))
    const times = world.appended.map(({ hlc }) => hlc)
    expect(times.every((time, index) => index === 0 || time > (times[index - 1] ?? 0))).toBe(true)
  })
})

describe('ingest', () => {
  test('a gap is refused whole, with the durable state vector', () => {
    const world = new World().open('d')
    const writer = client(1)
    writer.insert(0, 'a')
    const effects = world.send(writer.insert(1, 'b'))
    expect(refusals(effects)).toEqual(['document/gap'])
    expect(world.appended).toEqual([])
  })

  test('a gap is judged by the accepted state: pipelined updates need no commit in between', () => {
    const world = new World().open('d')
    const writer = client(1)
    expect(refusals([...world.send(writer.insert(0, 'a')), ...world.send(writer.insert(1, 'b'))])).toEqual([])
  })

  test('a transaction is one op, all or nothing', () => {
    const world = new World().open('d').open('e')
    const fits = client(1).insert(0, 'a')
    const gapped = (() => {
      const writer = client(2)
      writer.insert(0, 'x')
      return writer.insert(1, 'y')
    })()
    const parts = (second: Uint8Array) => [
      { document: 'd', update: fits, kind: 'update' as const },
      { document: 'e', update: second, kind: 'update' as const },
    ]
    expect(
      refusals(world.step({ type: 'updates-received', source: source('t'), parts: parts(gapped), nowMs: 1 })),
    ).toEqual(['document/gap'])
    expect(world.appended).toEqual([])
    world.step({ type: 'updates-received', source: source('t'), parts: parts(client(3).insert(0, 'z')), nowMs: 1 })
    const op = world.appended.at(-1)
    expect(op?.kind === 'data' && op.parts.map(({ document }) => document)).toEqual(['d', 'e'])
    expect(types(world.commitAll())).toEqual(['deliver', 'deliver', 'acknowledge'])
  })

  test('[DU3] a transaction that is offered again is acknowledged, once all its parts were compared', () => {
    const world = new World().open('d').open('e')
    const parts = ['d', 'e'].map((document, at) => {
      return { document, update: client(at + 1).insert(0, document), kind: 'update' as const }
    })
    const offer = () => world.step({ type: 'updates-received', source: source('t'), parts, nowMs: 1 })
    offer()
    world.commitAll()
    const agrees = ({ document, check }: ReturnType<typeof checkOf>) =>
      world.step({ type: 'content-compared', document: document.name, lane, check, verdict: 'agrees', nowMs: 1 })
    expect(types(agrees(checkOf(agrees(checkOf(offer())))))).toEqual(['acknowledge'])
    expect(world.appended.map(({ kind }) => kind)).toEqual(['open', 'data'])
  })

  test('[SG3] what follows on a lane waits for a check, in whatever document', () => {
    const world = new World().open('d').open('e')
    const update = client(1).insert(0, 'a')
    world.send(update)
    world.commitAll()
    const { check } = checkOf(world.send(update))
    expect(world.send(client(2).insert(0, 'b'), { document: 'e' })).toEqual([])
    expect(world.replica.isQuiet(world.replica.document('e')!)).toBe(false)
    const after = world.step({ type: 'content-compared', document: 'd', lane, check, verdict: 'agrees', nowMs: 1 })
    expect(types(after)).toEqual(['acknowledge', 'append'])
    world.commitAll()
    expect(world.replica.isQuiet(world.replica.document('e')!)).toBe(true)
  })

  test('other content for a known struct is refused, and what follows on its lane waits for the verdict', () => {
    const world = new World().open('d')
    world.send(client(1).insert(0, 'AAA'), { from: source('honest', {}) })
    world.commitAll()
    const liar = client(1)
    const asked = world.send(liar.insert(0, 'BBB'), { from: source('lie') })
    expect(types(asked)).toEqual(['compare-content'])
    expect(world.send(client(9).insert(0, 'q'), { from: source('behind') })).toEqual([])
    const { check } = checkOf(asked)
    const effects = world.step({ type: 'content-compared', document: 'd', lane, check, verdict: 'differs', nowMs: 1 })
    expect(refusals(effects)).toEqual(['document/equivocation'])
    expect(types(effects)).toEqual(['refuse', 'append'])
  })

  test('a content check that cannot be made accuses nobody: the refusal says why there was none', () => {
    const world = new World().open('d')
    world.send(client(1).insert(0, 'AAA'), { from: source('honest', {}) })
    world.commitAll()
    const { check } = checkOf(world.send(client(1).insert(0, 'AAA'), { from: source('repeated') }))
    const verdict = new CausewayError('document/busy', { task: 'agrees' })
    const effects = world.step({ type: 'content-compared', document: 'd', lane, check, verdict, nowMs: 1 })
    expect(refusals(effects)).toEqual(['document/busy'])
  })

  test('a verdict that comes after a failed commit and the closing of the document changes nothing', () => {
    const world = new World().open('d')
    world.send(client(1).insert(0, 'AAA'), { from: source('honest', {}) })
    const { check } = checkOf(world.send(client(1).insert(0, 'AAA'), { from: source('repeated') }))
    world.step({ type: 'commit-failed', error: new CausewayError('storage/full') })
    world.step({ type: 'document-unloaded', document: 'd' })
    const verdict = 'agrees'
    expect(world.step({ type: 'content-compared', document: 'd', lane, check, verdict, nowMs: 1 })).toEqual([])
  })

  test('what a gap is told of the document is as new as the last commit', () => {
    const world = new World().open('d')
    const writer = client(1)
    const other = client(2)
    other.insert(0, 'b')
    const gap = other.insert(1, 'needs the one before')
    for (let edits = 1; edits <= 3; edits++) {
      world.send(writer.insert(0, 'a'))
      world.commitAll()
      const vectors = [1, 2].map(() => {
        const [effect] = world.send(gap, { from: source('gapped', {}) })
        return effect?.type === 'refuse' ? effect.error.details['stateVector'] : undefined
      })
      const durable = Buffer.from(Y.encodeStateVector(writer.doc)).toString('base64url')
      expect(vectors).toEqual([durable, durable])
    }
  })

  test('what waits for the disk is bounded in number, also where it adds nothing', () => {
    const world = new World({ limits: { inFlightRequests: 3 } }).open('d')
    const writer = client(1)
    world.send(writer.insert(0, 'a'))
    const removal = writer.remove(0, 1)
    expect(refusals([...world.send(removal), ...world.send(removal)])).toEqual([])
    expect(refusals(world.send(removal))).toEqual(['document/busy'])
    expect(refusals(world.send(client(2).insert(0, 'b')))).toEqual(['document/busy'])
    world.commitAll()
    expect(refusals(world.send(removal))).toEqual([])
    for (let n = 0; n < 3; n++) expect(refusals(world.send(client(3 + n).insert(0, 'c')))).toEqual([])
    expect(refusals(world.send(client(9).insert(0, 'd')))).toEqual(['document/busy'])
    world.step({ type: 'commit-failed', error: new CausewayError('storage/full') })
    world.step({ type: 'writable-again' })
    expect(refusals(world.send(client(9).insert(0, 'd')))).toEqual([])
  })

  test('what waits for content checks is bounded, by lane and altogether', () => {
    const limits = { waitingPerLane: 3, waitingBytesPerLane: 250, checkingBytes: 400 }
    const world = new World({ limits }).open('d').open('e')
    world.send(client(1).insert(0, 'honest'), { from: source('honest', {}) })
    world.send(client(1).insert(0, 'honest'), { document: 'e', from: source('honest', {}) })
    const lie = client(1).insert(0, 'a lie')
    const long = client(2).insert(0, 'x'.repeat(200))
    const short = client(3).insert(0, 'y')
    const check = checkOf(world.send(lie)).check
    expect(refusals(world.send(long))).toEqual([])
    expect(refusals(world.send(long))).toEqual(['document/busy']) // bytes of the lane
    expect(refusals(world.send(short))).toEqual([])
    expect(refusals(world.send(short))).toEqual(['document/busy']) // updates of the lane
    const other = source('other', {})
    checkOf(world.send(lie, { document: 'e', from: other }))
    expect(refusals(world.send(long, { document: 'e', from: other }))).toEqual(['document/busy']) // bytes of all
    world.step({ type: 'content-compared', document: 'd', lane, check, verdict: 'differs', nowMs: 1 })
    expect(refusals(world.send(long, { document: 'e', from: other }))).toEqual([])
  })

  test('[SEC] a document takes structs of so many clients, in flight or not, and more only of those', () => {
    const world = new World({ limits: { documentClients: 2 } }).open('d')
    const [first, second] = [client(1), client(2)]
    world.send(first.insert(0, 'a'))
    world.commitAll()
    expect(types(world.send(second.insert(0, 'b')))).toEqual(['append'])
    expect(refusals(world.send(client(3).insert(0, 'c')))).toEqual(['document/too-large'])
    expect(types(world.send(first.insert(1, 'd')))).toEqual(['append'])
    expect(types(world.send(second.insert(1, 'e')))).toEqual(['append'])
  })

  test('a document over its size takes deletes only', () => {
    const world = new World({ limits: { documentBytes: 60 } }).open('d')
    const writer = client(1)
    world.send(writer.insert(0, 'a'.repeat(30)))
    expect(refusals(world.send(client(3).insert(0, 'b'.repeat(40))))).toEqual(['document/too-large']) // before the commit, too
    world.commitAll()
    const tooMuch = client(2)
    expect(refusals(world.send(tooMuch.insert(0, 'b'.repeat(40))))).toEqual(['document/too-large'])
    expect(refusals(world.send(writer.remove(0, 5)))).toEqual([])
  })
})

describe('compaction', () => {
  test('what fails is tried again at twice the size, and after a success as at first', () => {
    const world = new World({ limits: { tailUpdates: 2 } }).open('d')
    const writer = client(1)
    const dueAt: number[] = []
    /** Types until a compaction is due. */
    const type = (): void => {
      for (;;) {
        world.send(writer.insert(0, 'x'))
        const due = world.commitAll().find((effect) => effect.type === 'compact')
        if (due === undefined) continue
        dueAt.push(due.tailCount)
        return
      }
    }
    for (let failure = 0; failure < 6; failure++) {
      type()
      world.step({ type: 'compaction-failed', document: 'd' })
    }
    type()
    expect(dueAt).toEqual([2, 4, 8, 16, 32, 64, 128])
    world.step({ type: 'compacted', document: 'd', snapshot: Y.encodeStateAsUpdate(writer.doc), tailCount: 128 })
    type()
    expect(dueAt.at(-1)).toBe(2)
  })
})

test('writes nothing while it may not open a line of its own, and is not asked again once it has', () => {
  let refusal: CausewayError | undefined = new CausewayError('cell/too-many-lineages')
  const world = new World({ refusalToOpen: () => refusal }).open('d')
  const writer = client(1)
  const update = writer.insert(0, 'a')
  expect(refusals(world.send(update))).toEqual(['cell/too-many-lineages'])
  world.announce(1, 'ada')
  expect(world.appended).toEqual([])
  refusal = undefined
  world.send(update)
  // On its way to the disk it counts as open; after a failure it does not.
  refusal = new CausewayError('cell/too-many-lineages')
  expect(refusals(world.send(writer.insert(1, 'b')))).toEqual([])
  world.step({ type: 'commit-failed', error: new CausewayError('storage/full') })
  world.step({ type: 'writable-again' })
  expect(refusals(world.send(update))).toEqual(['cell/too-many-lineages'])
  refusal = undefined
  world.send(update)
  world.commitAll()
  refusal = new CausewayError('cell/too-many-lineages')
  expect(refusals(world.send(writer.insert(2, 'c')))).toEqual(['document/gap'])
  expect(world.shown()).toBe('a')
})

type Action =
  | { readonly type: 'edit'; readonly who: number; readonly at: number; readonly remove: boolean }
  | { readonly type: 'commit'; readonly count: number }
  | { readonly type: 'fail' }

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ type: fc.constant('edit' as const), who: fc.nat(2), at: fc.nat(20), remove: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('commit' as const), count: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.constant({ type: 'fail' as const }) },
)

/** Runs a history of three typists and checks, after every step, all that persist-before-show means. */
function runHistory(world: World, actions: readonly Action[]): void {
  world.open('d')
  const typists = [11, 22, 33].map((id) => ({ ...client(id), lane: {} }))
  const acknowledged = new Y.Doc()
  const durable: Op[] = []
  const sent = new Map<string, Uint8Array>()
  const read = (effects: readonly ReplicaEffect<TestSource>[]): void => {
    for (const effect of effects) {
      const update = effect.type === 'acknowledge' ? sent.get(effect.source.name) : undefined
      if (update) Y.applyUpdate(acknowledged, update)
    }
  }
  const offer = (typist: (typeof typists)[number], update: Uint8Array): void => {
    const name = String(sent.size)
    sent.set(name, update)
    read(world.send(update, { from: source(name, typist.lane) }))
  }
  const commit = (count: number): void => {
    const pending = world.appended.splice(0, count)
    if (pending.length === 0) return
    durable.push(...pending)
    read(world.step({ type: 'committed', count: pending.length, position: durable.length, nowMs: 1 }))
  }
  const check = (): void => {
    const stored = new Y.Doc()
    for (const op of durable) for (const { update } of op.kind === 'data' ? op.parts : []) Y.applyUpdate(stored, update)
    expect(world.shown()).toBe(stored.getText('t').toString())
    expect(acknowledged.getText('t').toString()).toBe(stored.getText('t').toString())
    expect(acknowledged.store.pendingStructs).toBeNull()
    expect(durable.map(({ dot }) => dot.seq)).toEqual(durable.map((_, index) => index + 1))
    expect(durable.every(({ hlc }, index) => index === 0 || hlc > (durable[index - 1]?.hlc ?? 0))).toBe(true)
  }
  for (const act of actions) {
    const typist = act.type === 'edit' ? typists[act.who] : undefined
    if (act.type === 'edit' && typist) {
      const { length } = typist.doc.getText('t')
      const isRemoval = act.remove && length > 0
      offer(typist, isRemoval ? typist.remove(act.at % length, 1) : typist.insert(Math.min(act.at, length), 'x'))
    } else if (act.type === 'commit') commit(act.count)
    else {
      world.appended.length = 0
      world.step({ type: 'commit-failed', error: new CausewayError('storage/full') })
      world.step({ type: 'writable-again' })
      // What a client does after the step1 that follows: it offers everything beyond the durable state.
      const known = world.replica.document('d')?.known.clocks.encode() ?? Uint8Array.of(0)
      for (const each of typists) offer(each, Y.encodeStateAsUpdate(each.doc, known))
    }
    check()
  }
  commit(world.appended.length)
  check()
}

test('[CV][DU1] whatever commits and fails, in whatever batches: what is shown is what is stored and acknowledged', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => runHistory(new World(), actions)),
    { numRuns: 100 },
  )
})

/** Replicas with one rule broken each: a history must tell every one of them from ours. */
const mutants: Record<string, () => World> = {
  'acknowledges before the commit': () =>
    new (class extends World {
      override step(input: ReplicaInput<TestSource>) {
        const effects = super.step(input)
        const isAccepted = input.type === 'updates-received' && effects.some(({ type }) => type === 'append')
        return isAccepted
          ? [...effects, { type: 'acknowledge' as const, source: input.source, leftover: false }]
          : effects
      }
    })(),
  'shows one op more than was committed': () =>
    new (class extends World {
      override step(input: ReplicaInput<TestSource>) {
        const isEarly = input.type === 'committed' && this.appended.length > 0
        return super.step(isEarly ? { ...input, count: input.count + 1, position: input.position + 1 } : input)
      }
    })(),
  'keeps the accepted state of a failed commit': () =>
    new (class extends World {
      override step(input: ReplicaInput<TestSource>) {
        const document = this.replica.document('d')
        if (document) document.rollBack = () => {}
        return super.step(input)
      }
    })(),
  'does not use the seq of a failed op again': () =>
    new (class extends World {
      override step(input: ReplicaInput<TestSource>) {
        const effects = super.step(input)
        const inner = this.replica as unknown as { nextSeq: number }
        if (input.type === 'commit-failed') inner.nextSeq++
        return effects
      }
    })(),
  'forgets an acknowledgement': () =>
    new (class extends World {
      override step(input: ReplicaInput<TestSource>) {
        const effects = super.step(input)
        return input.type === 'committed'
          ? effects.filter(({ type }, index) => type !== 'acknowledge' || index % 3 !== 2)
          : effects
      }
    })(),
}

test.each(Object.keys(mutants))('a replica that %s is caught', (name) => {
  const make = mutants[name]
  if (!make) throw new Error(`no mutant ${name}`)
  const outcome = fc.check(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => runHistory(make(), actions)),
    { numRuns: 100, endOnFailure: true },
  )
  expect(outcome.failed).toBe(true)
})
