/**
 * A JSON Web Key Set kept at hand. It is fetched when first needed, again when it is old, and when a token names a key that
 * it lacks (keys rotate), but never twice within a short time, so that made-up key ids cannot turn us against the
 * issuer. When the issuer cannot be reached, the keys we have serve on for a while: logging in should outlive its
 * short outages, and a withdrawn key must not live for ever.
 */
import { CausewayError } from '../../shared/errors/error.js'
import { keysOfSet, type VerificationKey } from './keys.js'

export const JWKS_FRESH_MS = 600_000
export const JWKS_STALE_LIMIT_MS = 3_600_000
export const JWKS_FETCH_INTERVAL_MS = 30_000
/** While there are no keys at all, nobody can log in: worth asking more often. */
export const JWKS_FIRST_FETCH_INTERVAL_MS = 1_000
const FETCH_TIMEOUT_MS = 5_000
const LIMIT_BYTES = 262_144

export type Fetch = (url: string, init: { redirect: 'error'; signal: AbortSignal }) => Promise<Response>

export class RemoteKeySet {
  private readonly url: string
  private readonly now: () => number
  private readonly fetch: Fetch
  private keys: readonly VerificationKey[] | undefined
  private fetchedAtMs = Number.NEGATIVE_INFINITY
  private triedAtMs = Number.NEGATIVE_INFINITY
  private running: Promise<void> | undefined

  constructor(url: string, now: () => number, fetch: Fetch) {
    this.url = url
    this.now = now
    this.fetch = fetch
  }

  /**
   * The current keys. `lacks` are those among which the caller did not find its own: where there are newer ones, or they
   * may be fetched, the answer is those, else the same array again. Throws `access/unavailable` where there are none.
   */
  async current(lacks?: readonly VerificationKey[]): Promise<readonly VerificationKey[]> {
    if ((elapsed(this.fetchedAtMs, this.now()) >= JWKS_FRESH_MS || lacks === this.keys) && this.mayFetch()) {
      await this.refresh()
    }
    if (this.keys === undefined || elapsed(this.fetchedAtMs, this.now()) > JWKS_STALE_LIMIT_MS) {
      throw new CausewayError('access/unavailable', { reason: 'the key set cannot be fetched' })
    }
    return this.keys
  }

  private mayFetch(): boolean {
    const interval = this.keys === undefined ? JWKS_FIRST_FETCH_INTERVAL_MS : JWKS_FETCH_INTERVAL_MS
    return this.running !== undefined || elapsed(this.triedAtMs, this.now()) >= interval
  }

  /** One fetch at a time, shared by all who wait. A failure leaves the old keys. */
  private async refresh(): Promise<void> {
    this.running ??= this.load().finally(() => {
      this.running = undefined
    })
    await this.running
  }

  private async load(): Promise<void> {
    this.triedAtMs = this.now()
    try {
      const response = await this.fetch(this.url, { redirect: 'error', signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) })
      if (response.status !== 200) return
      const keys = keysOfSet(JSON.parse(await readBounded(response)))
      if (keys === undefined) return
      this.keys = keys
      this.fetchedAtMs = this.triedAtMs
    } catch {
      // Unreachable, too slow, too large or no JSON: as far as we are concerned it did not answer.
    }
  }
}

/** A wall clock may be set back; what then lies in the future is taken as being as old as it is ahead. */
function elapsed(sinceMs: number, nowMs: number): number {
  return Math.abs(nowMs - sinceMs)
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength
    if (bytes > LIMIT_BYTES) throw new RangeError('key set too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
