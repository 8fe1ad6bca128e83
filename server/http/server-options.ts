/** How long an HTTP server waits, and for how much: a client that sends its request byte by byte must not hold a socket. */
import type { ServerOptions } from 'node:http'

export const HTTP_SERVER_OPTIONS = {
  /** From the connection's first byte to the end of the headers. */
  headersTimeout: 10_000,
  /** To the end of the body: enough for the largest update over a slow line. */
  requestTimeout: 300_000,
  /** Longer than the 60 s that load balancers keep idle connections: they must be the ones who close. */
  keepAliveTimeout: 65_000,
  /** How often the two limits above are looked at. */
  connectionsCheckingInterval: 2_000,
  /** A token of 8 KiB and a session token fit. */
  maxHeaderSize: 32_768,
  noDelay: true,
} as const satisfies ServerOptions

/** A connection on which nothing moves for so long, in the midst of a request or its answer, is dropped. */
export const STALL_MS = 120_000
