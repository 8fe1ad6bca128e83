import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isDocumentName } from '../../shared/protocol/document-name.js'
import { compareNames, parseScope, RIGHTS, type Right, SCOPE_LIMIT_ENTRIES, ScopeError } from './scope.js'

describe('what a scope allows', () => {
  test.each<[scope: string, document: string, right: Right, expected: boolean]>([
    ['team/*:write', 'team/notes', 'write', true],
    ['team/*:write', 'team/a/b', 'read', true],
    ['team/*:write', 'team/notes', 'admin', false],
    ['team/*:write', 'teams/notes', 'read', false],
    ['team/*:write', 'team', 'read', false],
    ['team*:read', 'team', 'read', true],
    ['team*:read', 'teams/x', 'read', true],
    ['notes:read', 'notes', 'read', true],
    ['notes:read', 'notes', 'write', false],
    ['notes:read', 'notes/x', 'read', false],
    ['notes:read notes:admin', 'notes', 'admin', true],
    ['notes:admin notes:read', 'notes', 'admin', true],
    ['*:read a/*:write', 'a/x', 'write', true],
    ['*:read a/*:write', 'b/x', 'write', false],
    ['a:b:write', 'a:b', 'write', true],
    ['a%20b:read', 'a b', 'read', true],
    ['100%25:read', '100%', 'read', true],
    ['star%2A:read', 'star*', 'read', true],
    ['star%2A:read', 'starlight', 'read', false],
    ['a%2Fb:read', 'a/b', 'read', true],
    ['%C3%BC/*:read', 'ü/x', 'read', true],
    ['ü/*:read', 'ü/x', 'read', true],
    ['  a:read   b:read ', 'b', 'read', true],
    ['openid profile email', 'openid', 'read', false],
    ['a:comment', 'a', 'read', false],
    ['a:WRITE', 'a', 'read', false],
    ['a', 'a', 'read', false],
    ['', 'a', 'read', false],
  ])('%j on %j to %s: %s', (scope, document, right, expected) => {
    expect(parseScope(scope).allows(document, right)).toBe(expected)
  })

  test.each([
    ['*:admin', 'admin', true],
    ['*:read', 'read', true],
    ['*:read', 'write', false],
    ['a*:admin', 'read', false],
    ['', 'read', false],
  ] as const)('%j covers everything to %s: %s', (scope, right, expected) => {
    expect(parseScope(scope).allowsAll(right)).toBe(expected)
  })
})

describe('a scope that means something we cannot grant is refused whole', () => {
  test.each([
    ['a*b:read'],
    ['*a:read'],
    ['**:read'],
    [':read'],
    ['a//b:read'],
    ['/a:read'],
    ['a/:read'],
    ['//*:read'],
    ['a%:read'],
    ['a%zz:read'],
    ['a%ff:read'],
    ['a%0Ab:read'],
    [`${'x'.repeat(513)}:read`],
    ['x'.repeat(8193)],
    ['a:read '.repeat(SCOPE_LIMIT_ENTRIES + 1)],
    ['fine:read a*b:write'],
  ])('%.30j', (scope) => {
    expect(() => parseScope(scope)).toThrow(ScopeError)
  })
})

const segment = fc.constantFrom('a', 'b', 'ab', '%', '*', 'é', '\uffff', '🎉', ' ')
const name = fc.array(segment, { minLength: 1, maxLength: 3 }).map((segments) => segments.join('/'))
const prefix = fc.tuple(fc.oneof(name, fc.constant('')), fc.constantFrom('', '/')).map((parts) => parts.join(''))
const right = fc.constantFrom<Right>(...RIGHTS)
const encode = (text: string): string => encodeURIComponent(text).replaceAll('*', '%2A')
const grant = fc.oneof(
  fc.tuple(name, right).map(([document, granted]) => `${encode(document)}:${granted}`),
  fc
    .tuple(prefix, right)
    .filter(([start]) => isDocumentName(`${start}x`))
    .map(([start, granted]) => `${encode(start)}*:${granted}`),
)
const scope = fc.array(grant, { maxLength: 6 }).map((grants) => grants.join(' '))

describe('laws of scopes', () => {
  test('an encoded name grants that name and no other', () => {
    fc.assert(
      fc.property(name, name, right, (granted, asked, to) => {
        expect(parseScope(`${encode(granted)}:${to}`).allows(asked, to)).toBe(granted === asked)
      }),
    )
  })

  test('an encoded prefix grants the names that start with it', () => {
    fc.assert(
      fc.property(prefix, name, right, (start, asked, to) => {
        fc.pre(isDocumentName(`${start}x`))
        expect(parseScope(`${encode(start)}*:${to}`).allows(asked, to)).toBe(asked.startsWith(start))
      }),
    )
  })

  test('a right implies the rights below it', () => {
    fc.assert(
      fc.property(scope, name, (text, asked) => {
        const parsed = parseScope(text)
        if (parsed.allows(asked, 'admin')) expect(parsed.allows(asked, 'write')).toBe(true)
        if (parsed.allows(asked, 'write')) expect(parsed.allows(asked, 'read')).toBe(true)
      }),
    )
  })

  test('an entry more never takes a right away', () => {
    fc.assert(
      fc.property(scope, grant, name, right, (text, more, asked, to) => {
        if (parseScope(text).allows(asked, to)) expect(parseScope(`${text} ${more}`).allows(asked, to)).toBe(true)
      }),
    )
  })

  test('everything is covered exactly where each name is', () => {
    fc.assert(
      fc.property(scope, name, right, (text, asked, to) => {
        if (parseScope(text).allowsAll(to)) expect(parseScope(text).allows(asked, to)).toBe(true)
      }),
    )
  })

  test('ranges hold exactly the allowed names below a prefix, each once, in order', () => {
    fc.assert(
      fc.property(scope, prefix, fc.array(name, { maxLength: 20 }), right, (text, below, names, to) => {
        const parsed = parseScope(text)
        const sorted = [...new Set(names)].sort(compareNames)
        const walked = parsed
          .ranges(to, below)
          .flatMap((range) =>
            sorted.filter((asked) => (range.exact ? asked === range.prefix : asked.startsWith(range.prefix))),
          )
        expect(walked).toEqual(sorted.filter((asked) => asked.startsWith(below) && parsed.allows(asked, to)))
      }),
      { numRuns: 500 },
    )
  })

  test('any text gives a scope or a ScopeError', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), (text) => {
        try {
          parseScope(text).allows('a', 'read')
        } catch (error) {
          expect(error).toBeInstanceOf(ScopeError)
        }
      }),
    )
  })
})
