/** Who a caller is and what it may do. */
export interface Identity {
  /** The token's `sub`. Absent where access is open, or where a token names nobody. */
  readonly userId?: string
  /** What other people are shown. */
  readonly name?: string
  /** The token's `jti`, by which it is revoked. */
  readonly tokenId?: string
  /** When the caller must show a fresh token, in ms since the epoch. Absent: never. */
  readonly expiresAtMs?: number
  can(document: string, right: 'read' | 'write' | 'admin'): boolean
}
