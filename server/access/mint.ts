/** Development tokens: signed with the configured shared secret, as an issuer would, for trying things out and for tests. */
import { CausewayError } from '../../shared/errors/error.js'
import { type AuthConfig, configuredKeys } from './keys.js'
import { parseScope, ScopeError } from './scope.js'

export interface DevTokenClaims {
  readonly userId?: string | undefined
  readonly name?: string | undefined
  readonly scope: string
  readonly lifeS: number
}

/**
 * A JWT (HS256) with the issuer and the audience that the configuration asks for. Throws `config/invalid` without a
 * shared secret, `request/invalid` for a malformed scope.
 */
export async function mintDevToken(auth: AuthConfig, claims: DevTokenClaims, nowMs: number): Promise<string> {
  const { secret, issuer, audience } = auth
  if (secret === undefined) {
    throw new CausewayError(
      'config/invalid',
      { option: 'auth.secret' },
      { message: 'auth.secret must be set (in the file or as CAUSEWAY_AUTH_SECRET) to sign a token.' },
    )
  }
  const key = configuredKeys({ secret })[0]!.key
  checkScope(claims.scope)
  const { SignJWT } = await import('jose/jwt/sign')
  const nowS = Math.floor(nowMs / 1000)
  const token = new SignJWT({
    scope: claims.scope,
    ...(claims.name === undefined ? {} : { name: claims.name }),
  })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuedAt(nowS)
    .setExpirationTime(nowS + claims.lifeS)
  if (claims.userId !== undefined) token.setSubject(claims.userId)
  if (issuer !== undefined) token.setIssuer(issuer)
  if (audience !== undefined) token.setAudience([audience].flat()[0] ?? '')
  return await token.sign(key)
}

function checkScope(scope: string): void {
  try {
    parseScope(scope)
  } catch (error) {
    if (!(error instanceof ScopeError)) throw error
    throw new CausewayError(
      'request/invalid',
      { field: 'scope' },
      { message: `The scope is not valid: ${error.message}.` },
    )
  }
}
