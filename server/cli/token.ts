/** `causeway token`: an access token for development, signed with the configured secret. */
import { CausewayError } from '../../shared/errors/error.js'
import { mintDevToken } from '../access/mint.js'
import type { Terminal } from './run.js'
import { readConfig } from './sources.js'

export interface TokenOptions {
  readonly config?: string
  readonly user?: string
  readonly name?: string
  readonly scope: string
  readonly lifeS: string
  readonly json?: boolean
}

const LIFE_MOST_S = 365 * 86_400

export async function token(options: TokenOptions, { env, out }: Terminal): Promise<void> {
  const { config: path, user, name, scope, json } = options
  const lifeS = readLife(options.lifeS)
  const { auth } = await readConfig(path === undefined ? {} : { config: path }, env)
  const nowMs = Date.now()
  const signed = await mintDevToken(auth, { userId: user, name, scope, lifeS }, nowMs)
  if (!json) {
    out(`${signed}\n`)
    return
  }
  const expiresAt = new Date(nowMs + lifeS * 1000).toISOString()
  out(`${JSON.stringify({ token: signed, user, name, scope, expiresAt })}\n`)
}

function readLife(text: string): number {
  const lifeS = /^\d{1,9}$/.test(text) ? Number(text) : 0
  if (lifeS >= 1 && lifeS <= LIFE_MOST_S) return lifeS
  throw new CausewayError(
    'request/invalid',
    { option: 'life-s' },
    { message: `--life-s must be a whole number of seconds from 1 to ${LIFE_MOST_S}.` },
  )
}
