/**
 * XML types as XML. For plain content it is what `toString` of the Yjs types gives (names in lower case, attributes
 * sorted, formats as elements around the text); text and attribute values are escaped here, and names that would break
 * out of a tag are cleaned, so that the result can be parsed whatever a client wrote.
 */

import { deeper } from './document-state.js'
import { type Attributes, textPieces } from './formatted-text.js'
import type { BoundedText } from './json-text.js'
import { mapUnits } from './unit.js'
import { kindOf, listItems, nodeNameOf, type SharedType } from './yjs-internals.js'

/** Writes the children of a fragment, an element whole, or a text. */
export function writeXml(out: BoundedText, type: SharedType, depth: number): void {
  const kind = kindOf(type)
  if (kind === 'xml-text' || kind === 'text') writeText(out, type, depth)
  else if (kind === 'xml-element' || kind === 'xml-hook') writeElement(out, type, depth)
  else writeChildren(out, type, depth)
}

function writeElement(out: BoundedText, type: SharedType, depth: number): void {
  const name = tagName(nodeNameOf(type)).toLowerCase()
  out.write(`<${name}`)
  for (const [key, unit] of mapUnits(type)) if (unit.type === 'value') writeAttribute(out, key, unit.value)
  out.write('>')
  writeChildren(out, type, depth)
  out.write(`</${name}>`)
}

function writeChildren(out: BoundedText, type: SharedType, depth: number): void {
  for (const { content } of listItems(type)) {
    if (content.type === 'shared') writeXml(out, content.shared, deeper(depth))
    else if (content.type === 'string') out.write(escapeText(content.text))
  }
}

function writeText(out: BoundedText, type: SharedType, depth: number): void {
  for (const { insert, attributes } of textPieces(type)) {
    for (const [name, value] of attributes) {
      out.write(`<${tagName(name)}`)
      for (const [key, field] of fieldsOf(value)) writeAttribute(out, key, field)
      out.write('>')
    }
    if (insert.type === 'text') out.write(escapeText(insert.text))
    else if (insert.type === 'shared') writeXml(out, insert.shared, deeper(depth))
    for (const [name] of attributes.toReversed()) out.write(`</${tagName(name)}>`)
  }
}

/** Values that are no scalars have no form as an attribute and are left out. */
function writeAttribute(out: BoundedText, name: string, value: unknown): void {
  if (!['string', 'number', 'boolean', 'bigint'].includes(typeof value)) return
  out.write(` ${tagName(name)}="${escapeText(String(value))}"`)
}

function fieldsOf(value: unknown): Attributes {
  return typeof value === 'object' && value !== null ? Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)) : []
}

function tagName(name: string): string {
  return name.replace(/[^\p{L}\p{N}_.:-]/gu, '_') || '_'
}

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

function escapeText(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ESCAPES[character] ?? character)
}
