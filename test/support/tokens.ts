/** Access tokens made by hand (RFC 7515): right ones, and such as no issuer would sign. */
import { createHmac } from 'node:crypto'

export const SECRET = 'a secret of the tests, long enough to be one'

export interface TokenParts {
  readonly header?: Readonly<Record<string, unknown>>
  readonly claims?: Readonly<Record<string, unknown>>
  readonly secret?: string
  /** Instead of the right one. */
  readonly signature?: string
}

export const secondsFromNow = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** By default valid for an hour, HS256. */
export function token({ header = {}, claims = {}, secret = SECRET, signature }: TokenParts): string {
  const signed = `${part({ alg: 'HS256', typ: 'JWT', ...header })}.${part({ exp: secondsFromNow(3600), ...claims })}`
  return `${signed}.${signature ?? createHmac('sha256', secret).update(signed).digest('base64url')}`
}

/** A good token with this scope. */
export function tokenFor(scope: string, claims: Readonly<Record<string, unknown>> = {}): string {
  return token({ claims: { sub: 'somebody', scope, ...claims } })
}
