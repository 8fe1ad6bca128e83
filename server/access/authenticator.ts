/**
 * Who is calling: a token becomes an identity, or a refusal.
 *
 *  - With keys in the configuration a JWT is required. Each key admits the algorithms of its own kind and nothing else;
 *    encrypted tokens, unsigned ones and such as bring their own key are refused before anything is computed.
 *  - Without keys everybody may do everything. That is for development, so it is refused unless only this machine can
 *    reach us: forgetting the keys must not open a replica to the network.
 *  - A program that embeds the replica may decide itself (`hook`), with or without looking at a token first.
 *
 * `jose` is loaded with the first token that deserves a check.
 */
import type { JWTPayload, JWTVerifyOptions } from 'jose'
import { CausewayError } from '../../shared/errors/error.js'
import { isLoopbackHost, parseListen } from './address.js'
import { ANYBODY, type Claims, createIdentity, type Identity } from './identity.js'
import { type Fetch, RemoteKeySet } from './jwks.js'
import {
  type AuthConfig,
  configuredKeys,
  hasKeys,
  isMeantFor,
  type KeyChoice,
  mayBeInKeySet,
  type VerificationKey,
} from './keys.js'
import { parseScope, ScopeError } from './scope.js'

export const TOKEN_LIMIT_BYTES = 8192
/** How far the clocks of an issuer and of this machine may differ. */
export const TOKEN_LEEWAY_S = 60
const CLAIM_LIMIT_CHARACTERS = 256

/** What is known of a caller before it is authenticated. */
export interface Credentials {
  readonly token?: string | undefined
  readonly remoteAddress: string
  readonly origin?: string | undefined
  /** By lower-case name. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>> | undefined
}

/** What a hook answers: who the caller is, and its scope in the form that a token has it. Undefined: refused. */
export type HookClaims = Claims & { readonly scope: string }

/**
 * An embedder's own decision. `verify` checks the token as the configuration says and resolves to its claims (it rejects
 * as `authenticate` does): a hook that calls it refines, one that does not replaces. What it throws refuses the caller.
 */
export type AuthenticateHook = (
  credentials: Credentials,
  verify: () => Promise<HookClaims>,
) => Promise<HookClaims | undefined> | HookClaims | undefined

/**
 * Rejects with `access/unauthenticated` (`details.reason`), `access/expired`, or `access/unavailable` where the keys
 * cannot be fetched.
 */
export type Authenticate = (credentials: Credentials) => Promise<Identity>

export interface AccessConfig {
  readonly auth: AuthConfig
  /** `host:port`. */
  readonly listen: string
}

export interface AuthenticatorPorts {
  /** Wall clock, ms since the epoch. */
  readonly now: () => number
  readonly hook?: AuthenticateHook | undefined
  readonly fetch?: Fetch | undefined
}

/** Whether everybody may do everything. Throws `config/invalid` where that would hold for more than this machine. */
export function isOpenAccess(config: AccessConfig): boolean {
  if (hasKeys(config.auth)) return false
  if (!isLoopbackHost(parseListen(config.listen)?.host ?? '')) {
    throw new CausewayError(
      'config/invalid',
      { option: 'auth' },
      {
        message: `auth must name a secret, public keys or jwks, because listen (${config.listen}) can be reached from other machines.`,
      },
    )
  }
  return true
}

/** Throws `config/invalid` for unusable keys, and for open access off loopback where no hook decides. */
export function createAuthenticator(config: AccessConfig, ports: AuthenticatorPorts): Authenticate {
  const { hook } = ports
  if (hook === undefined) {
    if (isOpenAccess(config)) return async () => ANYBODY
    const verify = createVerifier(config.auth, ports)
    return async ({ token }) => identityOf(await verify(token))
  }
  const verify = createVerifier(config.auth, ports)
  return async (credentials) => {
    let claims: HookClaims | undefined
    try {
      claims = await hook(credentials, () => verify(credentials.token))
    } catch (cause) {
      throw cause instanceof CausewayError ? cause : unauthenticated('refused', cause)
    }
    if (claims === undefined) throw unauthenticated('refused')
    return identityOf(claims)
  }
}

function identityOf(claims: HookClaims): Identity {
  const { scope, ...rest } = claims
  try {
    return createIdentity(rest, parseScope(scope))
  } catch (cause) {
    throw cause instanceof ScopeError ? unauthenticated(cause.message, cause) : cause
  }
}

type Verify = (token: string | undefined) => Promise<HookClaims>

function createVerifier(auth: AuthConfig, ports: AuthenticatorPorts): Verify {
  const keys = configuredKeys(auth)
  const remote = auth.jwks === undefined ? undefined : new RemoteKeySet(auth.jwks, ports.now, ports.fetch ?? fetch)
  const wanted: JWTVerifyOptions = {
    clockTolerance: TOKEN_LEEWAY_S,
    requiredClaims: ['exp'],
    ...(auth.issuer === undefined ? {} : { issuer: auth.issuer }),
    ...(auth.audience === undefined ? {} : { audience: [auth.audience].flat() }),
  }

  return async (token) => {
    if (token === undefined || token === '') throw unauthenticated('no token')
    const header = readHeader(token)
    const options = { ...wanted, currentDate: new Date(ports.now()) }
    const inSet = remote !== undefined && mayBeInKeySet(header)
    const usable = keys.filter((key) => isMeantFor(key, header))
    if (usable.length === 0 && !inSet) throw unauthenticated('no key for this token')
    const payload =
      (await verifyWith(usable, token, options)) ??
      (inSet ? await verifyWith(await keysOfIssuer(remote, header), token, options) : undefined)
    if (payload === undefined) throw unauthenticated('bad signature')
    return claimsOf(payload)
  }
}

/** Reads what chooses a key; whatever else a header holds (`jwk`, `jku`, `x5u`, `zip`) chooses nothing. */
function readHeader(token: string): KeyChoice {
  if (token.length > TOKEN_LIMIT_BYTES) throw unauthenticated('token too large')
  const parts = token.split('.', 6)
  if (parts.length === 5) throw unauthenticated('encrypted tokens are not accepted')
  if (parts.length !== 3) throw unauthenticated('malformed token')
  let header: { alg?: unknown; kid?: unknown } | null
  try {
    header = JSON.parse(Buffer.from(parts[0]!, 'base64url').toString('utf8'))
  } catch {
    throw unauthenticated('malformed token')
  }
  if (typeof header?.alg !== 'string') throw unauthenticated('malformed token')
  return { alg: header.alg, kid: typeof header.kid === 'string' ? header.kid : undefined }
}

/** The issuer's keys for this header; a second look where there are none, since issuers change their keys. */
async function keysOfIssuer(remote: RemoteKeySet, header: KeyChoice): Promise<readonly VerificationKey[]> {
  const known = await remote.current()
  const usable = known.filter((key) => isMeantFor(key, header))
  return usable.length > 0 ? usable : (await remote.current(known)).filter((key) => isMeantFor(key, header))
}

/** Undefined: none of the keys made this signature. Claims that are refused throw. */
async function verifyWith(
  keys: readonly VerificationKey[],
  token: string,
  options: JWTVerifyOptions,
): Promise<JWTPayload | undefined> {
  const { jwtVerify } = await import('jose/jwt/verify')
  for (const { key, algorithms } of keys) {
    try {
      return (await jwtVerify(token, key, { ...options, algorithms: [...algorithms] })).payload
    } catch (error) {
      if (codeOf(error) !== 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED') throw refusal(error)
    }
  }
  return undefined
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string } | null)?.code
}

/** What `jose` says, in our words. Its messages may quote the token: they stay in the cause, which is never shown. */
function refusal(error: unknown): CausewayError {
  switch (codeOf(error)) {
    case 'ERR_JWT_EXPIRED':
      return new CausewayError('access/expired', {}, { cause: error })
    case 'ERR_JWT_CLAIM_VALIDATION_FAILED':
      return unauthenticated(`claim ${(error as { claim?: string }).claim ?? ''} is missing or wrong`, error)
    default:
      return unauthenticated('malformed token', error)
  }
}

function claimsOf(payload: JWTPayload): HookClaims {
  const { sub, jti, exp, ['name']: name, ['scope']: scope = '' } = payload
  if (typeof scope !== 'string') throw unauthenticated('claim scope is missing or wrong')
  return {
    scope,
    ...textClaim('userId', 'sub', sub),
    ...textClaim('name', 'name', name),
    ...textClaim('tokenId', 'jti', jti),
    expiresAtMs: Math.min(Number(exp) * 1000, Number.MAX_SAFE_INTEGER),
  }
}

function textClaim<Key extends string>(key: Key, claim: string, value: unknown): Partial<Record<Key, string>> {
  if (value === undefined) return {}
  const isText = typeof value === 'string' && value.length > 0 && value.length <= CLAIM_LIMIT_CHARACTERS
  if (!isText) throw unauthenticated(`claim ${claim} is missing or wrong`)
  return { [key]: value } as Record<Key, string>
}

function unauthenticated(reason: string, cause?: unknown): CausewayError {
  return new CausewayError('access/unauthenticated', { reason }, { cause })
}
