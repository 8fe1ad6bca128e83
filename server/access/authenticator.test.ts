import { createHmac, createPublicKey, generateKeyPairSync, type JsonWebKey, type KeyObject, sign } from 'node:crypto'
import { EncryptJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import type { ErrorCodeName } from '../../shared/errors/codes.js'
import { CausewayError } from '../../shared/errors/error.js'
import { type AuthenticateHook, createAuthenticator, TOKEN_LEEWAY_S, TOKEN_LIMIT_BYTES } from './authenticator.js'
import type { AuthConfig } from './keys.js'
import { mintDevToken } from './mint.js'

const nowMs = Date.UTC(2030, 0, 1)
const nowS = nowMs / 1000
const now = (): number => nowMs
const secret = 'a shared secret of more than 32 bytes'
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ed = generateKeyPairSync('ed25519')
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })

const usual = { sub: 'ada', name: 'Ada', jti: 'token-1', scope: 'team/*:write', exp: nowS + 3600 }

/** A token put together by hand, so that it can be wrong in every way. */
function forge(header: object, payload: unknown, signer: (input: string) => Buffer | string): string {
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${encode(header)}.${encode(payload)}`
  return `${input}.${Buffer.from(signer(input)).toString('base64url')}`
}

const hs =
  (bits: number, key: string | Buffer = secret) =>
  (input: string) =>
    createHmac(`sha${bits}`, key).update(input).digest()
const rs = (key: KeyObject) => (input: string) => sign('sha256', Buffer.from(input), key)
const es = (bits: number, key: KeyObject) => (input: string) =>
  sign(`sha${bits}`, Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
const eddsa = (key: KeyObject) => (input: string) => sign(null, Buffer.from(input), key)
const unsigned = (): string => ''

const hsToken = (payload: unknown, header: object = {}): string => forge({ alg: 'HS256', ...header }, payload, hs(256))
const pem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }) as string
const jwk = (key: KeyObject): JsonWebKey => key.export({ format: 'jwk' })

function authenticator(auth: AuthConfig, hook?: AuthenticateHook) {
  const authenticate = createAuthenticator({ auth, listen: '127.0.0.1:0' }, { now, hook })
  return (token?: string) => authenticate({ token, remoteAddress: '192.0.2.1' })
}

async function refusal(attempt: Promise<unknown>): Promise<[code: ErrorCodeName, reason: unknown]> {
  const error = await attempt.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(CausewayError)
  return [(error as CausewayError).code, (error as CausewayError).details['reason']]
}

describe('tokens that are good', () => {
  test('say who is calling, what it may do and until when', async () => {
    const identity = await authenticator({ secret })(hsToken(usual))
    expect(identity).toMatchObject({
      userId: 'ada',
      name: 'Ada',
      tokenId: 'token-1',
      expiresAtMs: (nowS + 3600) * 1000,
    })
    expect(identity.can('team/notes', 'write')).toBe(true)
    expect(identity.can('team/notes', 'admin')).toBe(false)
    expect(identity.can('other', 'read')).toBe(false)
  })

  test('without a scope may do nothing', async () => {
    const identity = await authenticator({ secret })(hsToken({ sub: 'ada', exp: usual.exp }))
    expect(identity.can('team/notes', 'read')).toBe(false)
  })

  test.each<[name: string, auth: AuthConfig, token: string]>([
    ['HS256', { secret }, forge({ alg: 'HS256' }, usual, hs(256))],
    ['HS384', { secret }, forge({ alg: 'HS384' }, usual, hs(384))],
    ['HS512', { secret }, forge({ alg: 'HS512' }, usual, hs(512))],
    ['RS256, PEM', { publicKeys: [pem(rsa.publicKey)] }, forge({ alg: 'RS256' }, usual, rs(rsa.privateKey))],
    ['RS256, JWK', { publicKeys: [jwk(rsa.publicKey)] }, forge({ alg: 'RS256' }, usual, rs(rsa.privateKey))],
    ['ES256, PEM', { publicKeys: [pem(p256.publicKey)] }, forge({ alg: 'ES256' }, usual, es(256, p256.privateKey))],
    ['ES384, JWK', { publicKeys: [jwk(p384.publicKey)] }, forge({ alg: 'ES384' }, usual, es(384, p384.privateKey))],
    ['EdDSA, PEM', { publicKeys: [pem(ed.publicKey)] }, forge({ alg: 'EdDSA' }, usual, eddsa(ed.privateKey))],
    [
      'the second of two keys of one kind',
      { publicKeys: [pem(generateKeyPairSync('ed25519').publicKey), pem(ed.publicKey)] },
      forge({ alg: 'EdDSA' }, usual, eddsa(ed.privateKey)),
    ],
    [
      'a secret beside public keys',
      { secret, publicKeys: [pem(ed.publicKey)] },
      forge({ alg: 'HS256' }, usual, hs(256)),
    ],
    [
      'a key chosen by its kid',
      { publicKeys: [{ ...jwk(ed.publicKey), kid: 'one' }] },
      forge({ alg: 'EdDSA', kid: 'one' }, usual, eddsa(ed.privateKey)),
    ],
  ])('are verified: %s', async (_name, auth, token) => {
    expect((await authenticator(auth)(token)).userId).toBe('ada')
  })

  test.each([
    ['issuer', { issuer: 'https://id.example' }, { iss: 'https://id.example' }],
    ['audience', { audience: 'causeway' }, { aud: 'causeway' }],
    ['audience, one of ours', { audience: ['a', 'b'] }, { aud: 'b' }],
    ['audience, one of theirs', { audience: 'b' }, { aud: ['a', 'b'] }],
    ['just within the leeway after exp', {}, { exp: nowS - TOKEN_LEEWAY_S + 1 }],
    ['just within the leeway before nbf', {}, { nbf: nowS + TOKEN_LEEWAY_S }],
  ])('are verified with %s', async (_name, auth, claims) => {
    expect((await authenticator({ secret, ...auth })(hsToken({ ...usual, ...claims }))).userId).toBe('ada')
  })
})

describe('[SEC] tokens that are not', () => {
  const both: AuthConfig = { secret, publicKeys: [pem(rsa.publicKey)] }
  const publicPem = pem(rsa.publicKey)
  const unauthenticated = 'access/unauthenticated'

  test.each<[name: string, auth: AuthConfig, token: string | undefined, code: ErrorCodeName, reason?: string]>([
    ['no token', { secret }, undefined, unauthenticated, 'no token'],
    ['an empty token', { secret }, '', unauthenticated, 'no token'],
    ['no JWT', { secret }, 'hello', unauthenticated, 'malformed token'],
    ['dots alone', { secret }, '..', unauthenticated, 'malformed token'],
    ['a header that is no object', { secret }, forge(['HS256'], usual, hs(256)), unauthenticated, 'malformed token'],
    ['a header that is null', { secret }, 'bnVsbA.e30.x', unauthenticated, 'malformed token'],
    ['a payload that is no object', { secret }, hsToken('text'), unauthenticated, 'malformed token'],
    ['four parts', { secret }, `${hsToken(usual)}.x`, unauthenticated, 'malformed token'],
    ['alg none', both, forge({ alg: 'none' }, usual, unsigned), unauthenticated, 'no key for this token'],
    ['alg None', both, forge({ alg: 'None' }, usual, unsigned), unauthenticated, 'no key for this token'],
    ['no alg', both, forge({}, usual, hs(256)), unauthenticated, 'malformed token'],
    ['an unsigned HS256', { secret }, forge({ alg: 'HS256' }, usual, unsigned), unauthenticated, 'bad signature'],
    [
      'HS256 with the public key as secret',
      both,
      forge({ alg: 'HS256' }, usual, hs(256, publicPem)),
      unauthenticated,
      'bad signature',
    ],
    [
      'HS256 with the public key as secret, without a secret',
      { publicKeys: [publicPem] },
      forge({ alg: 'HS256' }, usual, hs(256, publicPem)),
      unauthenticated,
      'no key for this token',
    ],
    [
      'RS256 where only a secret is configured',
      { secret },
      forge({ alg: 'RS256' }, usual, rs(rsa.privateKey)),
      unauthenticated,
      'no key for this token',
    ],
    [
      'an alg outside its key',
      { publicKeys: [{ ...jwk(rsa.publicKey), alg: 'PS256' }] },
      forge({ alg: 'RS256' }, usual, rs(rsa.privateKey)),
      unauthenticated,
      'no key for this token',
    ],
    ['another secret', { secret }, forge({ alg: 'HS256' }, usual, hs(256, 'wrong')), unauthenticated, 'bad signature'],
    [
      'another private key',
      { publicKeys: [publicPem] },
      forge({ alg: 'RS256' }, usual, rs(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey)),
      unauthenticated,
      'bad signature',
    ],
    [
      'another kid',
      { publicKeys: [{ ...jwk(ed.publicKey), kid: 'one' }] },
      forge({ alg: 'EdDSA', kid: 'two' }, usual, eddsa(ed.privateKey)),
      unauthenticated,
      'no key for this token',
    ],
    [
      'a kid that is a path',
      { publicKeys: [{ ...jwk(ed.publicKey), kid: 'one' }] },
      forge({ alg: 'EdDSA', kid: '../../../../dev/null' }, usual, eddsa(ed.privateKey)),
      unauthenticated,
      'no key for this token',
    ],
    [
      'a kid that is a path, signed with nothing',
      { secret },
      forge({ alg: 'HS256', kid: '/dev/null' }, usual, hs(256, '')),
      unauthenticated,
      'bad signature',
    ],
    [
      'a kid that is SQL',
      { secret },
      forge({ alg: 'HS256', kid: "' OR '1'='1" }, usual, hs(256, '1')),
      unauthenticated,
      'bad signature',
    ],
    [
      'a key of its own',
      { publicKeys: [publicPem] },
      forge({ alg: 'EdDSA', jwk: jwk(ed.publicKey) }, usual, eddsa(ed.privateKey)),
      unauthenticated,
      'no key for this token',
    ],
    [
      'a key of its own, of our kind',
      { publicKeys: [jwk(generateKeyPairSync('ed25519').publicKey)] },
      forge({ alg: 'EdDSA', jwk: jwk(ed.publicKey), jku: 'http://192.0.2.1/keys' }, usual, eddsa(ed.privateKey)),
      unauthenticated,
      'bad signature',
    ],
    ['an unknown critical header', { secret }, hsToken(usual, { crit: ['causeway'], causeway: 1 }), unauthenticated],
    ['an unencoded payload', { secret }, hsToken(usual, { crit: ['b64'], b64: false }), unauthenticated],
    [
      'a changed payload',
      { secret },
      swapPayload(hsToken(usual), { ...usual, scope: '*:admin' }),
      unauthenticated,
      'bad signature',
    ],
    ['an old exp', { secret }, hsToken({ ...usual, exp: nowS - TOKEN_LEEWAY_S }), 'access/expired'],
    ['no exp', { secret }, hsToken({ sub: 'ada', scope: '*:admin' }), unauthenticated, 'claim exp is missing or wrong'],
    [
      'an exp that is text',
      { secret },
      hsToken({ ...usual, exp: '9999999999' }),
      unauthenticated,
      'claim exp is missing or wrong',
    ],
    [
      'an exp that is null',
      { secret },
      hsToken({ ...usual, exp: null }),
      unauthenticated,
      'claim exp is missing or wrong',
    ],
    [
      'a future nbf',
      { secret },
      hsToken({ ...usual, nbf: nowS + TOKEN_LEEWAY_S + 1 }),
      unauthenticated,
      'claim nbf is missing or wrong',
    ],
    [
      'another iss',
      { secret, issuer: 'us' },
      hsToken({ ...usual, iss: 'them' }),
      unauthenticated,
      'claim iss is missing or wrong',
    ],
    ['no iss', { secret, issuer: 'us' }, hsToken(usual), unauthenticated, 'claim iss is missing or wrong'],
    [
      'another aud',
      { secret, audience: 'us' },
      hsToken({ ...usual, aud: ['them'] }),
      unauthenticated,
      'claim aud is missing or wrong',
    ],
    ['no aud', { secret, audience: ['us'] }, hsToken(usual), unauthenticated, 'claim aud is missing or wrong'],
    [
      'a sub that is no text',
      { secret },
      hsToken({ ...usual, sub: { $ne: null } }),
      unauthenticated,
      'claim sub is missing or wrong',
    ],
    [
      'a huge sub',
      { secret },
      hsToken({ ...usual, sub: 'x'.repeat(257) }),
      unauthenticated,
      'claim sub is missing or wrong',
    ],
    [
      'a scope that is a list',
      { secret },
      hsToken({ ...usual, scope: ['*:admin'] }),
      unauthenticated,
      'claim scope is missing or wrong',
    ],
    [
      'a malformed scope',
      { secret },
      hsToken({ ...usual, scope: 'a*b:admin' }),
      unauthenticated,
      'a * may only be the last character of a pattern',
    ],
  ])('are refused: %s', async (_name, auth, token, code, reason) => {
    const [actual, why] = await refusal(authenticator(auth)(token))
    expect(actual).toBe(code)
    if (reason !== undefined) expect(why).toBe(reason)
  })

  test('are refused unread where they are huge', async () => {
    const fits = hsToken({ ...usual, pad: 'x'.repeat(5000) })
    expect(fits.length).toBeLessThan(TOKEN_LIMIT_BYTES)
    expect((await authenticator({ secret })(fits)).userId).toBe('ada')
    const huge = hsToken({ ...usual, pad: 'x'.repeat(TOKEN_LIMIT_BYTES) })
    expect(await refusal(authenticator({ secret })(huge))).toEqual(['access/unauthenticated', 'token too large'])
    const dots = '.'.repeat(1_000_000)
    expect(await refusal(authenticator({ secret })(dots))).toEqual(['access/unauthenticated', 'token too large'])
  })

  test('are refused where they are encrypted, compressed or not', async () => {
    const key = Buffer.alloc(32, 7)
    const encrypted = await new EncryptJWT(usual).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(key)
    const why = ['access/unauthenticated', 'encrypted tokens are not accepted']
    expect(await refusal(authenticator({ secret })(encrypted))).toEqual(why)
    const [header, ...rest] = encrypted.split('.')
    const zipped = { ...JSON.parse(Buffer.from(header!, 'base64url').toString()), zip: 'DEF' }
    const bomb = [Buffer.from(JSON.stringify(zipped)).toString('base64url'), ...rest].join('.')
    expect(await refusal(authenticator({ secret })(bomb))).toEqual(why)
  })

  test('show nothing of themselves in the refusal', async () => {
    const canary = 'canary-8f3a'
    const token = hsToken({ ...usual, sub: canary, exp: nowS - 999, iss: canary })
    for (const auth of [{ secret }, { secret: `${secret}!` }, { secret, issuer: 'us' }]) {
      const error = (await authenticator(auth)(token).catch((thrown: unknown) => thrown)) as CausewayError
      expect(JSON.stringify(error)).not.toContain(canary)
      expect(JSON.stringify(error)).not.toContain(token.slice(0, 20))
    }
  })
})

describe('[SEC] keys that are not', () => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const dsa = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
  test.each<[name: string, auth: AuthConfig, option: string]>([
    ['a short secret', { secret: 'canary' }, 'auth.secret'],
    ['no key at all', { publicKeys: ['canary'] }, 'auth.publicKeys[0]'],
    ['a broken PEM', { publicKeys: [pem(ed.publicKey).replace('A', '!')] }, 'auth.publicKeys[0]'],
    [
      'a private PEM',
      { publicKeys: [pem(ed.publicKey), ed.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string] },
      'auth.publicKeys[1]',
    ],
    ['a private JWK', { publicKeys: [jwk(ed.privateKey)] }, 'auth.publicKeys[0]'],
    ['a secret JWK', { publicKeys: [{ kty: 'oct', k: 'canary' }] }, 'auth.publicKeys[0]'],
    ['a short RSA key', { publicKeys: [pem(weak.publicKey)] }, 'auth.publicKeys[0]'],
    ['an unusual curve', { publicKeys: [pem(dsa.publicKey)] }, 'auth.publicKeys[0]'],
    ['an alg of another kind', { publicKeys: [{ ...jwk(rsa.publicKey), alg: 'HS256' }] }, 'auth.publicKeys[0]'],
    ['too many', { publicKeys: Array.from({ length: 17 }, () => pem(ed.publicKey)) }, 'auth.publicKeys'],
  ])('stop the start, named and not quoted: %s', (_name, auth, option) => {
    const attempt = (): unknown => createAuthenticator({ auth, listen: '127.0.0.1:0' }, { now })
    expect(attempt).toThrow(expect.objectContaining({ code: 'config/invalid', details: { option } }))
    expect(attempt).toThrow(new RegExp(option.replace(/[[\]]/g, '\\$&')))
    expect(attempt).not.toThrow(/canary/)
  })
})

describe('[SEC] open access', () => {
  test.each(['127.0.0.1:4400', 'localhost:0', '[::1]:4400'])('is given on %s', async (listen) => {
    const identity = await createAuthenticator({ auth: {}, listen }, { now })({ remoteAddress: '127.0.0.1' })
    expect(identity.can('any/document', 'admin')).toBe(true)
    expect(identity.canAll('admin')).toBe(true)
  })

  test.each(['0.0.0.0:4400', '[::]:4400', '10.0.0.1:4400', 'cw.example:4400'])('stops the start on %s', (listen) => {
    const attempt = (): unknown => createAuthenticator({ auth: {}, listen }, { now })
    expect(attempt).toThrow(expect.objectContaining({ code: 'config/invalid', details: { option: 'auth' } }))
    expect(() => createAuthenticator({ auth: { secret }, listen }, { now })).not.toThrow()
    expect(() => createAuthenticator({ auth: {}, listen }, { now, hook: () => undefined })).not.toThrow()
  })
})

describe('an embedding hook', () => {
  test('replaces the token', async () => {
    const authenticate = authenticator({}, ({ token }) =>
      token === 'ticket' ? { userId: 'ada', scope: 'a:read', expiresAtMs: 7 } : undefined,
    )
    const identity = await authenticate('ticket')
    expect(identity).toMatchObject({ userId: 'ada', expiresAtMs: 7 })
    expect([identity.can('a', 'read'), identity.can('a', 'write')]).toEqual([true, false])
    expect(await refusal(authenticate('other'))).toEqual(['access/unauthenticated', 'refused'])
  })

  test('refines the token, and a bad one refuses as without a hook', async () => {
    const authenticate = authenticator({ secret }, async (_credentials, verify) => ({
      ...(await verify()),
      scope: 'only/this:read',
    }))
    const identity = await authenticate(hsToken(usual))
    expect(identity.userId).toBe('ada')
    expect([identity.can('only/this', 'read'), identity.can('team/notes', 'read')]).toEqual([true, false])
    expect((await refusal(authenticate(hsToken({ ...usual, exp: 1 }))))[0]).toBe('access/expired')
  })

  test('refuses by throwing, whatever it throws', async () => {
    const authenticate = authenticator({}, () => {
      throw new Error('canary: database password')
    })
    const error = (await authenticate().catch((thrown: unknown) => thrown)) as CausewayError
    expect(error.code).toBe('access/unauthenticated')
    expect(JSON.stringify(error)).not.toContain('canary')
  })

  test('cannot grant by a malformed scope', async () => {
    expect((await refusal(authenticator({}, () => ({ scope: 'a*b:read' }))()))[0]).toBe('access/unauthenticated')
  })
})

describe('minted tokens', () => {
  test('are accepted by the configuration that minted them', async () => {
    const auth: AuthConfig = { secret, issuer: 'us', audience: ['a', 'b'] }
    const token = await mintDevToken(auth, { userId: 'ada', name: 'Ada', scope: 'a:write', lifeS: 60 }, nowMs)
    const identity = await authenticator(auth)(token)
    expect(identity).toMatchObject({ userId: 'ada', name: 'Ada', expiresAtMs: nowMs + 60_000 })
    expect(identity.can('a', 'write')).toBe(true)
  })

  test('need a secret and a scope that is one', async () => {
    expect((await refusal(mintDevToken({}, { scope: 'a:read', lifeS: 60 }, nowMs)))[0]).toBe('config/invalid')
    expect((await refusal(mintDevToken({ secret }, { scope: 'a*b:read', lifeS: 60 }, nowMs)))[0]).toBe(
      'request/invalid',
    )
  })
})

test('a public key derived from a private one verifies what that signed', async () => {
  const token = forge({ alg: 'ES256' }, usual, es(256, p256.privateKey))
  const identity = await authenticator({ publicKeys: [pem(createPublicKey(p256.privateKey))] })(token)
  expect(identity.userId).toBe('ada')
})

function swapPayload(token: string, payload: object): string {
  const [header, , signature] = token.split('.')
  return `${header}.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.${signature}`
}
