import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CausewayError } from '../errors/error.js'
import {
  checkDocumentName,
  DOCUMENT_NAME_LIMIT_BYTES,
  decodeLeniently,
  isDocumentName,
  spaceOf,
} from './document-name.js'

describe('document names', () => {
  test.each([
    ['notes', true],
    ['team/notes', true],
    ['a/b/c d', true],
    ['Überblick/日本/🎉', true],
    ['..', true],
    ['100%', true],
    ['', false],
    ['/', false],
    ['/notes', false],
    ['notes/', false],
    ['a//b', false],
    ['a\nb', false],
    ['a\u0000b', false],
    ['a\u007fb', false],
    ['a\u0085b', false],
    ['half \ud83c', false],
    ['half \udf89', false],
    ['swapped \udf89\ud83c', false],
    ['x'.repeat(512), true],
    ['x'.repeat(513), false],
    ['é'.repeat(256), true],
    [`${'é'.repeat(256)}x`, false],
    ['🎉'.repeat(128), true],
    [`${'🎉'.repeat(128)}x`, false],
  ])('%j is a name: %s', (name, expected) => {
    expect(isDocumentName(name)).toBe(expected)
  })

  test('a name that is none is refused with the code of the table', () => {
    expect(() => checkDocumentName('a//b')).toThrow(new CausewayError('document/bad-name'))
    expect(checkDocumentName('a/b')).toBe('a/b')
  })

  test('the rule agrees with a slow reading of its own sentence, for any string', () => {
    const slow = (name: string): boolean =>
      Buffer.from(name, 'utf8').toString('utf8') === name &&
      Buffer.byteLength(name) <= DOCUMENT_NAME_LIMIT_BYTES &&
      !/\p{Cc}/u.test(name) &&
      name.split('/').every((segment) => segment !== '')
    const piece = fc.oneof(fc.constantFrom('/', 'a', '\n', '\ud800', '\udc00', '\u0080', 'é', '€', '🎉'), fc.string())
    const long = fc.tuple(fc.constantFrom('a', 'é', '€', '🎉', 'a/'), fc.integer({ min: 0, max: 600 }))
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')),
          long.map(([unit, count]) => unit.repeat(count)),
        ),
        (name) => {
          expect(isDocumentName(name)).toBe(slow(name))
        },
      ),
    )
  })
})

describe('spaces', () => {
  test.each([
    ['notes', 'default'],
    ['team/notes', 'team'],
    ['team/a/b', 'team'],
  ])('the space of %s is %s', (name, space) => {
    expect(spaceOf(name)).toBe(space)
  })
})

describe('lenient decoding', () => {
  test.each([
    ['x%2Fy', 'x/y'],
    ['x%2fy', 'x/y'],
    ['100%', '100%'],
    ['%zz', '%zz'],
    ['%2', '%2'],
    ['%ff', '%ff'],
    ['%41%ff%42', 'A%ffB'],
    ['%c3%a9', 'é'],
    ['%c3%28', '%c3('],
    ['%f0%9f%8e%89', '🎉'],
    ['%f0%9f%8e', '%f0%9f%8e'],
    ['%ed%a0%80', '%ed%a0%80'],
    ['%00', '\u0000'],
    ['%2525', '%25'],
  ])('%s stands for %j', (text, expected) => {
    expect(decodeLeniently(text)).toBe(expected)
  })

  test('it undoes encoding for every name, and throws for no text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (name) => {
        expect(decodeLeniently(encodeURIComponent(name))).toBe(name)
      }),
    )
    const mangled = fc.oneof(fc.stringMatching(/^%[0-9a-f]{0,2}$/), fc.string({ maxLength: 3 }))
    fc.assert(
      fc.property(fc.array(mangled), (pieces) => {
        expect(decodeLeniently(pieces.join(''))).toBeTypeOf('string')
      }),
    )
  })
})
