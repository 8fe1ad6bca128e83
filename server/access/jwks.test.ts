import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import { createAuthenticator } from './authenticator.js'
import {
  type Fetch,
  JWKS_FETCH_INTERVAL_MS,
  JWKS_FIRST_FETCH_INTERVAL_MS,
  JWKS_FRESH_MS,
  JWKS_STALE_LIMIT_MS,
  RemoteKeySet,
} from './jwks.js'

const keys = ['one', 'two', 'three'].map((kid) => ({ kid, ...generateKeyPairSync('ed25519') }))
const publish = (...members: { kid: string; publicKey: KeyObject }[]): object => ({
  keys: members.map(({ kid, publicKey }) => ({ ...publicKey.export({ format: 'jwk' }), kid })),
})

let nowMs: number
let fetched: number
/** What the issuer answers next. */
let answer: () => Response | Promise<Response>
const issuer: Fetch = async () => {
  fetched++
  return await answer()
}

beforeEach(() => {
  nowMs = Date.UTC(2030, 0, 1)
  fetched = 0
  answer = () => Response.json(publish(keys[0]!))
})

function tokenOf(index: number, header: object = {}): string {
  const { kid, privateKey } = keys[index]!
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const payload = { sub: kid, scope: '*:read', exp: nowMs / 1000 + 60 }
  const input = `${encode({ alg: 'EdDSA', kid, ...header })}.${encode(payload)}`
  return `${input}.${sign(null, Buffer.from(input), privateKey).toString('base64url')}`
}

function authenticator() {
  const config = { auth: { jwks: 'https://id.example/keys' }, listen: '0.0.0.0:4400' }
  const authenticate = createAuthenticator(config, { now: () => nowMs, fetch: issuer })
  return async (token: string): Promise<string | undefined> =>
    await authenticate({ token, remoteAddress: '192.0.2.1' }).then(
      (identity) => identity.userId,
      (error: { code: string }) => error.code,
    )
}

describe('a remote key set', () => {
  test('is fetched once for many tokens, at once or later', async () => {
    const authenticate = authenticator()
    const token = tokenOf(0)
    expect(await Promise.all([authenticate(token), authenticate(token), authenticate(token)])).toEqual([
      'one',
      'one',
      'one',
    ])
    nowMs += 1000
    expect(await authenticate(token)).toBe('one')
    expect(fetched).toBe(1)
  })

  test('follows the issuer when it rotates keys', async () => {
    const authenticate = authenticator()
    expect(await authenticate(tokenOf(0))).toBe('one')
    answer = () => Response.json(publish(keys[1]!))
    nowMs += JWKS_FETCH_INTERVAL_MS
    expect(await authenticate(tokenOf(1))).toBe('two')
    expect(await authenticate(tokenOf(0))).toBe('access/unauthenticated')
  })

  test('[SEC] made-up key ids do not make us ask the issuer again and again', async () => {
    const authenticate = authenticator()
    await authenticate(tokenOf(0))
    for (let attempt = 0; attempt < 50; attempt++) {
      expect(await authenticate(tokenOf(0, { kid: `made-up-${attempt}` }))).toBe('access/unauthenticated')
    }
    expect(fetched).toBe(1)
    nowMs += JWKS_FETCH_INTERVAL_MS
    for (let attempt = 0; attempt < 50; attempt++) await authenticate(tokenOf(0, { kid: `made-up-${attempt}` }))
    expect(fetched).toBe(2)
  })

  test('is used on while the issuer is away, and not for ever', async () => {
    const authenticate = authenticator()
    expect(await authenticate(tokenOf(0))).toBe('one')
    answer = () => Promise.reject(new TypeError('fetch failed'))
    nowMs += JWKS_FRESH_MS
    expect(await authenticate(tokenOf(0))).toBe('one')
    nowMs += JWKS_STALE_LIMIT_MS
    expect(await authenticate(tokenOf(0))).toBe('access/unavailable')
    answer = () => Response.json(publish(keys[0]!))
    nowMs += JWKS_FETCH_INTERVAL_MS
    expect(await authenticate(tokenOf(0))).toBe('one')
  })

  test.each<[name: string, bad: () => Response | Promise<Response>]>([
    ['unreachable', () => Promise.reject(new TypeError('fetch failed'))],
    ['an error', () => new Response('{"keys":[]}', { status: 500 })],
    ['no JSON', () => new Response('<html>')],
    ['no key set', () => Response.json({ keys: 'none' })],
    ['null', () => Response.json(null)],
    ['huge', () => new Response(`{"keys":[],"pad":"${'x'.repeat(300_000)}"}`)],
  ])(
    '[SEC] where the answer is %s, the caller is told to come back, and is let in when it heals',
    async (_name, bad) => {
      answer = bad
      const authenticate = authenticator()
      expect(await authenticate(tokenOf(0))).toBe('access/unavailable')
      answer = () => Response.json(publish(keys[0]!))
      nowMs += JWKS_FIRST_FETCH_INTERVAL_MS
      expect(await authenticate(tokenOf(0))).toBe('one')
    },
  )

  test('tokens that no key set can hold the key for fetch nothing', async () => {
    const authenticate = authenticator()
    expect(await authenticate(tokenOf(0, { alg: 'HS256' }))).toBe('access/unauthenticated')
    expect(await authenticate(tokenOf(0, { alg: 'none' }))).toBe('access/unauthenticated')
    expect(fetched).toBe(0)
  })

  test('what we have no use for is passed over', async () => {
    const { d: _, ...shown } = keys[1]!.privateKey.export({ format: 'jwk' })
    answer = () =>
      Response.json({
        keys: [
          7,
          null,
          { kty: 'oct', k: 'c2VjcmV0', kid: 'three' },
          { kty: 'future' },
          { ...keys[0]!.privateKey.export({ format: 'jwk' }), kid: 'one' },
          { ...shown, kid: 'two', use: 'enc' },
          { ...shown, kid: 'two', use: 'sig' },
        ],
      })
    const authenticate = authenticator()
    expect(await authenticate(tokenOf(1))).toBe('two')
    expect(await authenticate(tokenOf(0))).toBe('access/unauthenticated')
    expect(await authenticate(tokenOf(2))).toBe('access/unauthenticated')
  })

  test('a wall clock that is set back does not stop it from being fetched', async () => {
    const set = new RemoteKeySet('https://id.example/keys', () => nowMs, issuer)
    await set.current()
    nowMs -= JWKS_FRESH_MS
    await set.current()
    expect(fetched).toBe(2)
  })
})
