/**
 * What every answer says to browsers, and which pages get one. The API allows nothing to be shown, run or framed; pages get
 * a policy of their own (`pages.ts`). Strict-Transport-Security is left to who terminates TLS: it binds a whole domain.
 */
import type { Request, RequestHandler } from 'express'
import helmet from 'helmet'
import type { OriginPolicy, PageHeaders } from '../access/origin.js'

const ALLOWED_METHODS = 'GET, HEAD, POST, PATCH'
const ALLOWED_HEADERS = 'Authorization, Content-Type, Accept, Causeway-Session, Idempotency-Key'
const EXPOSED_HEADERS = 'Causeway-Session, Causeway-Degraded, Retry-After'
const PREFLIGHT_VALID_S = '600'

export function securityHeaders(): RequestHandler {
  return helmet({
    contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } },
    strictTransportSecurity: false,
    xFrameOptions: { action: 'deny' },
  })
}

/** Refuses pages that may not speak to us (`access/origin`), and tells allowed ones of other hosts so. Answers preflights. */
export function originGuard(policy: OriginPolicy): RequestHandler {
  return (request, response, next) => {
    const headers = pageHeaders(request)
    policy.check(headers)
    response.vary('Origin')
    if (!policy.isAllowedElsewhere(headers)) return next()
    response.set('Access-Control-Allow-Origin', headers.origin)
    response.set('Access-Control-Expose-Headers', EXPOSED_HEADERS)
    if (request.method !== 'OPTIONS' || request.headers['access-control-request-method'] === undefined) return next()
    response.set('Access-Control-Allow-Methods', ALLOWED_METHODS)
    response.set('Access-Control-Allow-Headers', ALLOWED_HEADERS)
    response.set('Access-Control-Max-Age', PREFLIGHT_VALID_S)
    response.status(204).end()
  }
}

function pageHeaders(request: Request): PageHeaders {
  return { origin: request.headers.origin, host: request.headers.host }
}
