/**
 * The `scope` of a token: space-separated `pattern:right`, the right after the last `:` (DESIGN.md section 10).
 *
 *     team/*:write  notes/today:read  *:admin
 *
 * A pattern is a document name; a `*` as its last character matches any rest, `/` included, the empty rest too. Spaces,
 * `%` and literal stars are percent-encoded. Entries that end in none of our rights (`openid`, `profile`) belong to
 * somebody else and grant nothing. An entry that names one of our rights and is malformed makes the whole scope invalid:
 * who wrote it meant something that we would otherwise silently not grant.
 */
import { isDocumentName } from '../../shared/protocol/document-name.js'

/** Ordered: each implies those before it. */
export const RIGHTS = ['read', 'write', 'admin'] as const
export type Right = (typeof RIGHTS)[number]

const SCOPE_LIMIT_BYTES = 8192
export const SCOPE_LIMIT_ENTRIES = 256

/** Names that start with `prefix`; with `exact`, only that one name. */
export interface NameRange {
  readonly prefix: string
  readonly exact: boolean
}

export interface Scope {
  allows(document: string, right: Right): boolean
  /** Whether the right covers every name. */
  allowsAll(right: Right): boolean
  /** Names with this right that start with `prefix`: ranges without overlap, ascending by the bytes of the name. */
  ranges(right: Right, prefix: string): readonly NameRange[]
}

interface Grant extends NameRange {
  readonly rank: number
}

/** Says why a scope is invalid, in words that may be shown. */
export class ScopeError extends Error {
  override readonly name = 'ScopeError'
}

/** Throws `ScopeError` where `text` is too long, has too many entries, or a malformed one. */
export function parseScope(text: string): Scope {
  if (text.length > SCOPE_LIMIT_BYTES) throw new ScopeError('the scope is too long')
  const entries = text.split(' ').filter((entry) => entry !== '')
  if (entries.length > SCOPE_LIMIT_ENTRIES)
    throw new ScopeError(`the scope has more than ${SCOPE_LIMIT_ENTRIES} entries`)
  return createScope(entries.flatMap((entry) => parseEntry(entry) ?? []))
}

function parseEntry(entry: string): Grant | undefined {
  const colon = entry.lastIndexOf(':')
  const rank = RIGHTS.indexOf(entry.slice(colon + 1) as Right)
  if (colon < 0 || rank < 0) return undefined
  const pattern = entry.slice(0, colon)
  const exact = !pattern.endsWith('*')
  const prefix = decodePattern(exact ? pattern : pattern.slice(0, -1))
  // What a prefix cannot be completed to would grant nothing for ever: a mistake, like a name that is none.
  if (!isDocumentName(exact ? prefix : `${prefix}x`))
    throw new ScopeError(`no document can match ${JSON.stringify(pattern)}`)
  return { prefix, exact, rank }
}

function decodePattern(pattern: string): string {
  if (pattern.includes('*')) throw new ScopeError('a * may only be the last character of a pattern')
  try {
    return decodeURIComponent(pattern)
  } catch {
    throw new ScopeError(`bad percent-encoding in ${JSON.stringify(pattern)}`)
  }
}

function createScope(grants: readonly Grant[]): Scope {
  const exact = new Map<string, number>()
  for (const grant of grants) {
    if (grant.exact) exact.set(grant.prefix, Math.max(grant.rank, exact.get(grant.prefix) ?? 0))
  }
  const prefixes = grants.filter((grant) => !grant.exact)

  return {
    allows(document, right) {
      const rank = RIGHTS.indexOf(right)
      if ((exact.get(document) ?? -1) >= rank) return true
      return prefixes.some((grant) => grant.rank >= rank && document.startsWith(grant.prefix))
    },
    allowsAll(right) {
      return prefixes.some((grant) => grant.rank >= RIGHTS.indexOf(right) && grant.prefix === '')
    },
    ranges(right, prefix) {
      const rank = RIGHTS.indexOf(right)
      const within: NameRange[] = []
      for (const grant of grants) {
        if (grant.rank < rank) continue
        if (grant.prefix.startsWith(prefix)) within.push({ prefix: grant.prefix, exact: grant.exact })
        else if (!grant.exact && prefix.startsWith(grant.prefix)) within.push({ prefix, exact: false })
      }
      return withoutOverlap(within)
    },
  }
}

/** Sorted by the bytes of UTF-8, as storage sorts names; a range inside another one is left out. */
function withoutOverlap(ranges: readonly NameRange[]): readonly NameRange[] {
  const sorted = [...ranges].sort((a, b) => compareNames(a.prefix, b.prefix) || Number(a.exact) - Number(b.exact))
  const kept: NameRange[] = []
  for (const range of sorted) {
    const last = kept.at(-1)
    const covered = last?.exact ? last.prefix === range.prefix : last && range.prefix.startsWith(last.prefix)
    if (!covered) kept.push(range)
  }
  return kept
}

/** Order of names by their UTF-8 bytes. UTF-16 order differs where a surrogate pair meets U+E000 to U+FFFF. */
export function compareNames(left: string, right: string): number {
  return left === right ? 0 : Buffer.compare(Buffer.from(left), Buffer.from(right))
}

/** The scope of open access. */
export const EVERYTHING: Scope = parseScope('*:admin')
