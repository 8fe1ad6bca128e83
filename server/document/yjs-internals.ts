/**
 * The only place that looks below Yjs's public interface (13.6). Fingerprints, views and checks need the linked list of
 * items, which ids they have and whether they are deleted; none of that is offered outside. When Yjs changes, this is
 * the file to read.
 *
 * A shared type is a list (`_start`, linked to the right) and a map (`_map`: per key the rightmost item of a chain that
 * goes on to the left). A live item is one that is not deleted; deleted ones may have lost their content to garbage
 * collection, so nothing here ever shows them.
 */
import * as Y from 'yjs'

// biome-ignore lint/suspicious/noExplicitAny: the event type of a shared type is of no concern here
export type SharedType = Y.AbstractType<any>

/** `untyped`: a root that nobody has asked for by kind; only its content tells. */
export type SharedKind = 'array' | 'map' | 'text' | 'xml-element' | 'xml-fragment' | 'xml-hook' | 'xml-text' | 'untyped'

/** What one live item holds. `string` has one unit per UTF-16 code unit, `any` and `json` one per value, all others one. */
export type Content =
  | { readonly type: 'string'; readonly text: string }
  | { readonly type: 'any' | 'json'; readonly values: readonly unknown[] }
  | { readonly type: 'binary'; readonly bytes: Uint8Array }
  | { readonly type: 'embed'; readonly value: unknown }
  | { readonly type: 'format'; readonly key: string; readonly value: unknown }
  | { readonly type: 'shared'; readonly shared: SharedType }
  | { readonly type: 'subdocument'; readonly guid: string; readonly options: unknown }

/** A live item: `length` units with the ids (client, clock), (client, clock + 1), … */
export interface LiveItem {
  readonly client: number
  readonly clock: number
  readonly length: number
  readonly content: Content
}

export function kindOf(type: SharedType): SharedKind {
  switch (type.constructor) {
    case Y.Array:
      return 'array'
    case Y.Map:
      return 'map'
    case Y.Text:
      return 'text'
    case Y.XmlElement:
      return 'xml-element'
    case Y.XmlFragment:
      return 'xml-fragment'
    case Y.XmlHook:
      return 'xml-hook'
    case Y.XmlText:
      return 'xml-text'
    default:
      return 'untyped'
  }
}

/** The tag name of an element or hook, '' for every other type. */
export function nodeNameOf(type: SharedType): string {
  if (type instanceof Y.XmlElement) return type.nodeName
  return type instanceof Y.XmlHook ? type.hookName : ''
}

/** The live items of the list, in order. */
export function* listItems(type: SharedType): Generator<LiveItem> {
  for (let item = type._start; item !== null; item = item.right) if (!item.deleted) yield liveItem(item)
}

/** Per key with a value, sorted by key: the live items of its chain in order. The value is the last unit of the last one. */
export function mapEntries(type: SharedType): [key: string, chain: LiveItem[]][] {
  const entries: [string, LiveItem[]][] = []
  for (const [key, last] of type._map) {
    // Everything left of the last item is deleted, but for the earlier units of that very item where it was split.
    const chain: LiveItem[] = []
    for (let item: Y.Item | null = last; item !== null; item = item.left) if (!item.deleted) chain.push(liveItem(item))
    if (chain.length > 0) entries.push([key, chain.reverse()])
  }
  return entries.sort(([a], [b]) => (a < b ? -1 : 1))
}

/** Whether a key was ever set, deleted ones included. */
export function hadMapEntries(type: SharedType): boolean {
  return type._map.size > 0
}

function liveItem(item: Y.Item): LiveItem {
  return { client: item.id.client, clock: item.id.clock, length: item.length, content: contentOf(item) }
}

function contentOf(item: Y.Item): Content {
  const { content } = item
  if (content instanceof Y.ContentString) return { type: 'string', text: content.str }
  if (content instanceof Y.ContentAny) return { type: 'any', values: content.arr }
  if (content instanceof Y.ContentJSON) return { type: 'json', values: content.arr }
  if (content instanceof Y.ContentType) return { type: 'shared', shared: content.type }
  if (content instanceof Y.ContentFormat) return { type: 'format', key: content.key, value: content.value }
  if (content instanceof Y.ContentEmbed) return { type: 'embed', value: content.embed }
  if (content instanceof Y.ContentBinary) return { type: 'binary', bytes: content.content }
  if (content instanceof Y.ContentDoc) {
    return { type: 'subdocument', guid: String(content.doc.guid), options: content.opts }
  }
  throw new Error(`a live item holds ${content.constructor.name}`)
}

/**
 * Whether position `index` of a text lies between the two halves of a surrogate pair. Runs once per operation over
 * documents of any length, hence on the items themselves.
 */
export function isInsideSurrogatePair(type: SharedType, index: number): boolean {
  let position = 0
  for (let item = type._start; item !== null; item = item.right) {
    if (item.deleted || !item.countable) continue
    if (index <= position) return false
    if (index < position + item.length) {
      // A pair never spans two items: each came out of UTF-8 whole, or as replacement characters.
      if (!(item.content instanceof Y.ContentString)) return false
      const before = item.content.str.charCodeAt(index - position - 1)
      return before >= 0xd800 && before <= 0xdbff
    }
    position += item.length
  }
  return false
}

/** Whether structs or deletes wait for something that the document lacks. A document of ours never does. */
export function hasPending(doc: Y.Doc): boolean {
  return doc.store.pendingStructs !== null || doc.store.pendingDs !== null
}

/** Next clock of every client. */
export function stateVectorOf(doc: Y.Doc): Map<number, number> {
  const vector = new Map<number, number>()
  for (const [client, structs] of doc.store.clients) {
    const last = structs[structs.length - 1]
    if (last) vector.set(client, last.id.clock + last.length)
  }
  return vector
}

/** Everything deleted: per client, in ascending order, ranges that neither touch nor overlap. */
export function deleteSetOf(doc: Y.Doc): [client: number, ranges: { clock: number; len: number }[]][] {
  const { clients } = Y.createDeleteSetFromStructStore(doc.store)
  return [...clients].sort(([a], [b]) => a - b)
}

/** Has the rest of this transaction, its end included, treated as our own and not as received from somebody. */
export function treatAsLocal(transaction: Y.Transaction): void {
  transaction.local = true
}
