import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeLeniently } from '../../shared/protocol/document-name.js'
import { normaliseTarget, readQuery } from './target.js'

describe('request targets', () => {
  test.each([
    ['/v1/documents/a%2Fb?w=1', '/v1/documents/a%2Fb?w=1'],
    ['/v1/documents/%zz', '/v1/documents/%25zz'],
    ['/v1/documents/100%', '/v1/documents/100%25'],
    ['/%41', '/A'],
    ['/a#b', '/a%23b'],
    ['//host/path', '//host/path'],
    ['/?', '/?'],
    ['/', '/'],
    ['http://host/v1?x', '/v1?x'],
    ['HTTPS://host:1/', '/'],
    ['http://[', undefined],
    ['http://host', undefined],
    ['*', undefined],
    ['', undefined],
    ['host:443', undefined],
  ])('%s is brought into the form %s', (target, expected) => {
    expect(normaliseTarget(target)).toBe(expected)
  })

  test('strict decoding of the form gives what lenient decoding of the target gives', () => {
    const piece = fc.oneof(fc.stringMatching(/^%[0-9A-Fa-f]{0,2}$/), fc.stringMatching(/^[!-"$->@-~]$/))
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        const target = `/${pieces.join('')}`
        const form = normaliseTarget(target)!
        expect(form.split('/').map(decodeURIComponent)).toEqual(target.split('/').map(decodeLeniently))
        expect(normaliseTarget(form)!.split('/').length).toBe(form.split('/').length)
      }),
      { numRuns: 500 },
    )
  })
})

describe('queries', () => {
  test.each([
    ['/x', {}],
    ['/x?', {}],
    ['/x?a=1&b=%20+c', { a: '1', b: '  c' }],
    ['/x?a', { a: '' }],
    ['/x?a=%ff', { a: '\ufffd' }],
    ['/x?a=1?b=2', { a: '1?b=2' }],
  ])('of %s are %j', (target, expected) => {
    expect({ ...readQuery(target) }).toEqual(expected)
  })

  test('names of prototypes are names like others, and twice is once too often', () => {
    expect(Object.keys(readQuery('/x?__proto__=1&constructor=2'))).toEqual(['__proto__', 'constructor'])
    expect(() => readQuery('/x?w=1&w=2')).toThrow(
      expect.objectContaining({ code: 'request/invalid', details: expect.objectContaining({ path: 'w' }) }),
    )
  })
})
