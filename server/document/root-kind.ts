/** What kind of shared type a root is. An update names roots but never says their kind: only the content can tell. */
import { hadMapEntries, kindOf, listItems, type SharedType } from './yjs-internals.js'

export type RootKind = 'text' | 'map' | 'array' | 'xml'

/**
 * The kind that the content shows; undefined where nothing tells. The list decides before the map, since text and
 * XML may carry attributes: text content makes a text, XML types alone make XML, anything else an array.
 */
export function rootKind(root: SharedType): RootKind | undefined {
  let kind: RootKind | undefined
  for (const { content } of listItems(root)) {
    if (content.type === 'string' || content.type === 'format' || content.type === 'embed') return 'text'
    const isXml = content.type === 'shared' && kindOf(content.shared).startsWith('xml-')
    if (!isXml) kind = 'array'
    else kind ??= 'xml'
  }
  return kind ?? (hadMapEntries(root) ? 'map' : undefined)
}
