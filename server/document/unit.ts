/** The values that a list or a map shows: items hold one or several of them, one per clock. */
import { type Content, listItems, mapEntries, type SharedType } from './yjs-internals.js'

export type Unit =
  | { readonly type: 'value'; readonly value: unknown }
  | { readonly type: 'shared'; readonly shared: SharedType }
  | { readonly type: 'subdocument'; readonly guid: string }

/** The elements of a list in order. Formats are no elements. */
export function* listUnits(type: SharedType): Generator<Unit> {
  for (const { content, length } of listItems(type)) {
    for (let index = 0; index < length; index++) {
      const unit = unitAt(content, index)
      if (unit) yield unit
    }
  }
}

/** The entries of a map, or the attributes of an element, sorted by key. */
export function mapUnits(type: SharedType): (readonly [key: string, unit: Unit])[] {
  return mapEntries(type).flatMap(([key, chain]) => {
    const last = chain.at(-1)
    const unit = last && unitAt(last.content, last.length - 1)
    return unit ? [[key, unit] as const] : []
  })
}

function unitAt(content: Content, index: number): Unit | undefined {
  switch (content.type) {
    case 'string':
      return { type: 'value', value: content.text[index] }
    case 'any':
    case 'json':
      return { type: 'value', value: content.values[index] }
    case 'binary':
      return { type: 'value', value: content.bytes }
    case 'embed':
      return { type: 'value', value: content.value }
    case 'shared':
      return { type: 'shared', shared: content.shared }
    case 'subdocument':
      return { type: 'subdocument', guid: content.guid }
    case 'format':
      return undefined
  }
}
