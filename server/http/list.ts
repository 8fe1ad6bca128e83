/**
 * Listing documents: only those that the caller may read, and without a trace of others. The caller's scope is a set of
 * name ranges, so these are walked and nothing else is looked at: no page is thinned out afterwards, and a cursor is
 * always the name of a document that was listed.
 */
import { EMPTY_VECTOR, type VersionVector } from '../../shared/clock/version-vector.js'
import { isDocumentName } from '../../shared/protocol/document-name.js'
import type { Identity } from '../access/identity.js'
import { compareNames, type NameRange } from '../access/scope.js'
import type { DocumentListing, Documents } from '../replica/documents.js'
import { invalid } from './invalid.js'
import { LIST_MOST } from './schemas.js'

export interface ListRequest {
  readonly prefix: string
  readonly limit: number
  /** Of the answer before. Throws `request/invalid` where it is none. */
  readonly cursor: string | undefined
}

type Listed = DocumentListing['documents'][number]

interface ListedPage {
  readonly page: Omit<DocumentListing, 'seen'>
  /** What whoever reads the page has seen. */
  readonly seen: VersionVector
}

export async function listReadable(
  documents: Documents,
  identity: Identity,
  { prefix, limit, cursor }: ListRequest,
): Promise<ListedPage> {
  const after = cursor === undefined ? undefined : decodeCursor(cursor)
  const listed: Listed[] = []
  let seen = EMPTY_VECTOR
  for (const range of identity.ranges('read', prefix)) {
    if (after !== undefined && isBehind(range, after)) continue
    // One more than asked for tells whether there is a next page.
    seen = await listRange(documents, range, after, limit + 1, listed)
    if (listed.length > limit) break
  }
  const page = listed.slice(0, limit)
  const more = listed.length > limit ? { cursor: encodeCursor(page.at(-1)!.name) } : {}
  return { page: { documents: page, ...more }, seen }
}

/** Adds to `listed`; what it shows is part of the result. */
async function listRange(
  documents: Documents,
  range: NameRange,
  after: string | undefined,
  wanted: number,
  listed: Listed[],
): Promise<VersionVector> {
  let cursor = after
  let seen = EMPTY_VECTOR
  while (listed.length < wanted) {
    // The log gives no more at a time than we do; the one beyond a full page comes with the next round.
    const limit = range.exact ? 1 : Math.min(wanted - listed.length, LIST_MOST)
    const page = await documents.list({
      prefix: range.prefix,
      limit,
      ...(cursor === undefined || range.exact ? {} : { cursor }),
    })
    listed.push(...page.documents.filter((document) => !range.exact || document.name === range.prefix))
    // A replica shows ever more: the last page has seen what those before it have.
    seen = page.seen
    cursor = page.cursor
    if (cursor === undefined || range.exact) break
  }
  return seen
}

/** Whether every name of the range was listed on a page before. */
function isBehind(range: NameRange, after: string): boolean {
  if (range.exact) return compareNames(range.prefix, after) <= 0
  return compareNames(range.prefix, after) < 0 && !after.startsWith(range.prefix)
}

function encodeCursor(name: string): string {
  return Buffer.from(name).toString('base64url')
}

function decodeCursor(cursor: string): string {
  const name = Buffer.from(cursor, 'base64url').toString('utf8')
  if (!isDocumentName(name) || encodeCursor(name) !== cursor) throw invalid('cursor', 'must be that of an answer')
  return name
}
