import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeLeniently } from '../../shared/protocol/document-name.js'
import { chooseProtocol, parseUpgradeTarget, tokenOfProtocols } from './upgrade-target.js'

test.each([
  ['/y/notes', 'y', 'notes'],
  ['/y/team/notes', 'y', 'team/notes'],
  ['/y/team%2Fnotes', 'y', 'team/notes'],
  ['/y/a%20b%C3%A9', 'y', 'a bé'],
  ['/y/%F0%9F%8C%89', 'y', '🌉'],
  ['/y/100%', 'y', '100%'],
  ['/y/100%25', 'y', '100%'],
  ['/y/%zz%4', 'y', '%zz%4'],
  ['/y/%ff%00..%2f', 'y', '%ff\0../'],
  ['/y/%C3%28', 'y', '%C3('],
  ['/y/', 'y', ''],
  ['/y//a', 'y', '/a'],
  ['/y/a?token=t', 'y', 'a'],
  ['/hocuspocus', 'hocuspocus', ''],
  ['/hocuspocus/', 'hocuspocus', ''],
  ['/hocuspocus/collaboration?x=1', 'hocuspocus', ''],
])('%s asks for %s, document %j', (url, endpoint, document) => {
  expect(parseUpgradeTarget(url)).toMatchObject({ endpoint, document })
})

test.each([
  undefined,
  '',
  '/',
  '/y',
  '/yes/notes',
  '/hocuspocuses',
  '/peer',
  '/v1/connect',
  '*',
  'http://[',
  'http://host/y/notes',
  '?/y/a',
])('%s is not ours', (url) => {
  expect(parseUpgradeTarget(url)).toBeUndefined()
})

test('parameters are read, unknown and doubled ones do no harm', () => {
  const { parameters } = parseUpgradeTarget('/y/a?token=a.b.c&other=%zz&token=d&=&&w')!
  expect(parameters.get('token')).toBe('a.b.c')
})

test('whatever stands in a request line, nothing throws', () => {
  const character = fc.constantFrom('/', 'y', '%', '2', 'f', 'c', '3', '?', '=', '&', '[', ':', 'é', '\0')
  fc.assert(fc.property(fc.string({ unit: character, maxLength: 30 }), (rest) => void parseUpgradeTarget(`/y/${rest}`)))
})

test('what the browser encoded is decoded', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (name) => {
      expect(decodeLeniently(encodeURIComponent(name))).toBe(name)
    }),
  )
})

test.each([
  [undefined, undefined],
  ['y-protocol', undefined],
  ['causeway-token.a.b.c', 'a.b.c'],
  ['y-protocol, yauth-a.b.c', 'a.b.c'],
])('subprotocols %s hold the token %s', (header, token) => {
  expect(tokenOfProtocols(header)).toBe(token)
})

test.each([
  [[], false],
  [['y'], 'y'],
  [['yauth-t'], 'yauth-t'],
  [['causeway-token.t', 'y', 'z'], 'y'],
])('of %s, %s is answered', (offered, answered) => {
  expect(chooseProtocol(offered)).toBe(answered)
})
