import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { ByteServer } from '../../test/fuzz/byte-server.js'
import { contentOf, HonestRoom } from '../../test/fuzz/honest-room.js'
import { steps } from '../../test/fuzz/honest-steps.js'
import * as raw from '../../test/fuzz/update-bytes.js'
import { checkUpdate } from './check.js'
import { type DeleteRange, DeleteSet } from './delete-set.js'
import { KnownState } from './known-state.js'
import { parseUpdate } from './parse.js'
import { StateVector } from './state-vector.js'

const { gc, of, text, update } = raw
type Mode = 'update' | 'step2'
const block = (client: number, clock: number, ...structs: Uint8Array[]): raw.RawBlock => ({ client, clock, structs })

/** A document that holds clocks below those given and lacks the rest. */
const known = (clocks: [number, number][], deletes: DeleteRange[] = []) =>
  new KnownState(new StateVector(clocks), new DeleteSet(deletes))

const check = (bytes: Uint8Array, document: KnownState, mode: Mode = 'update') =>
  checkUpdate(parseUpdate(bytes), document, mode)

describe('a gap is what neither the document nor the update holds', () => {
  test.each<[string, Uint8Array, [number, number], [number, number][]]>([
    // what, update, missing id, the document's clocks
    ['clock start', update([block(9, 3, text('a', { origin: [9, 2] }))]), [9, 2], [[9, 2]]],
    ['origin', update([block(9, 0, text('a', { origin: [1, 4] }))]), [1, 4], [[1, 4]]],
    ['right origin', update([block(9, 0, text('a', { right: [1, 4] }))]), [1, 4], [[1, 4]]],
    ['parent', update([block(9, 0, text('a', { parent: [1, 4] }))]), [1, 4], [[1, 4]]],
    ['delete range', update([], [[1, [[2, 3]]]]), [1, 4], [[1, 4]]],
    ['delete range of an unknown client', update([], [[1, [[0, 1]]]]), [1, 0], []],
    ['future of a client in the update', update([block(9, 0, text('a'))], [[9, [[0, 2]]]]), [9, 1], []],
    ['what a Skip leaves out', update([block(9, 0, text('a'), raw.skip(1), gc(1))]), [9, 1], []],
    [
      'reference into a Skip',
      update([block(9, 0, text('a', { origin: [1, 3] })), block(1, 0, gc(2), raw.skip(3))]),
      [1, 3],
      [],
    ],
  ])('%s', (_, bytes, [client, clock], clocks) => {
    expect(check(bytes, known(clocks))).toEqual({ type: 'gap', missing: { client, clock } })
    const more = clocks.some(([one]) => one === client) ? clocks : [...clocks, [client, 0] as [number, number]]
    const closed = more.map(([one, at]): [number, number] => [one, one === client ? Math.max(at, clock + 1) : at])
    expect(check(bytes, known(closed)).type).not.toBe('gap')
  })

  test('a cross-client reference backwards in the update is no gap', () => {
    const bytes = update([
      block(9, 0, text('a'), text('b', { origin: [1, 0] })),
      block(1, 0, text('c', { origin: [9, 0] })),
    ])
    expect(check(bytes, known([]))).toMatchObject({ type: 'new', update: bytes })
  })

  test('what known structs refer to does not matter any more', () => {
    const bytes = update([block(9, 0, text('a', { origin: [1, 77] }), text('b', { origin: [9, 0] }))])
    expect(check(bytes, known([[9, 1]]))).toMatchObject({ type: 'new', clocks: [[9, 1, 2]] })
  })
})

describe('what is stored is exactly what is new', () => {
  test('an update that is all new is stored as it came', () => {
    const bytes = update([block(9, 4, text('abc', { origin: [1, 1] }))], [[1, [[0, 1]]]])
    const checked = check(
      bytes,
      known([
        [9, 4],
        [1, 2],
      ]),
    )
    expect(checked).toEqual({
      type: 'new',
      update: bytes,
      clocks: [[9, 4, 7]],
      deletes: [[1, 0, 1]],
      roots: [],
      places: [],
      overlaps: [],
      leftover: false,
    })
    expect(checked).toHaveProperty(
      'update',
      expect.toSatisfy((stored) => stored === bytes),
    )
  })

  test.each<[string, Uint8Array, [number, number][], DeleteRange[], Uint8Array, object]>([
    // what, received, clocks and deletes of the document, stored, besides
    [
      'structs that are known are left out',
      update([block(9, 0, text('ab'), text('cd', { origin: [9, 1] }))]),
      [[9, 2]],
      [],
      update([block(9, 2, text('cd', { origin: [9, 1] }))]),
      { clocks: [[9, 2, 4]], overlaps: [[9, 0, 2]] },
    ],
    [
      'a struct that is partly known is cut',
      update([block(9, 0, text('abcd', { right: [1, 0] }))]),
      [
        [9, 3],
        [1, 1],
      ],
      [],
      update([block(9, 3, text('d', { origin: [9, 2], right: [1, 0] }))]),
      { clocks: [[9, 3, 4]], overlaps: [[9, 0, 3]] },
    ],
    [
      'a cut through a surrogate pair leaves U+FFFD, as in Yjs',
      of(text('a😀b')),
      [[9, 2]],
      [],
      update([block(9, 2, text('\ufffdb', { origin: [9, 1] }))]),
      { clocks: [[9, 2, 4]] },
    ],
    [
      'values are cut between values',
      of(raw.any([[126], [118, 1, 1, 97, 120], [125, 5]])),
      [[9, 1]],
      [],
      update([
        block(
          9,
          1,
          raw.any(
            [
              [118, 1, 1, 97, 120],
              [125, 5],
            ],
            { origin: [9, 0] },
          ),
        ),
      ]),
      { clocks: [[9, 1, 3]] },
    ],
    [
      'JSON values are cut between values',
      of(raw.json(['1', 'undefined', '"x"'], { parent: 'r', key: 'k' })),
      [[9, 2]],
      [],
      update([block(9, 2, raw.json(['"x"'], { origin: [9, 1], key: '' }))]),
      { clocks: [[9, 2, 3]] },
    ],
    ['collected structs are cut', of(gc(5)), [[9, 2]], [], update([block(9, 2, gc(3))]), { deletes: [[9, 2, 3]] }],
    [
      'deleted structs are cut',
      of(raw.deleted(5)),
      [[9, 2]],
      [],
      update([block(9, 2, raw.deleted(3, { origin: [9, 1] }))]),
      { deletes: [[9, 2, 3]] },
    ],
    [
      'Skips over what is known are left out',
      update([block(9, 0, gc(1), raw.skip(2), text('a', { origin: [9, 0] }), raw.skip(4))]),
      [[9, 3]],
      [],
      update([block(9, 3, text('a', { origin: [9, 0] }))]),
      { clocks: [[9, 3, 4]], overlaps: [[9, 0, 1]] },
    ],
    [
      'clients without structs are left out',
      update([block(9, 0, gc(1)), block(4, 0)]),
      [],
      [],
      update([block(9, 0, gc(1))]),
      { deletes: [[9, 0, 1]] },
    ],
    [
      'delete ranges are reduced to what is not deleted yet, in canonical order',
      update(
        [],
        [
          [
            1,
            [
              [6, 2],
              [0, 5],
              [3, 0],
            ],
          ],
          [2, [[0, 1]]],
          [3, [[0, 2]]],
        ],
      ),
      [
        [1, 9],
        [2, 1],
        [3, 2],
      ],
      [
        [1, 1, 2],
        [2, 0, 1],
      ],
      update(
        [],
        [
          [3, [[0, 2]]],
          [
            1,
            [
              [0, 1],
              [3, 2],
              [6, 2],
            ],
          ],
        ],
      ),
      { clocks: [], overlaps: [] },
    ],
    [
      'structs that are deleted ones count as deletes',
      of(text('ab'), raw.deleted(2, { origin: [9, 1] }), gc(3), text('c', { origin: [9, 1] }), gc(1)),
      [],
      [],
      of(text('ab'), raw.deleted(2, { origin: [9, 1] }), gc(3), text('c', { origin: [9, 1] }), gc(1)),
      {
        deletes: [
          [9, 2, 5],
          [9, 8, 1],
        ],
      },
    ],
  ])('%s', (_, bytes, clocks, deletes, stored, besides) => {
    for (const mode of ['update', 'step2'] as const) {
      const checked = check(bytes, known(clocks, deletes), mode)
      expect(checked).toMatchObject({ type: 'new', leftover: false, ...besides })
      expect(checked).toHaveProperty('update', stored)
    }
  })

  test('what adds nothing says what it repeats', () => {
    const bytes = update([block(9, 2, text('ab', { origin: [9, 1] }))], [[9, [[0, 2]]]])
    const checked = check(bytes, known([[9, 4]], [[9, 0, 3]]))
    expect(checked).toEqual({ type: 'nothing-new', overlaps: [[9, 2, 4]], leftover: false })
    expect(check(Uint8Array.of(0, 0), known([]))).toEqual({ type: 'nothing-new', overlaps: [], leftover: false })
  })
})

describe('of a step2 the largest part that needs nothing else is taken', () => {
  test.each<[string, Uint8Array, [number, number][], Uint8Array | undefined]>([
    [
      'a client stops at the first struct that needs what is missing',
      update([block(9, 0, text('a'), text('b', { origin: [1, 0] }), text('c', { origin: [9, 1] }))]),
      [],
      update([block(9, 0, text('a'))]),
    ],
    [
      'who waits for one that stops, stops',
      update([
        block(9, 0, gc(1), text('b', { origin: [1, 1] })),
        block(1, 0, text('c'), text('d', { origin: [7, 0] })),
      ]),
      [],
      update([block(9, 0, gc(1)), block(1, 0, text('c'))]),
    ],
    [
      'what lies behind a Skip stays out',
      update([
        block(9, 0, text('a'), raw.skip(1), text('c', { origin: [9, 1] })),
        block(1, 0, text('x', { right: [9, 2] })),
      ]),
      [],
      update([block(9, 0, text('a'))]),
    ],
    [
      'delete ranges end where what is known ends',
      update(
        [],
        [
          [1, [[1, 5]]],
          [2, [[0, 1]]],
        ],
      ),
      [[1, 3]],
      update([], [[1, [[1, 2]]]]),
    ],
    ['nothing fits', update([block(9, 5, text('a', { origin: [9, 4] }))], [[9, [[7, 1]]]]), [], undefined],
    [
      'only the right origin of a cut struct matters',
      update([block(9, 0, text('ab', { origin: [1, 9], right: [2, 9] }))]),
      [
        [9, 1],
        [2, 10],
      ],
      // Nothing is left out: the origin is that of the unit which is known.
      update([block(9, 1, text('b', { origin: [9, 0], right: [2, 9] }))]),
    ],
  ])('%s', (what, bytes, clocks, stored) => {
    const checked = check(bytes, known(clocks), 'step2')
    expect(checked).toMatchObject({ leftover: !what.startsWith('only') })
    if (stored) expect(checked).toHaveProperty('update', stored)
    else expect(checked.type).toBe('nothing-new')
  })

  test('a long chain of clients that wait for each other is followed in one go', () => {
    const clients = 10_000
    const blocks = Array.from({ length: clients }, (_, at) => {
      const client = clients - at
      return block(client, 0, text('a', client > 1 ? { origin: [client - 1, 0] } : {}))
    })
    expect(check(update(blocks), known([]), 'step2')).toMatchObject({ type: 'new', leftover: false })
    expect(check(update(blocks.slice(0, -1)), known([]), 'step2')).toMatchObject({
      type: 'nothing-new',
      leftover: true,
    })
  })
})

describe('what would break a document where it lies is refused, also when it comes in small steps', () => {
  const refused = (reason: string) =>
    expect.objectContaining({ code: 'document/bad-update', details: expect.objectContaining({ reason }) })

  test('types-deep-in-steps: one level more with each update', () => {
    const document = new KnownState()
    const level = (at: number) => update([block(9, at, raw.type(0, { parent: at === 0 ? 'text' : [9, at - 1] }))])
    for (let at = 0; at <= 256; at++) document.add(check(level(at), document))
    expect(() => check(level(257), document)).toThrow(refused('types-too-deep'))
    // A neighbour of the innermost one lies as deep, whoever wrote it.
    const neighbour = update([block(1, 0, raw.type(0, { right: [9, 256] }), text('x', { parent: [1, 0] }))])
    expect(() => check(neighbour, document)).toThrow(refused('types-too-deep'))
    expect(check(update([block(1, 0, raw.type(0, { parent: [9, 254] }))]), document).type).toBe('new')
  })

  const map = raw.type(1, { parent: 'list' })
  const values = (place: raw.Place) =>
    raw.any(
      [
        [125, 1],
        [125, 2],
        [125, 3],
      ],
      place,
    )
  const ways: [string, Uint8Array][] = [
    ['under a key', values({ parent: [9, 0], key: 'k' })],
    ['behind a value', values({ origin: [9, 1] })],
    ['before a value', values({ right: [9, 1] })],
    ['as a text', text('abc', { origin: [9, 1] })],
    ['as JSON', raw.json(['1', '2'], { origin: [9, 1] })],
  ]

  test.each(ways)('entry-of-several-values, %s', (_, several) => {
    const first = of(map, raw.any([[126]], { parent: [9, 0], key: 'k' }))
    const document = new KnownState()
    document.add(check(first, document))
    const later = update([block(1, 0, several)])
    expect(() => check(later, document)).toThrow(refused('several-values-under-one-key'))
    expect(() => check(later, document, 'step2')).toThrow(refused('several-values-under-one-key'))
    // In one update, whichever client comes first.
    for (const client of [1, 100]) {
      const blocks = [block(9, 0, map, raw.any([[126]], { parent: [9, 0], key: 'k' })), block(client, 0, several)]
      const whole = update(blocks.sort((left, right) => right.client - left.client))
      expect(() => check(whole, new KnownState())).toThrow(refused('several-values-under-one-key'))
    }
    // From its bytes, the document knows the same.
    expect(() => check(later, KnownState.of(first))).toThrow(refused('several-values-under-one-key'))
  })

  test('what entry-of-several-values does to a Yjs that it reaches: no document that holds it loads any more', () => {
    const poison = of(map, values({ parent: [9, 0], key: 'k' }), text('x', { origin: [9, 2] }))
    const doc = new Y.Doc()
    Y.applyUpdate(doc, poison)
    expect(() => Y.applyUpdate(doc, update([], [[9, [[0, 1]]]]))).toThrow('Unexpected case')
  })

  test('old values of a key may lie in one struct once they are deleted, as those send them who collect nothing', () => {
    const doc = new Y.Doc({ gc: false })
    const entries = new Y.Map<number>()
    doc.getArray('list').insert(0, [entries])
    for (const value of [1, 2, 3, 4]) entries.set('k', value)
    const bytes = Y.encodeStateAsUpdate(doc)
    expect(parseUpdate(bytes).blocks[0]).toMatchObject({ clockEnd: 5, structs: 3 })
    expect(check(bytes, new KnownState())).toMatchObject({ type: 'new', update: bytes })
  })
})

const room = fc.tuple(fc.integer({ min: 1, max: 5 }), steps())

test('what honest Yjs sends passes, and clocks and deletes are those that Yjs reads', () => {
  fc.assert(
    fc.property(room, fc.nat(), fc.nat(), ([people, list], a, b) => {
      const { messages, people: all } = new HonestRoom(people).play(list)
      const docs = all.map(({ doc }) => doc)
      const sent = messages.map(({ bytes }) => bytes)
      sent.push(...docs.map((doc) => Y.encodeStateAsUpdate(doc)))
      const vector = Y.encodeStateVector(docs[a % docs.length]!)
      sent.push(...docs.map((doc) => Y.encodeStateAsUpdate(doc, vector)))
      if (messages.length > 0) {
        const from = a % messages.length
        const merged = Y.mergeUpdates(sent.slice(from, from + 1 + (b % 6)))
        sent.push(merged, Y.mergeUpdates([merged, ...sent.slice(-2)]), Y.diffUpdate(merged, vector))
      }
      for (const bytes of sent) {
        const parsed = parseUpdate(bytes)
        const { structs, ds } = Y.decodeUpdate(bytes)
        const { from, to } = Y.parseUpdateMeta(bytes)
        expect(parsed.structs).toBe(structs.length)
        expect(parsed.blocks.map(({ client, clock, clockEnd }) => [client, clock, clockEnd])).toEqual(
          [...from].map(([client, clock]) => [client, clock, to.get(client)]),
        )
        const deletes = [...ds.clients].flatMap(([client, items]) =>
          items.flatMap(({ clock, len }) => [client, clock, len]),
        )
        expect(parsed.deletes).toEqual(deletes)
        if (parsed.blocks.every(({ clock, hasSkips }) => clock === 0 && !hasSkips)) {
          const clocks = new StateVector(parsed.blocks.map(({ client, clockEnd }) => [client, clockEnd]))
          expect([...clocks.encode()]).toEqual([...Y.encodeStateVectorFromUpdate(bytes)])
        }
      }
    }),
    { numRuns: 150 },
  )
}, 60_000)

test('a document fed with what passes never holds anything pending, and ends where plain Yjs ends', () => {
  fc.assert(
    fc.property(room, fc.array(fc.tuple(fc.nat(), fc.nat(9)), { maxLength: 60 }), ([people, list], deliveries) => {
      const honest = new HonestRoom(people).play(list)
      const server = new ByteServer()
      // Messages arrive in any order, whole states in between.
      for (const [which, kind] of deliveries) {
        if (kind === 0) {
          const { doc } = honest.people[which % people]!
          server.receive(Y.encodeStateAsUpdate(doc, server.known.clocks.encode()), 'step2')
        } else if (honest.messages.length > 0) {
          server.receive(honest.messages[which % honest.messages.length]!.bytes, 'update')
        }
        server.assertSound()
      }
      for (const { bytes } of honest.messages) server.receive(bytes, 'update')
      server.assertSound()
      honest.settle()
      const everything = honest.people[0]!.doc
      for (const { doc } of honest.people) {
        expect(server.receive(Y.encodeStateAsUpdate(doc), 'step2')).toMatchObject({ leftover: false })
      }
      const plainYjs = new Y.Doc()
      for (const { bytes } of honest.messages) Y.applyUpdate(plainYjs, bytes)
      expect(contentOf(server.reader)).toEqual(contentOf(plainYjs))
      expect(contentOf(server.reader)).toEqual(contentOf(everything))
      expect(Y.encodeStateVector(server.reader)).toEqual(Y.encodeStateVector(plainYjs))
      const reloaded = new Y.Doc()
      Y.applyUpdate(reloaded, Y.encodeStateAsUpdate(server.reader))
      expect(contentOf(reloaded)).toEqual(contentOf(plainYjs))
    }),
    { numRuns: 150 },
  )
}, 60_000)

test('of a step2 with pending structs exactly that is taken which the document of its sender shows', () => {
  fc.assert(
    fc.property(room, fc.array(fc.nat(), { maxLength: 30 }), ([people, list], heard) => {
      const { messages } = new HonestRoom(people).play(list)
      const sender = new Y.Doc()
      if (messages.length > 0)
        for (const which of heard) Y.applyUpdate(sender, messages[which % messages.length]!.bytes)
      const server = new ByteServer()
      const checked = server.receive(Y.encodeStateAsUpdate(sender), 'step2')
      server.assertSound()
      expect([...server.known.clocks.encode()]).toEqual([...Y.encodeStateVector(sender)])
      expect(contentOf(server.reader)).toEqual(contentOf(sender))
      const isPending = sender.store.pendingStructs !== null || sender.store.pendingDs !== null
      if ('leftover' in checked) expect(checked.leftover).toBe(isPending)
    }),
    { numRuns: 150 },
  )
}, 60_000)
