/**
 * Who a caller is and what it may do. An identity is made once, when a connection or request is authenticated, and asked
 * at every document; rights are ordered, so `admin` implies `write` and `write` implies `read`. Nothing is allowed that
 * the scope does not grant.
 */
import { CausewayError } from '../../shared/errors/error.js'
import { EVERYTHING, type NameRange, type Right, type Scope } from './scope.js'

export interface Identity {
  /** The token's `sub`. Absent where access is open, or where a token names nobody. */
  readonly userId?: string
  /** What other people are shown. */
  readonly name?: string
  /** The token's `jti`, by which it is revoked. */
  readonly tokenId?: string
  /** When the caller must show a fresh token, in ms since the epoch, leeway not included. Absent: never. */
  readonly expiresAtMs?: number
  can(document: string, right: Right): boolean
  /** Whether the right covers every document there is or will be: what answers about the whole replica ask for. */
  canAll(right: Right): boolean
  /** The documents with this right whose name starts with `prefix`, as ranges that do not overlap, by name. */
  ranges(right: Right, prefix: string): readonly NameRange[]
}

/** What is known of a caller beside its scope. */
export type Claims = Pick<Identity, 'userId' | 'name' | 'tokenId' | 'expiresAtMs'>

export function createIdentity(claims: Claims, scope: Scope): Identity {
  return {
    ...claims,
    can: (document, right) => scope.allows(document, right),
    canAll: (right) => scope.allowsAll(right),
    ranges: (right, prefix) => scope.ranges(right, prefix),
  }
}

/** The caller where no keys are configured: nobody in particular, with every right. */
export const ANYBODY: Identity = createIdentity({}, EVERYTHING)

/** Throws `access/forbidden` (`details.document`, `details.right`) unless `identity` has the right. */
export function requireRight(identity: Identity, document: string, right: Right): void {
  if (!identity.can(document, right)) throw new CausewayError('access/forbidden', { document, right })
}
