import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { vectorOf } from '../../test/support/causal-text.js'
import type { CellId } from '../clock/cell.js'
import { makeOrigin } from '../clock/dot.js'
import { EMPTY_VECTOR } from '../clock/version-vector.js'
import {
  DEBT_LIMIT,
  decodeToken,
  encodeToken,
  type SessionKeys,
  type SessionToken,
  TOKEN_LIMIT_CHARS,
} from './token.js'

const keysOf = (secret: string, current = 1): SessionKeys => ({
  current,
  mac: (keyId, bytes) =>
    keyId === 1 || keyId === 2 ? createHmac('sha256', `${secret}${keyId}`).update(bytes).digest() : undefined,
})
const KEYS = keysOf('secret')
const CELL = '0f'.repeat(16) as CellId

const tokenOf = (change: Partial<SessionToken> = {}): SessionToken => ({
  cell: CELL,
  epoch: { ordinal: 2, id: '00000000000000ff' },
  configEpoch: 7,
  vector: vectorOf('a1:300 b2:1 coord1:12'),
  debt: EMPTY_VECTOR,
  ...change,
})
const reasonOf = (text: string, keys = KEYS): unknown => {
  try {
    return decodeToken(text, keys)
  } catch (thrown) {
    expect(thrown).toMatchObject({ code: 'session/reset' })
    return (thrown as { details: { reason: string } }).details.reason
  }
}

test('what was written is read, also with debt, and with a key that is no longer the current one', () => {
  for (const token of [
    tokenOf(),
    tokenOf({ debt: vectorOf('x1:3 x2:9') }),
    tokenOf({ vector: EMPTY_VECTOR, configEpoch: 0 }),
  ]) {
    expect(decodeToken(encodeToken(token, KEYS), keysOf('secret', 2))).toEqual(token)
  }
})

test('the text is stable: a token that was handed out is still read by later versions', () => {
  expect(encodeToken(tokenOf({ debt: vectorOf('x1:3') }), KEYS)).toMatchInlineSnapshot(
    `"AQEPDw8PDw8PDw8PDw8PDw8PAgAAAAAAAAD_BwMBYQEAAAAAAAAAAawCAWIBAAAAAAAAAAIBBWNvb3JkAQAAAAAAAAABDAEBeAEAAAAAAAAAAQN5rHGfhZ-AGsF11GWTec9B"`,
  )
})

test('a token of three replicas is short', () => {
  expect(encodeToken(tokenOf({ vector: vectorOf('a1:300000 b2:200000 c3:100000') }), KEYS).length).toBeLessThan(140)
})

describe('what is no token of ours is none', () => {
  test.each([
    ['', 'unreadable'],
    ['a', 'unreadable'],
    ['AQ', 'unreadable'],
    ['AAAA', 'unreadable'],
    ['not base64!', 'unreadable'],
    ['A'.repeat(TOKEN_LIMIT_CHARS + 4), 'unreadable'],
    [encodeToken(tokenOf(), keysOf('other')), 'bad-signature'],
    [encodeToken(tokenOf(), { current: 9, mac: () => new Uint8Array(32) }), 'unknown-key'],
  ])('%s: %s', (text, reason) => expect(reasonOf(text)).toBe(reason))

  test('no bit of it can be changed', () => {
    const text = encodeToken(tokenOf({ debt: vectorOf('x1:3') }), KEYS)
    const bytes = Buffer.from(text, 'base64url')
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const forged = Buffer.from(bytes)
      forged[bit >> 3]! ^= 1 << (bit & 7)
      expect(reasonOf(forged.toString('base64url'))).toEqual(expect.any(String))
    }
  })

  test('it cannot be cut or lengthened', () => {
    const text = encodeToken(tokenOf(), KEYS)
    fc.assert(
      fc.property(fc.nat({ max: text.length - 1 }), (length) => {
        expect(reasonOf(text.slice(0, length))).toEqual(expect.any(String))
      }),
    )
    expect(reasonOf(`${text}AAAA`)).toEqual(expect.any(String))
  })

  test('a signature does not make bytes a token', () => {
    const sign = (bytes: number[], version = 1): string => {
      const signed = Uint8Array.from([version, 1, ...bytes])
      return Buffer.concat([signed, KEYS.mac(1, signed)!.subarray(0, 16)]).toString('base64url')
    }
    const identity = [...Array(16).fill(1), 1, ...Array(8).fill(2)]
    expect(reasonOf(sign([...identity, 0, 0, 0]))).toMatchObject({ vector: EMPTY_VECTOR })
    expect(reasonOf(sign([...identity, 0, 0, 0, 0]))).toBe('unreadable')
    expect(reasonOf(sign([...identity, 0, 0]))).toBe('unreadable')
    expect(reasonOf(sign([]))).toBe('unreadable')
    expect(reasonOf(sign([...identity, 0, 0, 0], 2))).toBe('unreadable')
    const debts = Array.from({ length: DEBT_LIMIT + 1 }, (_, index) => [0, 0, 0, 0, 0, 0, 0, index + 1, 1]).flat()
    expect(reasonOf(sign([...identity, 0, 0, 1, 1, 97, DEBT_LIMIT + 1, ...debts]))).toBe('unreadable')
  })
})

describe('bounds', () => {
  const many = (count: number, name: string) =>
    new Map(
      Array.from(
        { length: count },
        (_, index) => [makeOrigin(name, (index + 1).toString(16).padStart(16, '0')), 2 ** 40] as const,
      ),
    )

  test('as many lineages as a cell may have fit, with their names at their longest', () => {
    const names = Array.from(
      { length: 80 },
      (_, index) => [makeOrigin(`${'n'.repeat(28)}-${index}`, '1'.repeat(16)), 2 ** 40] as const,
    )
    const text = encodeToken(tokenOf({ vector: new Map(names), debt: many(DEBT_LIMIT, 'x') }), KEYS)
    expect(text.length).toBeLessThan(TOKEN_LIMIT_CHARS)
    expect(decodeToken(text, KEYS).vector.size).toBe(80)
  })

  test('a token too long to be read is not made', () => {
    const names = Array.from(
      { length: 200 },
      (_, index) => [makeOrigin(`${'n'.repeat(28)}-${index}`, '1'.repeat(16)), 2 ** 40] as const,
    )
    expect(() => encodeToken(tokenOf({ vector: new Map(names) }), KEYS)).toThrow(
      expect.objectContaining({ code: 'cell/too-many-lineages' }),
    )
    expect(() => encodeToken(tokenOf({ debt: many(DEBT_LIMIT + 1, 'x') }), KEYS)).toThrow('too much debt')
  })
})
