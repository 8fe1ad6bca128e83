import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import * as raw from '../../test/fuzz/update-bytes.js'
import { CLIENT_LIMIT, CLOCK_LIMIT, DEFAULT_UPDATE_LIMITS } from './limits.js'
import { parseUpdate } from './parse.js'

const { of, update, text, gc, concat } = raw

const badUpdate = (reason: string) =>
  expect.objectContaining({ code: 'document/bad-update', details: expect.objectContaining({ reason }) })

const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
const nestedAny = (depth: number): number[] => [...Array(depth).fill([117, 1]).flat(), 126]
const nestedTypes = (depth: number): Uint8Array[] =>
  Array.from({ length: depth }, (_, at) => raw.type(0, { parent: at === 0 ? 'text' : [9, at - 1] }))
const str = (value: string): number[] => [...raw.sizedText(value)]
const block = (client: number, clock: number, ...structs: Uint8Array[]): raw.RawBlock => ({ client, clock, structs })
const proto = '__proto__'

describe('hostile updates that break documents are refused by name', () => {
  test.each<[string, string, Uint8Array]>([
    ['gc-len0', 'empty-struct', of(gc(0))],
    ['gc-len0-victim', 'empty-struct', update([block(1, 5, gc(0))])],
    ['deleted-len0-victim', 'empty-struct', update([block(1, 5, raw.deleted(0, { origin: [1, 4] }))])],
    ['deep-json-embed', 'value-too-deep', of(raw.embed(nested(30_000)))],
    ['deep-json-format', 'value-too-deep', of(raw.format('a', nested(30_000)))],
    ['deep-any', 'value-too-deep', of(raw.any([nestedAny(3_000)]))],
    ['deep-types', 'types-too-deep', of(...nestedTypes(6_500))],
    ['structs-32M', 'count-exceeds-bytes', concat([1], raw.varUint(32_000_000), [9, 0])],
    ['unsorted-clients', 'clients-not-descending', update([block(1, 0, text('a')), block(2, 0, text('b'))])],
    ['skip-2e53', 'clock-out-of-range', of(raw.skip(2 ** 53 - 1), text('a'))],
    ['clock-2e53', 'clock-out-of-range', update([block(9, 2 ** 53 - 1, text('a'))])],
    ['gc-victim-2e50', 'clock-out-of-range', update([block(1, 5, gc(2 ** 50))])],
    [
      'pending-cycle',
      'circular-references',
      update([block(2, 0, text('b', { origin: [1, 0] })), block(1, 0, text('a', { origin: [2, 0] }))]),
    ],
    ['proto-any', 'prototype-key', of(raw.any([[118, 1, ...str(proto), 118, 1, ...str('isAdmin'), 120]]))],
    ['proto-mapkey', 'prototype-key', of(raw.any([[120]], { key: proto }))],
    ['bigint', 'big-integer', of(raw.any([[122, 0, 0, 0, 0, 0, 0, 0, 1]]))],
    [
      'subdocs-by-the-thousand',
      'too-many-subdocuments',
      of(...Array.from({ length: 5_001 }, () => raw.subdocument('a', [118, 0]))),
    ],
  ])('%s: %s', (_, reason, bytes) => {
    expect(() => parseUpdate(bytes)).toThrow(badUpdate(reason))
  })

  test('V2 is refused, saying so', () => {
    const doc = new Y.Doc()
    doc.getText('text').insert(0, 'hello')
    expect(() => parseUpdate(Y.encodeStateAsUpdateV2(doc))).toThrow(badUpdate('encoded-as-v2'))
    expect(() => parseUpdate(Y.encodeStateAsUpdateV2(new Y.Doc()))).toThrow(badUpdate('encoded-as-v2'))
  })
})

test.each<[string, string, Uint8Array]>([
  ['no bytes', 'truncated', Uint8Array.of()],
  ['no delete set', 'truncated', Uint8Array.of(0)],
  ['trailing bytes', 'trailing-bytes', concat(of(text('a')), [0])],
  ['a count of clients without bytes', 'count-exceeds-bytes', Uint8Array.of(200, 1, 0)],
  ['a count of values without bytes', 'count-exceeds-bytes', of(raw.item(8, {}, raw.varUint(1_000_000)))],
  ['a count of texts without bytes', 'count-exceeds-bytes', of(raw.item(2, {}, raw.varUint(1_000_000)))],
  ['a count of entries without bytes', 'count-exceeds-bytes', of(raw.any([[118, 100]]))],
  ['a count of items without bytes', 'count-exceeds-bytes', of(raw.any([[117, 100]]))],
  ['a count of deletes without bytes', 'count-exceeds-bytes', Uint8Array.of(0, 100)],
  ['a text longer than the update', 'truncated', of(raw.item(4, {}, Uint8Array.of(100, 97)))],
  ['a padded number', 'bad-varint', Uint8Array.of(0x81, 0x00, 0)],
  ['a padded signed number', 'bad-varint', of(raw.any([[125, 0x81, 0x00]]))],
  ['a number above 2^53', 'bad-varint', concat([1, 1], [255, 255, 255, 255, 255, 255, 255, 127], [0, 0, 1, 0])],
  ['an endless number', 'bad-varint', new Uint8Array(60).fill(255)],
  ['a client twice', 'client-twice', update([block(1, 0, text('a')), block(1, 1, text('b'))])],
  ['an unknown content', 'unknown-content', of(raw.item(11, {}, raw.varUint(1)))],
  ['an unknown type', 'unknown-type', of(raw.type(7))],
  ['an unknown kind of value', 'unknown-value-type', of(raw.any([[115]]))],
  ['a collected struct with an origin', 'bad-struct-info', of(Uint8Array.of(0x80, 1))],
  ['a Skip with flags', 'bad-struct-info', of(Uint8Array.of(0x4a, 1))],
  ['a parent that is neither root nor id', 'bad-parent-info', of(Uint8Array.of(4, 2, 1, 97, 1, 97))],
  ['an empty Skip', 'empty-struct', of(raw.skip(0))],
  ['an empty text', 'empty-struct', of(text(''))],
  ['no values', 'empty-struct', of(raw.any([]))],
  ['no JSON values', 'empty-struct', of(raw.json([]))],
  ['a struct beyond the clock limit', 'clock-out-of-range', update([block(9, CLOCK_LIMIT, text('a'))])],
  ['structs that end beyond the clock limit', 'clock-out-of-range', of(gc(CLOCK_LIMIT), gc(1))],
  ['a delete range beyond the clock limit', 'clock-out-of-range', update([], [[1, [[CLOCK_LIMIT, 1]]]])],
  ['an origin in itself', 'reference-ahead', of(text('a', { origin: [9, 0] }))],
  ['a right origin ahead', 'reference-ahead', of(text('a', { right: [9, 7] }))],
  ['a parent ahead', 'reference-ahead', of(text('a', { parent: [9, 1] }))],
  ['an overlong UTF-8 form', 'bad-utf8', of(raw.item(4, {}, Uint8Array.of(2, 0xc0, 0xaf)))],
  ['an encoded surrogate', 'bad-utf8', of(raw.item(4, {}, Uint8Array.of(3, 0xed, 0xa0, 0x80)))],
  ['half a UTF-8 sequence', 'bad-utf8', of(raw.item(4, {}, Uint8Array.of(1, 0xe2)))],
  ['a code point above U+10FFFF', 'bad-utf8', of(raw.item(4, {}, Uint8Array.of(4, 0xf4, 0x90, 0x80, 0x80)))],
  ['bad UTF-8 in a root name', 'bad-utf8', of(Uint8Array.of(4, 1, 1, 0xff, 1, 97))],
  ['bad UTF-8 in JSON', 'bad-utf8', of(raw.item(5, {}, Uint8Array.of(3, 0x22, 0xff, 0x22)))],
  ['bad UTF-8 in a value', 'bad-utf8', of(raw.any([[119, 1, 0xff]]))],
  ['an embed that is no JSON', 'bad-json', of(raw.embed('{a:1}'))],
  ['an embed that is undefined', 'bad-json', of(raw.embed('undefined'))],
  ['a format that is no JSON', 'bad-json', of(raw.format('a', ''))],
  ['a JSON value that is no JSON', 'bad-json', of(raw.json(['nul']))],
  ['a JSON number that is infinite', 'number-out-of-range', of(raw.embed('[-1e309]'))],
  ['a prototype in JSON', 'prototype-key', of(raw.embed('{"a":[{"__proto__":1}]}'))],
  ['a prototype in JSON, escaped', 'prototype-key', of(raw.embed('{"\\u005f_proto_\\u005F":1}'))],
  ['a prototype as a format', 'prototype-key', of(raw.format(proto, '1'))],
  ['a prototype as a root', 'prototype-key', of(text('a', { parent: proto }))],
  ['subdocument options that are no object', 'bad-subdocument-options', of(raw.subdocument('a', [126]))],
  ['a subdocument option that replaces its id', 'bad-subdocument-options', of(subdocWith('guid', [119, 1, 97]))],
  ['a subdocument option that is a function', 'bad-subdocument-options', of(subdocWith('gcFilter', [120]))],
  ['a subdocument whose meta is a big integer', 'big-integer', of(subdocWith('meta', [122, 0, 0, 0, 0, 0, 0, 0, 1]))],
  ['a subdocument flag that is no boolean', 'bad-subdocument-options', of(subdocWith('gc', [125, 1]))],
])('an update with %s is refused: %s', (_, reason, bytes) => {
  expect(() => parseUpdate(bytes)).toThrow(badUpdate(reason))
})

function subdocWith(option: string, value: readonly number[]): Uint8Array {
  return raw.subdocument('a', [118, 1, ...str(option), ...value])
}

test.each<[string, string, Uint8Array, Partial<typeof DEFAULT_UPDATE_LIMITS>]>([
  ['clients', 'too-many-clients', update([block(3, 0, gc(1)), block(2, 0, gc(1)), block(1, 0, gc(1))]), { clients: 2 }],
  ['structs', 'too-many-structs', of(gc(1), gc(1), gc(1)), { structs: 2 }],
  [
    'delete ranges',
    'too-many-delete-ranges',
    update(
      [],
      [
        [
          1,
          [
            [0, 1],
            [3, 1],
            [6, 1],
          ],
        ],
      ],
    ),
    { deleteRanges: 2 },
  ],
  ['roots', 'too-many-roots', of(...['a', 'b', 'c'].map((parent) => text('x', { parent }))), { roots: 2 }],
  ['subdocuments', 'too-many-subdocuments', of(...Array(3).fill(raw.subdocument('a', [118, 0]))), { subdocuments: 2 }],
  ['bytes of a key', 'key-too-long', of(text('x', { parent: 'r', key: 'abc' })), { keyBytes: 2 }],
  ['depth of a value', 'value-too-deep', of(raw.any([nestedAny(3)])), { valueDepth: 2 }],
  ['depth of JSON', 'value-too-deep', of(raw.embed(nested(3))), { valueDepth: 2 }],
  ['depth of types', 'types-too-deep', of(...nestedTypes(4)), { typeDepth: 2 }],
])('the limit on %s holds, and one less passes: %s', (_, reason, bytes, limit) => {
  expect(() => parseUpdate(bytes, { ...DEFAULT_UPDATE_LIMITS, ...limit })).toThrow(badUpdate(reason))
  const [[name, most]] = Object.entries(limit) as [[keyof typeof DEFAULT_UPDATE_LIMITS, number]]
  expect(parseUpdate(bytes, { ...DEFAULT_UPDATE_LIMITS, [name]: most + 1 }).bytes).toBe(bytes)
})

test.each<[string, Uint8Array]>([
  ['nothing', Uint8Array.of(0, 0)],
  ['the largest clock', update([block(9, CLOCK_LIMIT - 1, text('a', { origin: [9, 3] }))])],
  ['the largest client', update([block(CLIENT_LIMIT, 0, text('a'))])],
  ['a Skip', of(text('a'), raw.skip(3), text('b', { origin: [9, 0] }))],
  ['a client without structs', update([block(1, 0)])],
  ['an empty delete range', update([], [[1, [[3, 0]]]])],
  ['a client without delete ranges', update([], [[1, []]])],
  [
    'delete sets in ascending order',
    update(
      [],
      [
        [1, [[3, 2]]],
        [
          2,
          [
            [7, 1],
            [0, 2],
          ],
        ],
      ],
    ),
  ],
  [
    'an undefined JSON value',
    of(raw.json(['undefined', '{"a":[1e-7,1e308,0.00000000001,12345678901234567890,true]}'])),
  ],
  ['references across clients', update([block(2, 0, text('b', { origin: [1, 0] })), block(1, 0, text('a'))])],
  [
    'references to later structs of a client than those in the update',
    update([block(2, 0, text('b', { origin: [1, 3] })), block(1, 0, text('a', { origin: [2, 4] }))]),
  ],
  ['subdocument options of the Rust implementation', of(rustSubdocument())],
])('%s is well-formed', (_, bytes) => {
  expect(parseUpdate(bytes).bytes).toBe(bytes)
})

function rustSubdocument(): Uint8Array {
  const options = [
    ...[str('gc'), [120], str('collectionId'), [119, 1, 97], str('encoding'), [122, 0, 0, 0, 0, 0, 0, 0, 1]],
    ...[str('autoLoad'), [121], str('shouldLoad'), [121]],
  ]
  return raw.subdocument('a', [118, 5, ...options.flat()])
}

test('what is parsed tells clocks, references, roots and deletes', () => {
  const parsed = parseUpdate(
    update(
      [
        block(7, 4, text('héllo', { origin: [3, 8], right: [2, 1] }), raw.skip(2), raw.deleted(3, { origin: [3, 5] })),
        block(
          3,
          9,
          raw.type(1, { parent: 'map', key: 'k' }),
          text('x', { parent: [2, 0] }),
          text('y', { parent: 'map' }),
        ),
      ],
      [[5, [[1, 2]]]],
    ),
  )
  expect(parsed).toMatchObject({
    structs: 6,
    references: { clients: [3, 2], clocks: [8, 1] },
    roots: ['map'],
    deletes: [5, 1, 2],
    isPadded: true,
    splitsSurrogates: false,
  })
  expect(parsed.blocks).toMatchObject([
    { client: 7, clock: 4, clockEnd: 14, structs: 3, hasSkips: true, hasDeleted: true },
    { client: 3, clock: 9, clockEnd: 12, structs: 3, hasSkips: false, hasDeleted: false },
  ])
})

test('text counts in UTF-16 units, and halves of surrogate pairs are noticed', () => {
  const sizes = (value: string) => {
    const { blocks, splitsSurrogates } = parseUpdate(of(text(value)))
    return [blocks[0]!.clockEnd, splitsSurrogates]
  }
  expect(sizes('aé€😀')).toEqual([5, false])
  expect(sizes('\ufffdb')).toEqual([2, true])
  expect(sizes('b\ufffd')).toEqual([2, true])
  expect(sizes('b\ufffdb')).toEqual([3, false])
})

test('JSON passes if and only if JSON.parse takes it, prototypes and infinite numbers aside', () => {
  const fragment = fc.constantFrom(
    ...[
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '\\',
      '\\u00e9',
      '\\ud83d',
      '\\n',
      '\\x',
      'true',
      'fals',
      'null',
      '-',
      '0',
      '1',
    ],
    ...[
      '12',
      '.5',
      'e',
      'E+3',
      ' ',
      '\t',
      '\n',
      '\u0001',
      '"a"',
      '"a":',
      '{}',
      '[]',
      '[1,2]',
      'é',
      '\ufeff',
      '{"a":1}',
    ],
  )
  const texts = fc.oneof(
    fc.array(fragment, { maxLength: 8 }).map((parts) => parts.join('')),
    fc.json(),
  )
  fc.assert(
    fc.property(texts, (value) => {
      let isJson = true
      try {
        JSON.parse(value, (key, item) => {
          if (key === '__proto__' || item === Number.POSITIVE_INFINITY || item === Number.NEGATIVE_INFINITY)
            isJson = false
          return item
        })
      } catch {
        isJson = false
      }
      const check = () => parseUpdate(of(raw.embed(value)))
      if (isJson) check()
      else expect(check).toThrow()
    }),
    { numRuns: 2_000 },
  )
})

test('UTF-8 passes if and only if the strict decoder takes it, and counts as long', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 6 }),
    fc.array(fc.constantFrom(0x41, 0x80, 0xbf, 0xc2, 0xe0, 0xa0, 0xed, 0x9f, 0xf0, 0x90, 0xf4, 0x8f, 0xef), {
      minLength: 1,
      maxLength: 8,
    }),
    fc.string({ unit: 'binary', minLength: 1 }).map((value) => new TextEncoder().encode(value)),
  )
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  fc.assert(
    fc.property(bytes, (value) => {
      const check = () => parseUpdate(of(raw.item(4, {}, concat(raw.varUint(value.length), value))))
      let decoded: string | undefined
      try {
        decoded = decoder.decode(Uint8Array.from(value))
      } catch {}
      if (decoded === undefined) expect(check).toThrow(badUpdate('bad-utf8'))
      else expect(check().blocks[0]!.clockEnd).toBe(decoded.length)
    }),
    { numRuns: 3_000 },
  )
})

test('any bytes are an update or a typed error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      try {
        parseUpdate(bytes)
      } catch (error) {
        expect(error).toMatchObject({ code: 'document/bad-update', details: { reason: expect.any(String) } })
      }
    }),
    { numRuns: 3_000 },
  )
})

test('every beginning of an update is refused', () => {
  const doc = new Y.Doc()
  doc.getText('text').insert(0, 'hello')
  doc.getText('text').format(1, 3, { bold: true })
  doc.getMap('map').set('a', { b: [1, 'c', null] })
  const bytes = Y.encodeStateAsUpdate(doc)
  for (let size = 0; size < bytes.length; size++) expect(() => parseUpdate(bytes.subarray(0, size))).toThrow()
})

test('the default limits admit a first sync of 200,000 structs by 10,000 clients', () => {
  const clients = Array.from({ length: 10_000 }, (_, at) => 1_000_000 - at)
  const structs = Array.from({ length: 20 }, (_, at) => text('ab', at === 0 ? {} : { parent: `root-${at}` }))
  const parsed = parseUpdate(update(clients.map((client) => block(client, 0, ...structs))))
  expect(parsed).toMatchObject({ structs: 200_000, roots: { length: 20 } })
})
