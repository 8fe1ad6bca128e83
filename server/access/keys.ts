/**
 * The keys that verify tokens. Each key carries the algorithms that it may be used with, drawn from the key itself and
 * never from a token: so a token cannot ask for a public key to be taken as a shared secret, nor for none at all.
 */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { CausewayError } from '../../shared/errors/error.js'

/** `auth` of the configuration. Without a secret, public keys and `jwks`, access is open, which only loopback allows. */
export interface AuthConfig {
  /** Shared secret for HS256, HS384 and HS512: at least 32 bytes. */
  readonly secret?: string | undefined
  /** PEM texts or JWKs. */
  readonly publicKeys?: readonly (string | JsonWebKey)[] | undefined
  /** Address of a JSON Web Key Set: https, or http on loopback. */
  readonly jwks?: string | undefined
  /** Wanted `iss`, when set. */
  readonly issuer?: string | undefined
  /** Wanted `aud`, when set: any of these. */
  readonly audience?: string | readonly string[] | undefined
}

export interface VerificationKey {
  /** Compared with a token's `kid` where both have one. */
  readonly kid: string | undefined
  readonly algorithms: readonly string[]
  readonly key: KeyObject | Uint8Array
}

export const SECRET_LEAST_BYTES = 32
export const PUBLIC_KEYS_LIMIT = 16
const KEY_SET_LIMIT = 64

const SHARED_SECRET_ALGORITHMS = ['HS256', 'HS384', 'HS512']
const RSA_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
const RSA_PSS_ALGORITHMS = ['PS256', 'PS384', 'PS512']
const RSA_LEAST_BITS = 2048
const CURVE_ALGORITHMS: Readonly<Record<string, string>> = {
  prime256v1: 'ES256',
  secp384r1: 'ES384',
  secp521r1: 'ES512',
}

/** What a key of a JSON Web Key Set may sign with: anything but a shared secret. */
const PUBLIC_KEY_ALGORITHMS = ['EdDSA', 'Ed25519', ...Object.values(CURVE_ALGORITHMS), ...RSA_ALGORITHMS]

/** The part of a token's header that chooses a key. */
export interface KeyChoice {
  readonly alg: string
  readonly kid: string | undefined
}

/** Whether `key` may have signed a token with this header. */
export function isMeantFor(key: VerificationKey, header: KeyChoice): boolean {
  if (!key.algorithms.includes(header.alg)) return false
  return key.kid === undefined || header.kid === undefined || key.kid === header.kid
}

/** Whether a key set may hold the key for this header. */
export function mayBeInKeySet(header: KeyChoice): boolean {
  return PUBLIC_KEY_ALGORITHMS.includes(header.alg)
}

/** Whether tokens are asked for at all. */
export function hasKeys(auth: AuthConfig): boolean {
  return auth.secret !== undefined || (auth.publicKeys ?? []).length > 0 || auth.jwks !== undefined
}

/** The keys that the configuration itself holds. Throws `config/invalid`, naming the option and never its value. */
export function configuredKeys(auth: AuthConfig): readonly VerificationKey[] {
  const publicKeys = auth.publicKeys ?? []
  if (publicKeys.length > PUBLIC_KEYS_LIMIT)
    throw invalid('auth.publicKeys', `holds more than ${PUBLIC_KEYS_LIMIT} keys`)
  const keys = publicKeys.map((source, index) => publicKey(source, `auth.publicKeys[${index}]`))
  if (auth.secret !== undefined) keys.push(sharedSecret(auth.secret))
  return keys
}

/**
 * The usable keys of a JSON Web Key Set; undefined where `set` is none. Keys of other kinds, for other uses, and private
 * ones (which should not be there) are left out: an issuer may publish what we have no use for.
 */
export function keysOfSet(set: unknown): readonly VerificationKey[] | undefined {
  const members = (set as { keys?: unknown } | null)?.keys
  if (!Array.isArray(members)) return undefined
  const keys: VerificationKey[] = []
  for (const member of members.slice(0, KEY_SET_LIMIT)) {
    if (!isForSignatures(member)) continue
    try {
      keys.push(publicKey(member, 'auth.jwks'))
    } catch (error) {
      if (!(error instanceof CausewayError)) throw error
    }
  }
  return keys
}

function isForSignatures(member: unknown): member is JsonWebKey {
  if (typeof member !== 'object' || member === null) return false
  const { use, key_ops: operations } = member as { use?: unknown; key_ops?: unknown }
  return (use === undefined || use === 'sig') && (!Array.isArray(operations) || operations.includes('verify'))
}

function sharedSecret(secret: string): VerificationKey {
  const key = new TextEncoder().encode(secret)
  if (key.byteLength < SECRET_LEAST_BYTES)
    throw invalid('auth.secret', `must be at least ${SECRET_LEAST_BYTES} bytes long`)
  return { kid: undefined, algorithms: SHARED_SECRET_ALGORITHMS, key }
}

function publicKey(source: string | JsonWebKey, option: string): VerificationKey {
  const isPrivate = typeof source === 'string' ? source.includes('PRIVATE KEY') : 'd' in source || 'k' in source
  if (isPrivate) throw invalid(option, 'must be a public key, and is a private or secret one')
  let key: KeyObject
  try {
    key = typeof source === 'string' ? createPublicKey(source) : createPublicKey({ key: source, format: 'jwk' })
  } catch {
    throw invalid(option, 'is neither a public key in PEM form nor a JWK') // The cause may quote the key: left out.
  }
  const possible = algorithmsOf(key, option)
  const { kid, alg } = typeof source === 'string' ? {} : (source as { kid?: unknown; alg?: unknown })
  if (alg !== undefined && !possible.includes(alg as string))
    throw invalid(option, 'has an alg that its key cannot have')
  return {
    kid: typeof kid === 'string' ? kid : undefined,
    algorithms: alg === undefined ? possible : [alg as string],
    key,
  }
}

function algorithmsOf(key: KeyObject, option: string): readonly string[] {
  const details = key.asymmetricKeyDetails ?? {}
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return ['EdDSA', 'Ed25519']
    case 'ec': {
      const algorithm = CURVE_ALGORITHMS[details.namedCurve ?? '']
      if (algorithm === undefined) throw invalid(option, 'is on a curve other than P-256, P-384 and P-521')
      return [algorithm]
    }
    case 'rsa':
    case 'rsa-pss':
      if ((details.modulusLength ?? 0) < RSA_LEAST_BITS) throw invalid(option, `has fewer than ${RSA_LEAST_BITS} bits`)
      return key.asymmetricKeyType === 'rsa' ? RSA_ALGORITHMS : RSA_PSS_ALGORITHMS
    default:
      throw invalid(option, 'must be an Ed25519, elliptic curve or RSA key')
  }
}

function invalid(option: string, what: string): CausewayError {
  return new CausewayError('config/invalid', { option }, { message: `${option} ${what}.` })
}
