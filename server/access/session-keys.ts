/**
 * The key that session tokens are signed with, derived by every replica of a cell from what all of them know and clients
 * do not: the cell secret. A cell on loopback may have none, and takes its birth id: whoever reaches it may read all
 * anyhow, and a token's signature then keeps out mistakes, not people. Tokens of the one source are never taken where
 * the other is in use.
 */
import { createHmac, hkdfSync } from 'node:crypto'
import type { CellId } from '../../shared/clock/cell.js'
import type { SessionKeys } from '../../shared/session/token.js'

const KEY_BYTES = 32
const FROM_BIRTH_ID = 0
const FROM_SECRET = 1

export interface SessionKeySource {
  readonly cell: CellId
  /** The cell secret, where there is one. */
  readonly secret?: string | undefined
}

export function createSessionKeys({ cell, secret }: SessionKeySource): SessionKeys {
  const current = secret === undefined ? FROM_BIRTH_ID : FROM_SECRET
  const key = new Uint8Array(hkdfSync('sha256', secret ?? cell, cell, `causeway session tokens ${current}`, KEY_BYTES))
  return {
    current,
    mac: (keyId, bytes) => (keyId === current ? createHmac('sha256', key).update(bytes).digest() : undefined),
  }
}
