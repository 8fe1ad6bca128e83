/**
 * Which pages may speak to us. A browser names the page in `Origin`; programs send none, and are judged by their token
 * alone. A page of our own (its host is the one that the request names) and those in the list may connect, others may not.
 *
 * Open access has no token to fall back on, and two holes to close: a page somewhere on the web whose name was made to
 * point at this machine is "our own" page by that rule, and sends no `Origin` at all with its reads. So where access is open,
 * the host that a request names must be a name of this machine, or of the list. Pages on this machine, from other ports,
 * may connect then: that is how an app is developed.
 */
import { CausewayError } from '../../shared/errors/error.js'
import { isLoopbackHost } from './address.js'

export interface PageHeaders {
  /** The `Origin` header. */
  readonly origin: string | undefined
  /** The `Host` header. */
  readonly host: string | undefined
}

export interface OriginPolicy {
  /** Throws `access/origin` where a request with these headers must not be answered. */
  check(headers: PageHeaders): void
  /** Whether `origin` is another page's than ours, and allowed: such a page must be told so by CORS headers. */
  isAllowedElsewhere(headers: PageHeaders): boolean
}

export interface OriginConfig {
  /** Origins as browsers send them (`https://app.example.com`), or `*` for all. */
  readonly origins: readonly string[]
  /** Whether everybody may do everything. */
  readonly open: boolean
}

export function createOriginPolicy(config: OriginConfig): OriginPolicy {
  const listed = new Set(config.origins)
  const listedHosts = new Set(config.origins.map((origin) => hostOf(origin)))
  const allowsAll = listed.has('*')

  const isOurHost = (host: string | undefined): boolean =>
    !config.open || (host !== undefined && (isLoopbackHost(nameOf(host)) || listedHosts.has(withoutDefaultPort(host))))
  const isListed = (origin: string): boolean =>
    allowsAll || listed.has(origin) || (config.open && isLoopbackHost(nameOf(hostOf(origin) ?? '')))
  const isOwn = (origin: string, host: string | undefined): boolean =>
    host !== undefined && hostOf(origin) === withoutDefaultPort(host)

  return {
    check({ origin, host }) {
      const allowed = isOurHost(host) && (origin === undefined || isOwn(origin, host) || isListed(origin))
      if (!allowed) throw new CausewayError('access/origin')
    },
    isAllowedElsewhere({ origin, host }) {
      return origin !== undefined && !isOwn(origin, host) && isListed(origin)
    },
  }
}

/** `app.example.com:8080` of an origin, without the port where it is the scheme's own; undefined for `null`. */
function hostOf(origin: string): string | undefined {
  const host = /^[a-z][a-z0-9+.-]*:\/\/([^/?#@\s]+)$/.exec(origin)?.[1]
  return host === undefined ? undefined : withoutDefaultPort(host)
}

/** The scheme that a proxy in front of us speaks is not known here: both schemes' own ports count as none. */
function withoutDefaultPort(host: string): string {
  return host.toLowerCase().replace(/:(?:80|443)$/, '')
}

function nameOf(host: string): string {
  return host.replace(/:\d+$/, '')
}
