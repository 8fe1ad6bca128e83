import { describe, expect, test } from 'vitest'
import { CausewayError } from '../../shared/errors/error.js'
import { PATCH_LIMITS, parsePatchOperations } from './patch-operation.js'

const path = ['root']

describe('what is well-formed is taken as it is, with its defaults', () => {
  test.each<[object, object]>([
    [{ op: 'set', path: ['m', 'k'], value: { a: [1, null] } }, {}],
    [{ op: 'set', path: ['m', 'k'], value: 'x', type: 'text' }, {}],
    [{ op: 'set', path: ['m', 'k'], value: null }, {}],
    [{ op: 'delete', path: ['m', 'list', 0, 'k'] }, {}],
    [{ op: 'increment', path: ['m', 'k'] }, { by: 1 }],
    [{ op: 'increment', path: ['m', 'k'], by: -0.5 }, {}],
    [{ op: 'insert', path, index: 0, values: [1, 'a'] }, {}],
    [{ op: 'insert', path, index: 0, values: [{}, { a: 1 }], type: 'map' }, {}],
    [{ op: 'push', path, values: [[1], []], type: 'array' }, {}],
    [{ op: 'remove', path, index: 3 }, { length: 1 }],
    [{ op: 'insertText', path, text: 'x' }, { index: undefined }],
    [{ op: 'insertText', path, index: 0, text: '👋', attributes: { bold: true, link: null } }, {}],
    [{ op: 'deleteText', path, index: 0, length: 1 }, {}],
    [{ op: 'format', path, index: 0, length: 1, attributes: { bold: null } }, {}],
    [{ op: 'insertXml', path, nodes: [{ name: 'p', children: [{ text: 'x' }] }] }, { index: undefined }],
    [{ op: 'insertXml', path, index: 1, nodes: [{ name: 'p', attributes: { a: 1 } }] }, {}],
    [{ op: 'setAttribute', path, name: 'a', value: null }, {}],
    [{ op: 'removeXml', path, index: 0, length: 2 }, {}],
  ])('%j', (operation, defaults) => {
    expect(parsePatchOperations([operation])).toEqual([{ ...operation, ...defaults }])
  })

  test('a single value stands for values', () => {
    expect(parsePatchOperations([{ op: 'push', path, value: [1] }])).toEqual([{ op: 'push', path, values: [[1]] }])
  })
})

const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)])
const nestedNodes = (levels: number): unknown => [{ name: 'p', children: levels === 1 ? [] : nestedNodes(levels - 1) }]

describe('what is not is refused, and the field is named', () => {
  test.each<[unknown, string, RegExp]>([
    ['set', 'operations[0]', /object/],
    [null, 'operations[0]', /object/],
    [{}, 'operations[0].op', /missing/],
    [{ op: 'move', path }, 'operations[0].op', /one of/],
    [{ op: 'push', values: [1] }, 'operations[0].path', /missing/],
    [{ op: 'push', path: 'root', values: [1] }, 'operations[0].path', /array/],
    [{ op: 'push', path: [], values: [1] }, 'operations[0].path', /array/],
    [{ op: 'push', path: [0], values: [1] }, 'operations[0].path[0]', /string/],
    [{ op: 'push', path: ['a', 1.5], values: [1] }, 'operations[0].path[1]', /index/],
    [{ op: 'push', path: ['a', -1], values: [1] }, 'operations[0].path[1]', /index/],
    [{ op: 'push', path: ['a', 'x'.repeat(1_025)], values: [1] }, 'operations[0].path[1]', /1024 bytes/],
    [{ op: 'push', path: Array(65).fill('a'), values: [1] }, 'operations[0].path', /64/],
    [{ op: 'push', path, values: [] }, 'operations[0].values', /empty/],
    [{ op: 'push', path, values: 1 }, 'operations[0].values', /array/],
    [{ op: 'push', path, values: [1], value: 1 }, 'operations[0].value', /unknown/],
    [{ op: 'push', path, values: [1], index: 0 }, 'operations[0].index', /unknown/],
    [{ op: 'push', path, values: [1], type: 'set' }, 'operations[0].type', /map, array or text/],
    [{ op: 'push', path, values: [{}, []], type: 'map' }, 'operations[0].type', /object/],
    [{ op: 'push', path, values: [null], type: 'map' }, 'operations[0].type', /object/],
    [{ op: 'set', path: ['m', 'k'], value: 1, type: 'text' }, 'operations[0].type', /string/],
    [{ op: 'set', path: ['m'], value: 1 }, 'operations[0].path', /key/],
    [{ op: 'set', path: ['m', 0], value: 1 }, 'operations[0].path', /key/],
    [{ op: 'set', path: ['m', 'k'] }, 'operations[0].value', /missing/],
    [{ op: 'set', path: ['m', 'k'], value: undefined }, 'operations[0].value', /JSON/],
    [{ op: 'set', path: ['m', 'k'], value: Number.NaN }, 'operations[0].value', /finite/],
    [{ op: 'set', path: ['m', 'k'], value: [1, { a: undefined }] }, 'operations[0].value[1].a', /JSON/],
    [{ op: 'set', path: ['m', 'k'], value: JSON.parse('{"__proto__":{}}') }, 'operations[0].value', /__proto__/],
    [{ op: 'set', path: ['m', 'k'], value: { a: { constructor: 1 } } }, 'operations[0].value.a', /constructor/],
    [{ op: 'set', path: ['m', 'k'], value: '\ud83d' }, 'operations[0].value', /surrogate/],
    [{ op: 'set', path: ['m', 'k'], value: { '\udc00': 1 } }, 'operations[0].value', /surrogate/],
    [{ op: 'set', path: ['m', 'k'], value: nested(40) }, `operations[0].value${'[0]'.repeat(32)}`, /nested/],
    [{ op: 'increment', path: ['m', 'k'], by: '1' }, 'operations[0].by', /number/],
    [{ op: 'insert', path, index: -1, values: [1] }, 'operations[0].index', /at least 0/],
    [{ op: 'insert', path, values: [1] }, 'operations[0].index', /missing/],
    [{ op: 'remove', path, index: 0, length: 0 }, 'operations[0].length', /at least 1/],
    [{ op: 'insertText', path, text: '' }, 'operations[0].text', /empty/],
    [{ op: 'insertText', path, text: 'a\udc4b' }, 'operations[0].text', /surrogate/],
    [{ op: 'insertText', path, text: 'a', attributes: [] }, 'operations[0].attributes', /object/],
    [{ op: 'deleteText', path, index: 0 }, 'operations[0].length', /missing/],
    [{ op: 'format', path, index: 0, length: 1 }, 'operations[0].attributes', /missing/],
    [{ op: 'insertXml', path, nodes: [] }, 'operations[0].nodes', /nodes/],
    [{ op: 'insertXml', path, nodes: [{ name: 'p' }, {}] }, 'operations[0].nodes[1].name', /missing/],
    [{ op: 'insertXml', path, nodes: [{ text: 'a', name: 'p' }] }, 'operations[0].nodes[0].name', /unknown/],
    [{ op: 'insertXml', path, nodes: [{ name: 'p', children: [1] }] }, 'operations[0].nodes[0].children[0]', /object/],
    [{ op: 'insertXml', path, nodes: nestedNodes(40) }, `operations[0].nodes${'[0].children'.repeat(32)}`, /nested/],
    [{ op: 'set', path: ['m', '__proto__'], value: 1 }, 'operations[0].path[1]', /prototype/],
    [{ op: 'set', path: ['__proto__', 'k'], value: 1 }, 'operations[0].path[0]', /prototype/],
    [{ op: 'setAttribute', path, name: '__proto__', value: 1 }, 'operations[0].name', /prototype/],
    [{ op: 'setAttribute', path, value: 1 }, 'operations[0].name', /missing/],
    [{ op: 'setAttribute', path, name: '', value: 1 }, 'operations[0].name', /empty/],
  ])('%j', (operation, where, reason) => {
    const refusal = refusalOf([operation])
    expect(refusal.code).toBe('request/invalid')
    expect(refusal.details).toEqual({ path: where, reason: expect.stringMatching(reason) })
  })

  test.each<[unknown, RegExp]>([
    [undefined, /array/],
    [{}, /array/],
    [[], /empty/],
    [Array(PATCH_LIMITS.operations + 1).fill({ op: 'delete', path: ['m', 'k'] }), /at most/],
  ])('as the list of operations: case %#', (operations, reason) => {
    expect(refusalOf(operations).details).toEqual({ path: 'operations', reason: expect.stringMatching(reason) })
  })

  test('the position of the operation is named', () => {
    const good = { op: 'delete', path: ['m', 'k'] }
    expect(refusalOf([good, good, { ...good, extra: 1 }]).details).toMatchObject({ path: 'operations[2].extra' })
  })
})

function refusalOf(operations: unknown): CausewayError {
  try {
    parsePatchOperations(operations)
  } catch (error) {
    if (error instanceof CausewayError) return error
    throw error
  }
  throw new Error('nothing was refused')
}
