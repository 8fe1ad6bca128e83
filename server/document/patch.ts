/**
 * Carries out patch operations: one Yjs transaction, all or none, the same bytes for the same input. What goes wrong is
 * found before Yjs is called, so that it can be named with its place in the request; an edit inside a surrogate pair,
 * above all, would leave copies different for good.
 */
import * as Y from 'yjs'
import { assert, unreachable } from '../../shared/base/assert.js'
import type { CausewayError } from '../../shared/errors/error.js'
import type { DocumentState } from './document-state.js'
import { loadDocument } from './load.js'
import {
  invalid,
  type JsonValue,
  type PatchOperation,
  type PatchPath,
  type SharedValueType,
  type XmlNode,
} from './patch-operation.js'
import { type RootKind, rootKind } from './root-kind.js'
import { isInsideSurrogatePair, kindOf, type SharedType } from './yjs-internals.js'

export interface PatchResult {
  /** A Yjs v1 update with what the operations changed, and nothing else. */
  readonly update: Uint8Array
  /** False when the document already was as asked for; `update` is then an empty one. */
  readonly changed: boolean
}

/**
 * The update of `operations` on `state`, written as client `clientId` (an unsigned 32-bit integer): two patches of one
 * state must not share a client id unless only one of them is kept. Later operations see what earlier ones did. Throws
 * `request/invalid` with `details.path` and `details.reason`; nothing is changed then.
 */
export function patch(state: DocumentState, operations: readonly PatchOperation[], clientId: number): PatchResult {
  assert(Number.isInteger(clientId) && clientId >= 0 && clientId <= 0xffff_ffff, 'a client id has 32 bits')
  const doc = loadDocument(state)
  doc.clientID = clientId
  let update: Uint8Array | undefined
  doc.on('update', (written: Uint8Array) => {
    update = written
  })
  doc.transact(() => {
    for (const [at, operation] of operations.entries()) carryOut(doc, operation, `operations[${at}]`)
  })
  return update === undefined ? { update: new Uint8Array(2), changed: false } : { update, changed: true }
}

function carryOut(doc: Y.Doc, operation: PatchOperation, where: string): void {
  const { op, path } = operation
  switch (op) {
    case 'set': {
      const [map, key] = mapAndKey(doc, path, where)
      map.set(key, stored(operation.value, operation.type))
      return
    }
    case 'delete': {
      const [map, key] = mapAndKey(doc, path, where)
      map.delete(key)
      return
    }
    case 'increment': {
      const [map, key] = mapAndKey(doc, path, where)
      const sum = numberAt(map, key, where) + operation.by
      if (!Number.isFinite(sum)) throw invalid(`${where}.by`, 'makes the number infinite')
      map.set(key, sum)
      return
    }
    case 'insert':
    case 'push': {
      const array = resolve(doc, path, Y.Array, 'array', where)
      const index = op === 'push' ? array.length : operation.index
      if (index > array.length) throw outOfRange(`${where}.index`, array.length)
      array.insert(
        index,
        operation.values.map((value) => stored(value, operation.type)),
      )
      return
    }
    case 'remove': {
      const array = resolve(doc, path, Y.Array, 'array', where)
      checkRange(operation, array.length, where)
      array.delete(operation.index, operation.length)
      return
    }
    case 'insertText': {
      const text = resolve(doc, path, Y.Text, 'text', where)
      const index = operation.index ?? text.length
      checkTextIndex(text, index, `${where}.index`)
      text.insert(index, operation.text, operation.attributes)
      return
    }
    case 'deleteText':
    case 'format': {
      const text = resolve(doc, path, Y.Text, 'text', where)
      const { index, length } = operation
      checkRange(operation, text.length, where)
      checkTextIndex(text, index, `${where}.index`)
      checkTextIndex(text, index + length, `${where}.length`)
      if (op === 'deleteText') text.delete(index, length)
      else text.format(index, length, operation.attributes)
      return
    }
    case 'insertXml': {
      const parent = resolve(doc, path, Y.XmlFragment, 'xml', where)
      const index = operation.index ?? parent.length
      if (index > parent.length) throw outOfRange(`${where}.index`, parent.length)
      parent.insert(index, xmlTypes(operation.nodes))
      return
    }
    case 'removeXml': {
      const parent = resolve(doc, path, Y.XmlFragment, 'xml', where)
      checkRange(operation, parent.length, where)
      parent.delete(operation.index, operation.length)
      return
    }
    case 'setAttribute': {
      const element = resolve(doc, path, Y.XmlElement, 'xml', where)
      if (operation.value === null) element.removeAttribute(operation.name)
      // The types of Yjs admit strings only; what it stores is any value, and editors store numbers and objects.
      else element.setAttribute(operation.name, operation.value as string)
      return
    }
    default:
      unreachable(operation)
  }
}

/** The map that `path` ends in a key of. */
function mapAndKey(doc: Y.Doc, path: PatchPath, where: string): [map: Y.Map<unknown>, key: string] {
  const key = path.at(-1)
  const parent = path.slice(0, -1) as unknown as PatchPath
  if (typeof key !== 'string' || parent.length === 0) throw invalid(`${where}.path`, 'must end in the key of a map')
  return [resolve(doc, parent, Y.Map, 'map', where), key]
}

/** The shared type that `path` names, which must be a `Kind`. */
function resolve<Kind extends SharedType>(
  doc: Y.Doc,
  path: PatchPath,
  // biome-ignore lint/suspicious/noExplicitAny: only used with `instanceof`
  Kind: new (...parameters: any[]) => Kind,
  kind: RootKind,
  where: string,
): Kind {
  let type = openRoot(doc, path, kind, where)
  for (const [at, step] of path.entries()) {
    if (at > 0) type = child(type, step, `${where}.path[${at}]`)
  }
  if (!(type instanceof Kind)) throw wrongKind(`${where}.path`, kindOf(type), kind)
  return type
}

/** The root as the kind that the rest of the path, or else the operation, needs it to be. */
function openRoot(doc: Y.Doc, path: PatchPath, kind: RootKind, where: string): SharedType {
  const [name, first] = path
  const root = doc.get(name)
  const known = kindOf(root) === 'untyped' ? rootKind(root) : undefined
  const needed = first === undefined ? kind : typeof first === 'string' ? 'map' : known === 'xml' ? 'xml' : 'array'
  if (known !== undefined && known !== needed) throw wrongKind(`${where}.path[0]`, known, needed)
  // An earlier operation may have opened it: then its type says what it is.
  if (kindOf(root) !== 'untyped') return root
  switch (needed) {
    case 'map':
      return doc.getMap(name)
    case 'array':
      return doc.getArray(name)
    case 'text':
      return doc.getText(name)
    case 'xml':
      return doc.getXmlFragment(name)
  }
}

function child(type: SharedType, step: string | number, where: string): SharedType {
  let value: unknown
  if (typeof step === 'string') {
    if (!(type instanceof Y.Map)) throw wrongKind(where, kindOf(type), 'map')
    value = type.get(step)
  } else {
    if (!(type instanceof Y.Array || type instanceof Y.XmlFragment))
      throw wrongKind(where, kindOf(type), 'array or xml')
    if (step >= type.length) throw outOfRange(where, type.length - 1)
    value = type.get(step)
  }
  if (!(value instanceof Y.AbstractType)) throw invalid(where, 'is not a shared type')
  return value
}

function numberAt(map: Y.Map<unknown>, key: string, where: string): number {
  const value = map.has(key) ? map.get(key) : 0
  if (typeof value !== 'number') throw invalid(`${where}.path`, 'is not a number')
  return value
}

/** A value of the request as Yjs takes it. */
function stored(value: JsonValue, type: SharedValueType | undefined): unknown {
  switch (type) {
    case undefined:
      return value
    case 'text':
      return new Y.Text(value as string)
    case 'array':
      return arrayOf(value as readonly JsonValue[])
    case 'map':
      return new Y.Map(Object.entries(value as Readonly<Record<string, JsonValue>>))
  }
}

function arrayOf(values: readonly JsonValue[]): Y.Array<JsonValue> {
  const array = new Y.Array<JsonValue>()
  array.push([...values])
  return array
}

function xmlTypes(nodes: readonly XmlNode[]): (Y.XmlElement | Y.XmlText)[] {
  const types: (Y.XmlElement | Y.XmlText)[] = []
  for (const [at, node] of nodes.entries()) {
    if ('text' in node) {
      const previous = nodes[at - 1]
      if (!(previous && 'text' in previous)) types.push(xmlText(nodes.slice(at)))
      continue
    }
    const element = new Y.XmlElement(node.name)
    for (const [name, value] of Object.entries(node.attributes ?? {})) {
      if (value !== null) element.setAttribute(name, value as string)
    }
    element.insert(0, xmlTypes(node.children ?? []))
    types.push(element)
  }
  return types
}

/** One type for the texts that `nodes` starts with. */
function xmlText(nodes: readonly XmlNode[]): Y.XmlText {
  const text = new Y.XmlText()
  const delta: { insert: string; attributes: object }[] = []
  for (const node of nodes) {
    if (!('text' in node)) break
    delta.push({ insert: node.text, attributes: node.attributes ?? {} })
  }
  text.applyDelta(delta)
  return text
}

function checkRange(operation: { index: number; length: number }, available: number, where: string): void {
  if (operation.index >= available) throw outOfRange(`${where}.index`, available - 1)
  if (operation.index + operation.length > available) throw outOfRange(`${where}.length`, available - operation.index)
}

/** `index` may stand at the end of the text, but never between the halves of a surrogate pair. */
function checkTextIndex(text: Y.Text, index: number, where: string): void {
  if (index > text.length) throw outOfRange(where, text.length)
  if (isInsideSurrogatePair(text, index)) throw invalid(where, 'lies inside a surrogate pair')
}

function outOfRange(where: string, most: number): CausewayError {
  return invalid(where, most < 0 ? 'is out of range: there is nothing' : `is out of range: at most ${most} is possible`)
}

function wrongKind(where: string, actual: string, wanted: string): CausewayError {
  return invalid(where, `is of kind ${actual}, not ${wanted}`)
}
