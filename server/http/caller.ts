/**
 * Who sent a request, and whether too many came from there. Rates count by user where one is known, else by address; a
 * refused token counts against its address, so guessing costs what asking costs.
 */
import type { Request } from 'express'
import { CausewayError } from '../../shared/errors/error.js'
import { addressKey } from '../access/address.js'
import type { Authenticate } from '../access/authenticator.js'
import type { Identity } from '../access/identity.js'
import type { RateLimiter } from '../access/rate-limit.js'

export type IdentifyCaller = (request: Request) => Promise<Identity>

/** Rejects as `authenticate` does, and with `access/too-many-requests` (`details.retryAfterMs`). */
export function createCallerCheck(authenticate: Authenticate, limiter: RateLimiter): IdentifyCaller {
  return async (request) => {
    const remoteAddress = request.socket.remoteAddress ?? ''
    const byAddress = `address ${addressKey(remoteAddress)}`
    let identity: Identity
    try {
      const { headers } = request
      identity = await authenticate({ token: bearerToken(request), remoteAddress, origin: headers.origin, headers })
    } catch (refusal) {
      take(limiter, byAddress)
      throw refusal
    }
    take(limiter, identity.userId === undefined ? byAddress : `user ${identity.userId}`)
    return identity
  }
}

function take(limiter: RateLimiter, key: string): void {
  const retryAfterMs = limiter.take(key)
  if (retryAfterMs > 0) throw new CausewayError('access/too-many-requests', { retryAfterMs })
}

function bearerToken(request: Request): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1]
}
