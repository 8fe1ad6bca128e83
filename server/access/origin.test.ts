import { describe, expect, test } from 'vitest'
import { CausewayError } from '../../shared/errors/error.js'
import { createOriginPolicy } from './origin.js'

const none = undefined

describe('[SEC] which pages may speak to a replica that asks for tokens', () => {
  test.each([
    // list, Origin, Host, may speak?
    [[], none, 'cw.example', true], // a program
    [[], none, none, true],
    [[], 'https://cw.example', 'cw.example', true], // our own page
    [[], 'https://cw.example', 'cw.example:443', true],
    [[], 'https://cw.example', 'CW.example', true],
    [[], 'https://cw.example:8443', 'cw.example', false],
    [[], 'https://evil.example', 'cw.example', false],
    [[], 'https://cw.example.evil.example', 'cw.example', false],
    [[], 'https://evil.example/cw.example', 'cw.example', false],
    [[], 'https://cw.example@evil.example', 'cw.example', false],
    [[], 'null', 'cw.example', false],
    [[], '', 'cw.example', false],
    [[], 'http://localhost:5173', 'cw.example', false],
    [['https://app.example'], 'https://app.example', 'cw.example', true],
    [['https://app.example'], 'http://app.example', 'cw.example', false],
    [['https://app.example'], 'https://app.example:8443', 'cw.example', false],
    [['https://app.example'], 'null', 'cw.example', false],
    [['*'], 'https://any.example', 'cw.example', true],
    [['*'], 'null', 'cw.example', true],
    [['capacitor://localhost'], 'capacitor://localhost', 'cw.example', true],
  ] as const)('list %j, Origin %s, Host %s: %s', (origins, origin, host, expected) => {
    const policy = createOriginPolicy({ origins, open: false })
    expect(speaks(policy, { origin, host })).toBe(expected)
  })
})

describe('[SEC] open access trusts only this machine, whatever name a page has made point at it', () => {
  test.each([
    [[], none, '127.0.0.1:4400', true],
    [[], none, 'localhost:4400', true],
    [[], none, '[::1]:4400', true],
    [[], none, 'evil.example:4400', false], // a read of a page that had its name resolve to us
    [[], 'http://evil.example:4400', 'evil.example:4400', false],
    [[], none, none, false],
    [[], 'http://localhost:4400', 'localhost:4400', true],
    [[], 'http://localhost:5173', '127.0.0.1:4400', true], // an app being developed
    [[], 'http://evil.example', '127.0.0.1:4400', false],
    [[], 'null', '127.0.0.1:4400', false],
    [['https://box.example'], 'https://box.example', 'box.example', true],
    [['https://box.example'], none, 'box.example', true],
  ] as const)('list %j, Origin %s, Host %s: %s', (origins, origin, host, expected) => {
    const policy = createOriginPolicy({ origins, open: true })
    expect(speaks(policy, { origin, host })).toBe(expected)
  })
})

test('only allowed pages of another host are told so', () => {
  const policy = createOriginPolicy({ origins: ['https://app.example'], open: false })
  expect(policy.isAllowedElsewhere({ origin: 'https://app.example', host: 'cw.example' })).toBe(true)
  expect(policy.isAllowedElsewhere({ origin: 'https://evil.example', host: 'cw.example' })).toBe(false)
  expect(policy.isAllowedElsewhere({ origin: 'https://cw.example', host: 'cw.example' })).toBe(false)
  expect(policy.isAllowedElsewhere({ origin: none, host: 'cw.example' })).toBe(false)
})

function speaks(
  policy: ReturnType<typeof createOriginPolicy>,
  headers: { origin: string | undefined; host: string | undefined },
): boolean {
  try {
    policy.check(headers)
    return true
  } catch (error) {
    expect(error).toEqual(new CausewayError('access/origin'))
    return false
  }
}
