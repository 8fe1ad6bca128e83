import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import * as Y from 'yjs'
import { CausewayError } from '../../shared/errors/error.js'
import type { DocumentState, ViewKind } from './document-state.js'
import { fingerprint } from './fingerprint.js'
import { patch } from './patch.js'
import { type PatchOperation, parsePatchOperations } from './patch-operation.js'
import { view } from './view.js'

// Other suites share the machine: only a hang should fail for its time.
vi.setConfig({ testTimeout: 30_000 })

const CLIENT = 77
const EMPTY: DocumentState = { snapshot: undefined, tail: [] }

function documentOf(edit: (doc: Y.Doc) => void): DocumentState {
  const doc = new Y.Doc()
  doc.clientID = 1
  edit(doc)
  return { snapshot: Y.encodeStateAsUpdate(doc), tail: [] }
}

function patched(state: DocumentState, operations: unknown[]): DocumentState {
  const { update } = patch(state, parsePatchOperations(operations), CLIENT)
  return { snapshot: state.snapshot, tail: [...state.tail, update] }
}

const read = (state: DocumentState, types?: Record<string, ViewKind>): unknown => JSON.parse(view(state, types))

/** A document with something of every kind. */
const board = documentOf((doc) => {
  const map = doc.getMap('map')
  map.set('count', 5)
  map.set('name', 'a board')
  map.set('cards', Y.Array.from([new Y.Map([['title', new Y.Text('first')]]), 'plain']))
  doc.getText('text').insert(0, 'ab👋cd')
  doc.getArray('array').push([1, 2, 3])
  const element = new Y.XmlElement('p')
  element.setAttribute('old', 'x')
  element.insert(0, [new Y.XmlText('para')])
  doc.getXmlFragment('xml').insert(0, [element, new Y.XmlElement('hr')])
})

describe('operations', () => {
  test.each<[string, object[], object]>([
    ['set', [{ op: 'set', path: ['map', 'name'], value: { a: [1] } }], { map: { name: { a: [1] } } }],
    [
      'set deep',
      [{ op: 'set', path: ['map', 'cards', 0, 'done'], value: true }],
      { map: { cards: [{ done: true }, 'plain'] } },
    ],
    ['set a map', [{ op: 'set', path: ['map', 'm'], value: { a: 1 }, type: 'map' }], { map: { m: { a: 1 } } }],
    ['set an array', [{ op: 'set', path: ['map', 'm'], value: [true, {}], type: 'array' }], { map: { m: [true, {}] } }],
    ['set a text', [{ op: 'set', path: ['map', 'm'], value: 'x', type: 'text' }], { map: { m: 'x' } }],
    ['increment', [{ op: 'increment', path: ['map', 'count'], by: -2 }], { map: { count: 3 } }],
    ['increment from nothing', [{ op: 'increment', path: ['map', 'fresh'] }], { map: { fresh: 1 } }],
    ['insert', [{ op: 'insert', path: ['array'], index: 1, values: ['a', null] }], { array: [1, 'a', null, 2, 3] }],
    ['insert at the end', [{ op: 'insert', path: ['array'], index: 3, values: [4] }], { array: [1, 2, 3, 4] }],
    ['push maps', [{ op: 'push', path: ['array'], values: [{ a: 1 }], type: 'map' }], { array: [1, 2, 3, { a: 1 }] }],
    ['push deep', [{ op: 'push', path: ['map', 'cards'], value: 1 }], { map: { cards: [{}, 'plain', 1] } }],
    ['remove', [{ op: 'remove', path: ['array'], index: 1, length: 2 }], { array: [1] }],
    ['insertText', [{ op: 'insertText', path: ['text'], index: 4, text: '👋' }], { text: 'ab👋👋cd' }],
    ['insertText at the end', [{ op: 'insertText', path: ['text'], text: '!' }], { text: 'ab👋cd!' }],
    [
      'insertText deep',
      [{ op: 'insertText', path: ['map', 'cards', 0, 'title'], index: 0, text: 'the ' }],
      { map: { cards: [{ title: 'the first' }, 'plain'] } },
    ],
    ['deleteText of a whole pair', [{ op: 'deleteText', path: ['text'], index: 2, length: 2 }], { text: 'abcd' }],
    [
      'text inside XML',
      [{ op: 'format', path: ['xml', 0, 0], index: 1, length: 2, attributes: { b: {} } }],
      { xml: '<p old="x">p<b>ar</b>a</p><hr></hr>' },
    ],
    [
      'insertXml',
      [
        {
          op: 'insertXml',
          path: ['xml', 1],
          nodes: [{ text: 'a' }, { text: 'b', attributes: { i: {} } }, { name: 'q', attributes: { n: 1, none: null } }],
        },
      ],
      { xml: '<p old="x">para</p><hr>a<i>b</i><q n="1"></q></hr>' },
    ],
    [
      'insertXml in between',
      [{ op: 'insertXml', path: ['xml'], index: 1, nodes: [{ name: 'q', children: [{ text: 't' }] }] }],
      { xml: '<p old="x">para</p><q>t</q><hr></hr>' },
    ],
    [
      'setAttribute',
      [
        { op: 'setAttribute', path: ['xml', 0], name: 'old', value: null },
        { op: 'setAttribute', path: ['xml', 0], name: 'new', value: 2 },
      ],
      { xml: '<p new="2">para</p><hr></hr>' },
    ],
    ['removeXml', [{ op: 'removeXml', path: ['xml'], index: 0 }], { xml: '<hr></hr>' }],
    [
      'later operations see earlier ones',
      [
        { op: 'set', path: ['new', 'list'], value: [], type: 'array' },
        { op: 'push', path: ['new', 'list'], values: [{}], type: 'map' },
        { op: 'increment', path: ['new', 'list', 0, 'n'], by: 2 },
        { op: 'increment', path: ['new', 'list', 0, 'n'], by: 2 },
      ],
      { new: { list: [{ n: 4 }] } },
    ],
  ])('%s', (_what, operations, expected) => {
    expect(read(patched(board, operations))).toMatchObject(expected)
  })

  test('delete removes a key', () => {
    const state = patched(board, [{ op: 'delete', path: ['map', 'name'] }])
    expect(read(state)).toMatchObject({ map: { count: 5 } })
    expect(view(state)).not.toContain('a board')
  })

  test('neighbouring texts become one type with formats', () => {
    const nodes = [{ name: 'paragraph', children: [{ text: 'a ' }, { text: 'b', attributes: { bold: {} } }] }]
    const state = patched(EMPTY, [{ op: 'insertXml', path: ['default'], nodes }])
    expect(read(state, { default: 'prosemirror' })).toEqual({
      default: {
        type: 'doc',
        content: [
          {
            type: 'paragraph',
            content: [
              { type: 'text', text: 'a ' },
              { type: 'text', text: 'b', marks: [{ type: 'bold' }] },
            ],
          },
        ],
      },
    })
    const doc = new Y.Doc()
    for (const update of state.tail) Y.applyUpdate(doc, update)
    expect((doc.getXmlFragment('default').get(0) as Y.XmlElement).length).toBe(1)
  })

  test('a root that does not exist begins as what the operation needs', () => {
    const state = patched(EMPTY, [
      { op: 'set', path: ['m', 'k'], value: 1 },
      { op: 'push', path: ['a'], values: [1] },
      { op: 'insertText', path: ['t'], text: 'x' },
      { op: 'insertXml', path: ['x'], nodes: [{ name: 'p' }] },
    ])
    expect(read(state)).toEqual({ m: { k: 1 }, a: [1], t: 'x', x: '<p></p>' })
  })
})

describe('refusals', () => {
  test.each<[string, object, string, RegExp]>([
    ['an index inside a pair', { op: 'insertText', path: ['text'], index: 3, text: 'x' }, 'index', /surrogate/],
    ['a start inside a pair', { op: 'deleteText', path: ['text'], index: 3, length: 1 }, 'index', /surrogate/],
    ['an end inside a pair', { op: 'deleteText', path: ['text'], index: 0, length: 3 }, 'length', /surrogate/],
    [
      'a format that ends inside a pair',
      { op: 'format', path: ['text'], index: 0, length: 3, attributes: { b: true } },
      'length',
      /surrogate/,
    ],
    ['text beyond the end', { op: 'insertText', path: ['text'], index: 7, text: 'x' }, 'index', /at most 6/],
    ['a deletion beyond the end', { op: 'deleteText', path: ['text'], index: 4, length: 3 }, 'length', /at most 2/],
    ['an element beyond the end', { op: 'insert', path: ['array'], index: 4, values: [1] }, 'index', /at most 3/],
    ['removing beyond the end', { op: 'remove', path: ['array'], index: 3 }, 'index', /at most 2/],
    ['removing from nothing', { op: 'remove', path: ['nothing'], index: 0 }, 'index', /nothing/],
    ['XML beyond the end', { op: 'insertXml', path: ['xml'], index: 3, nodes: [{ name: 'p' }] }, 'index', /at most 2/],
    ['removing XML beyond the end', { op: 'removeXml', path: ['xml'], index: 1, length: 2 }, 'length', /at most 1/],
    ['text into a map', { op: 'insertText', path: ['map'], text: 'x' }, 'path[0]', /map, not text/],
    ['text into an array', { op: 'insertText', path: ['array'], text: 'x' }, 'path[0]', /array, not text/],
    ['a key of a text', { op: 'set', path: ['text', 'k'], value: 1 }, 'path[0]', /text, not map/],
    ['a key of an array', { op: 'set', path: ['array', 'k'], value: 1 }, 'path[0]', /array, not map/],
    ['an element of XML', { op: 'push', path: ['xml'], values: [1] }, 'path[0]', /xml, not array/],
    ['XML in an array', { op: 'insertXml', path: ['array'], nodes: [{ name: 'p' }] }, 'path[0]', /array, not xml/],
    ['a step into a plain value', { op: 'set', path: ['map', 'name', 'k'], value: 1 }, 'path[1]', /not a shared type/],
    ['a step into nothing', { op: 'set', path: ['map', 'none', 'k'], value: 1 }, 'path[1]', /not a shared type/],
    ['a step beyond an array', { op: 'set', path: ['map', 'cards', 2, 'k'], value: 1 }, 'path[2]', /at most 1/],
    ['a key where an index is needed', { op: 'push', path: ['map', 'cards', 'k'], values: [1] }, 'path[2]', /array/],
    ['an index where a key is needed', { op: 'push', path: ['map', 'cards', 0, 0], values: [1] }, 'path[3]', /map/],
    ['text where the path ends in a map', { op: 'insertText', path: ['map', 'cards', 0], text: 'x' }, 'path', /map/],
    ['an attribute of a fragment', { op: 'setAttribute', path: ['xml'], name: 'a', value: 1 }, 'path', /fragment/],
    ['an attribute of a text', { op: 'setAttribute', path: ['xml', 0, 0], name: 'a', value: 1 }, 'path', /text/],
    ['counting a text', { op: 'increment', path: ['map', 'name'] }, 'path', /not a number/],
    ['counting to infinity', { op: 'increment', path: ['map', 'count'], by: Number.MAX_VALUE }, 'by', /infinite/],
  ])('%s', (what, operation, where, reason) => {
    const before = { op: 'set', path: ['other', 'k'], value: Number.MAX_VALUE }
    // Infinity needs a number to add to.
    const target = what === 'counting to infinity' ? { ...operation, path: ['other', 'k'] } : operation
    try {
      patch(board, parsePatchOperations([before, target]), CLIENT)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(CausewayError)
      expect((error as CausewayError).code).toBe('request/invalid')
      expect((error as CausewayError).details).toEqual({
        path: `operations[1].${where}`,
        reason: expect.stringMatching(reason),
      })
    }
  })

  test('one root cannot be two kinds in one request', () => {
    const operations = parsePatchOperations([
      { op: 'push', path: ['fresh'], values: [1] },
      { op: 'insertText', path: ['fresh'], text: 'x' },
    ])
    expect(() => patch(EMPTY, operations, CLIENT)).toThrow(expect.objectContaining({ code: 'request/invalid' }))
  })
})

describe('the update', () => {
  const operations = parsePatchOperations([
    { op: 'set', path: ['map', 'name'], value: 'new' },
    { op: 'deleteText', path: ['text'], index: 0, length: 1 },
    { op: 'removeXml', path: ['xml'], index: 0 },
  ])

  test('is the same for the same input', () => {
    expect(patch(board, operations, CLIENT)).toEqual(patch(board, operations, CLIENT))
  })

  test('holds structs of the given client alone', () => {
    const { structs } = Y.decodeUpdate(patch(board, operations, CLIENT).update)
    expect(new Set(structs.map((struct) => struct.id.client))).toEqual(new Set([CLIENT]))
  })

  test('does not carry what others deleted before', () => {
    const eroded = documentOf((doc) => {
      const text = doc.getText('text')
      text.insert(0, 'x'.repeat(400))
      for (let at = 0; at < 200; at++) text.delete(at, 1)
    })
    const { update } = patch(eroded, parsePatchOperations([{ op: 'insertText', path: ['text'], text: '!' }]), CLIENT)
    expect(update.length).toBeLessThan(40)
  })

  test('is empty, and said to be, when nothing changes', () => {
    const nothing = parsePatchOperations([{ op: 'delete', path: ['map', 'not there'] }])
    expect(patch(board, nothing, CLIENT)).toEqual({ update: new Uint8Array([0, 0]), changed: false })
    expect(patch(board, operations, CLIENT).changed).toBe(true)
  })

  test('continues the clock of a client that wrote before', () => {
    const once = patched(board, [{ op: 'push', path: ['array'], values: ['a'] }])
    const twice = patched(once, [{ op: 'push', path: ['array'], values: ['b'] }])
    expect(read(twice)).toMatchObject({ array: [1, 2, 3, 'a', 'b'] })
  })
})

/** What a document is to a program: plain JSON. Operations are drawn for it, some of them impossible. */
interface Model {
  map: Record<string, unknown>
  array: unknown[]
  text: string
}

const value = fc.oneof(fc.integer(), fc.string({ unit: 'grapheme', maxLength: 4 }), fc.constant(null), fc.boolean())
const count = fc.nat({ max: 4 })
const key = fc.constantFrom('a', 'b')
const operation = fc.oneof(
  fc.record({ op: fc.constant('set' as const), path: key.map((k) => ['map', k]), value }),
  fc.record({ op: fc.constant('delete' as const), path: key.map((k) => ['map', k]) }),
  fc.record({ op: fc.constant('increment' as const), path: key.map((k) => ['map', k]), by: fc.integer() }),
  fc.record({
    op: fc.constant('insert' as const),
    path: fc.constant(['array']),
    index: count,
    values: fc.array(value, { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ op: fc.constant('push' as const), path: fc.constant(['array']), values: fc.tuple(value) }),
  fc.record({ op: fc.constant('remove' as const), path: fc.constant(['array']), index: count, length: fc.constant(2) }),
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('insertText' as const),
      path: fc.constant(['text']),
      index: count,
      text: fc.string({ unit: fc.constantFrom('x', 'ü', '👋'), minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('deleteText' as const),
      path: fc.constant(['text']),
      index: count,
      length: fc.integer({ min: 1, max: 3 }),
    }),
  },
)

/** The model after `operation`; undefined where it must be refused. */
function modelled(model: Model, operation: PatchOperation): Model | undefined {
  const next = structuredClone(model)
  const key = operation.path[1] as string
  const splitsPair = (at: number): boolean => /[\ud800-\udbff]$/.test(model.text.slice(0, at))
  switch (operation.op) {
    case 'set':
      next.map[key] = operation.value
      return next
    case 'delete':
      delete next.map[key]
      return next
    case 'increment': {
      const current = model.map[key] === undefined ? 0 : model.map[key]
      if (typeof current !== 'number') return undefined
      next.map[key] = current + operation.by
      return next
    }
    case 'insert':
      if (operation.index > model.array.length) return undefined
      next.array.splice(operation.index, 0, ...operation.values)
      return next
    case 'push':
      next.array.push(...operation.values)
      return next
    case 'remove':
      if (operation.index + operation.length > model.array.length) return undefined
      next.array.splice(operation.index, operation.length)
      return next
    case 'insertText': {
      const index = operation.index ?? model.text.length
      if (index > model.text.length || splitsPair(index)) return undefined
      next.text = model.text.slice(0, index) + operation.text + model.text.slice(index)
      return next
    }
    case 'deleteText': {
      const end = operation.index + operation.length
      if (end > model.text.length || splitsPair(operation.index) || splitsPair(end)) return undefined
      next.text = model.text.slice(0, operation.index) + model.text.slice(end)
      return next
    }
    default:
      throw new Error('not drawn')
  }
}

test('requests do to a document what they do to plain JSON: all of it, or nothing', () => {
  let refused = 0
  let accepted = 0
  fc.assert(
    fc.property(fc.array(fc.array(operation, { minLength: 1, maxLength: 3 }), { maxLength: 8 }), (requests) => {
      let model: Model = { map: {}, array: [], text: '' }
      let state = EMPTY
      const kinds = { map: 'map', array: 'array', text: 'text' } as const
      for (const request of requests) {
        const operations = parsePatchOperations(request)
        const next = operations.reduce<Model | undefined>((now, op) => now && modelled(now, op), model)
        if (next === undefined) {
          refused += 1
          expect(() => patch(state, operations, CLIENT)).toThrow(expect.objectContaining({ code: 'request/invalid' }))
          continue
        }
        accepted += 1
        const result = patch(state, operations, CLIENT)
        const after = { ...state, tail: [...state.tail, result.update] }
        expect(JSON.parse(view(after, kinds))).toEqual(next)
        expect(fingerprint(after) !== fingerprint(state)).toBe(result.changed)
        model = next
        state = after
      }
    }),
    { numRuns: 150 },
  )
  expect(Math.min(refused, accepted)).toBeGreaterThan(100)
})
