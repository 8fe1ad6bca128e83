/** Text with formats as a sequence of pieces: formats are items of their own that switch an attribute on or off. */
import { listItems, type SharedType } from './yjs-internals.js'

export type Attributes = readonly (readonly [name: string, value: unknown])[]

/** A stretch of equally formatted text, or one embedded value or type. Attributes are sorted by name, none is null. */
export interface TextPiece {
  readonly insert:
    | { readonly type: 'text'; readonly text: string }
    | { readonly type: 'embed'; readonly value: unknown }
    | { readonly type: 'shared'; readonly shared: SharedType }
  readonly attributes: Attributes
}

/** The pieces of a text. Formats that change nothing, left behind by concurrent edits, do not cut it. */
export function* textPieces(type: SharedType): Generator<TextPiece> {
  const active = new Map<string, unknown>()
  let attributes: Attributes = []
  let isStale = false
  let texts: string[] = []
  for (const { content } of listItems(type)) {
    if (content.type === 'format') {
      if (content.value === null) active.delete(content.key)
      else active.set(content.key, content.value)
      isStale = true
      continue
    }
    const current = isStale ? sorted(active) : attributes
    const goesOn = content.type === 'string' && (!isStale || JSON.stringify(current) === JSON.stringify(attributes))
    if (!goesOn && texts.length > 0) {
      yield { insert: { type: 'text', text: texts.join('') }, attributes }
      texts = []
    }
    attributes = current
    isStale = false
    if (content.type === 'string') texts.push(content.text)
    else if (content.type === 'shared') yield { insert: { type: 'shared', shared: content.shared }, attributes }
    else if (content.type === 'embed') yield { insert: { type: 'embed', value: content.value }, attributes }
  }
  if (texts.length > 0) yield { insert: { type: 'text', text: texts.join('') }, attributes }
}

/** The text alone. */
export function plainText(type: SharedType): string {
  const texts: string[] = []
  for (const { content } of listItems(type)) if (content.type === 'string') texts.push(content.text)
  return texts.join('')
}

function sorted(active: ReadonlyMap<string, unknown>): Attributes {
  return [...active].sort(([a], [b]) => (a < b ? -1 : 1))
}
