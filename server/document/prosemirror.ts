/**
 * A root as the JSON that ProseMirror and Tiptap use: elements are nodes, their attributes `attrs`, text is cut into
 * text nodes whose formats are `marks`. A mark that may overlap itself (comments) is stored under its name and `--` and
 * eight base64 characters of a hash; the name alone is what the editor's schema knows.
 */

import { deeper } from './document-state.js'
import { type Attributes, type TextPiece, textPieces } from './formatted-text.js'
import { type BoundedText, writeArray, writeObject, writeValue } from './json-text.js'
import { mapUnits } from './unit.js'
import { kindOf, listItems, nodeNameOf, type SharedType } from './yjs-internals.js'

const OVERLAPPING_MARK = /(.)--[a-zA-Z0-9+/=]{8}$/s

/** A child of a node: an element, or a piece of a text among its siblings. */
type Node =
  | { readonly type: 'element'; readonly element: SharedType }
  | { readonly type: 'piece'; readonly piece: TextPiece }

/** Writes `{"type":"doc","content":[…]}` for the children of an XML fragment. What is neither element nor text is left out. */
export function writeProsemirror(out: BoundedText, root: SharedType): void {
  out.write('{"type":"doc","content":')
  writeArray(out, childNodes(root), (node) => writeNode(out, node, 1))
  out.write('}')
}

function writeNode(out: BoundedText, node: Node, depth: number): void {
  if (node.type === 'piece') writePiece(out, node.piece, depth)
  else writeElement(out, node.element, depth)
}

function writeElement(out: BoundedText, element: SharedType, depth: number): void {
  out.write('{"type":')
  writeValue(out, nodeNameOf(element), depth)
  const attributes: Attributes = mapUnits(element).flatMap(([name, unit]) =>
    unit.type === 'value' && unit.value !== undefined ? [[name, unit.value]] : [],
  )
  if (attributes.length > 0) writeAttrs(out, attributes, depth)
  const children = [...childNodes(element)]
  if (children.length > 0) {
    out.write(',"content":')
    writeArray(out, children, (child) => writeNode(out, child, deeper(depth)))
  }
  out.write('}')
}

function writePiece(out: BoundedText, { insert, attributes }: TextPiece, depth: number): void {
  if (insert.type === 'text') {
    out.write('{"type":"text","text":')
    writeValue(out, insert.text, depth)
  } else {
    // No editor of this family writes embeds; one that is there is shown rather than dropped.
    out.write('{"type":"embed"')
    if (insert.type === 'embed') writeAttrs(out, [['value', insert.value]], depth)
  }
  if (attributes.length > 0) {
    out.write(',"marks":')
    writeArray(out, attributes, ([name, value]) => {
      out.write('{"type":')
      writeValue(out, name.replace(OVERLAPPING_MARK, '$1'), depth)
      const fields = typeof value === 'object' && !Array.isArray(value) ? Object.entries(value ?? {}) : []
      if (fields.length > 0) writeAttrs(out, fields, depth)
      out.write('}')
    })
  }
  out.write('}')
}

function writeAttrs(out: BoundedText, attributes: Attributes, depth: number): void {
  out.write(',"attrs":')
  writeObject(out, attributes, (value) => writeValue(out, value, deeper(depth)))
}

function* childNodes(type: SharedType): Generator<Node> {
  for (const { content } of listItems(type)) {
    if (content.type !== 'shared') continue
    const kind = kindOf(content.shared)
    if (kind === 'xml-element') yield { type: 'element', element: content.shared }
    else if (kind === 'xml-text' || kind === 'text') {
      for (const piece of textPieces(content.shared)) yield { type: 'piece', piece }
    }
  }
}
