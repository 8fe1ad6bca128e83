/**
 * The operations of `PATCH /v1/documents/{name}`: what a program without Yjs can ask for. This file says what they are
 * and turns unknown JSON into them; `patch.ts` carries them out.
 *
 * A path names a shared type: the root, then keys of maps and indices of arrays or XML children (`["board", "cards", 2]`
 * is element 2 of the array `cards` in the root map `board`). The kinds of root and steps follow from the steps and from
 * the operation; nothing on the path is created, except that a root always exists. Indices and lengths count what Yjs
 * counts: elements, children, or UTF-16 code units of a text, embeds as one.
 */
import { CausewayError } from '../../shared/errors/error.js'

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue }

export type PatchPath = readonly [root: string, ...steps: (string | number)[]]

/** Formats of text by name; null ends a format. */
type TextAttributes = { readonly [name: string]: JsonValue }

/**
 * What a value becomes. Without it a value is stored as plain JSON, replaced only as a whole. `map` (from an object),
 * `array` (from an array) and `text` (from a string) make a shared type, whose direct content is plain JSON: several
 * people can then change it at once.
 */
export type SharedValueType = 'map' | 'array' | 'text'

/** An element, or text. Neighbouring texts among siblings become one `Y.XmlText`, as editors expect them. */
export type XmlNode =
  | {
      readonly name: string
      readonly attributes?: { readonly [name: string]: JsonValue }
      readonly children?: readonly XmlNode[]
    }
  | { readonly text: string; readonly attributes?: TextAttributes }

export type PatchOperation =
  /** Sets a key of a map; the path ends in the key. */
  | { readonly op: 'set'; readonly path: PatchPath; readonly value: JsonValue; readonly type?: SharedValueType }
  /** Removes a key of a map; the path ends in the key. A key that is not there changes nothing. */
  | { readonly op: 'delete'; readonly path: PatchPath }
  /** Adds to the number under a key of a map (0 where there is none). Of two at once the later one stands: no counter. */
  | { readonly op: 'increment'; readonly path: PatchPath; readonly by: number }
  /** Inserts elements into an array, the first at `index`. */
  | {
      readonly op: 'insert'
      readonly path: PatchPath
      readonly index: number
      readonly values: readonly JsonValue[]
      readonly type?: SharedValueType
    }
  /** Appends elements to an array. */
  | {
      readonly op: 'push'
      readonly path: PatchPath
      readonly values: readonly JsonValue[]
      readonly type?: SharedValueType
    }
  /** Removes elements of an array. */
  | { readonly op: 'remove'; readonly path: PatchPath; readonly index: number; readonly length: number }
  /** Inserts into a text, at its end without `index`. Without `attributes` the text takes the formats of what precedes it. */
  | {
      readonly op: 'insertText'
      readonly path: PatchPath
      readonly index: number | undefined
      readonly text: string
      readonly attributes?: TextAttributes
    }
  | { readonly op: 'deleteText'; readonly path: PatchPath; readonly index: number; readonly length: number }
  | {
      readonly op: 'format'
      readonly path: PatchPath
      readonly index: number
      readonly length: number
      readonly attributes: TextAttributes
    }
  /** Inserts children into an XML fragment or element, at its end without `index`. */
  | {
      readonly op: 'insertXml'
      readonly path: PatchPath
      readonly index: number | undefined
      readonly nodes: readonly XmlNode[]
    }
  /** Sets an attribute of an XML element; null removes it. */
  | { readonly op: 'setAttribute'; readonly path: PatchPath; readonly name: string; readonly value: JsonValue }
  /** Removes children of an XML fragment or element. */
  | { readonly op: 'removeXml'; readonly path: PatchPath; readonly index: number; readonly length: number }

export const PATCH_LIMITS = {
  operations: 1_000,
  pathSegments: 64,
  /** Levels of JSON values and of XML nodes, each; ingest checks the whole document again. */
  nesting: 32,
  /** UTF-8 bytes of a root, key, element, attribute or format name. */
  nameBytes: 1_024,
} as const

/**
 * Checks the `operations` of a request. Defaults are filled in: `length` 1 for `remove` and `removeXml`, `by` 1; `value`
 * stands for `values` with one element. Throws `request/invalid` with `details.path` (`operations[2].index`) and
 * `details.reason`; unknown fields are refused.
 */
export function parsePatchOperations(input: unknown): PatchOperation[] {
  if (!Array.isArray(input)) throw invalid('operations', 'must be an array')
  if (input.length === 0) throw invalid('operations', 'must not be empty')
  if (input.length > PATCH_LIMITS.operations) {
    throw invalid('operations', `must have at most ${PATCH_LIMITS.operations} elements`)
  }
  return input.map((operation, at) => parseOperation(operation, `operations[${at}]`))
}

/** The refusal of a field of the request. */
export function invalid(path: string, reason: string): CausewayError {
  return new CausewayError(
    'request/invalid',
    { path, reason },
    { message: `The request is not valid: ${path} ${reason}.` },
  )
}

function parseOperation(input: unknown, where: string): PatchOperation {
  const fields = new Fields(input, where)
  const operation = readOperation(fields, where)
  fields.refuseOthers()
  return operation
}

function readOperation(fields: Fields, where: string): PatchOperation {
  const op = fields.take('op')
  const path = () => parsePath(fields.take('path'), `${where}.path`)
  switch (op) {
    case 'set':
      return withType({ op, path: keyPath(path(), where), value: fields.json('value') }, fields)
    case 'delete':
      return { op, path: keyPath(path(), where) }
    case 'increment':
      return { op, path: keyPath(path(), where), by: fields.has('by') ? fields.number('by') : 1 }
    case 'insert':
      return withType({ op, path: path(), index: fields.count('index'), values: fields.values() }, fields)
    case 'push':
      return withType({ op, path: path(), values: fields.values() }, fields)
    case 'remove':
    case 'removeXml':
      return {
        op,
        path: path(),
        index: fields.count('index'),
        length: fields.has('length') ? fields.count('length', 1) : 1,
      }
    case 'insertText': {
      const index = fields.has('index') ? fields.count('index') : undefined
      const insertion = { op, path: path(), index, text: fields.text('text') } as const
      return fields.has('attributes') ? { ...insertion, attributes: fields.attributes() } : insertion
    }
    case 'deleteText':
      return { op, path: path(), index: fields.count('index'), length: fields.count('length', 1) }
    case 'format':
      return {
        op,
        path: path(),
        index: fields.count('index'),
        length: fields.count('length', 1),
        attributes: fields.attributes(),
      }
    case 'insertXml': {
      const index = fields.has('index') ? fields.count('index') : undefined
      return { op, path: path(), index, nodes: parseNodes(fields.take('nodes'), `${where}.nodes`, 1) }
    }
    case 'setAttribute':
      return { op, path: path(), name: fields.name('name'), value: fields.json('value') }
    default:
      throw invalid(
        `${where}.op`,
        'must be one of set, delete, increment, insert, push, remove, insertText, deleteText, format, insertXml, setAttribute, removeXml',
      )
  }
}

/** Adds `type`, after checking that each value has the form that it needs. */
function withType<
  Operation extends { op: 'set'; value: JsonValue } | { op: 'insert' | 'push'; values: readonly JsonValue[] },
>(operation: Operation, fields: Fields): Operation & { type?: SharedValueType } {
  if (!fields.has('type')) return operation
  const type = fields.take('type')
  const form = type === 'text' ? 'a string' : type === 'array' ? 'an array' : type === 'map' ? 'an object' : undefined
  if (type !== 'map' && type !== 'array' && type !== 'text') throw fields.invalid('type', 'must be map, array or text')
  const values = operation.op === 'set' ? [operation.value] : operation.values
  for (const value of values) {
    const kind = typeof value === 'string' ? 'text' : Array.isArray(value) ? 'array' : 'map'
    const isContainer = typeof value === 'string' || (typeof value === 'object' && value !== null)
    if (!isContainer || kind !== type) throw fields.invalid('type', `${type} needs ${form} as value`)
  }
  return { ...operation, type }
}

function parsePath(input: unknown, where: string): PatchPath {
  if (!Array.isArray(input) || input.length === 0) throw invalid(where, 'must be an array that starts with a root')
  if (input.length > PATCH_LIMITS.pathSegments) {
    throw invalid(where, `must have at most ${PATCH_LIMITS.pathSegments} segments`)
  }
  const segments = input.map((segment: unknown, at) => {
    if (typeof segment === 'string') return checkName(segment, `${where}[${at}]`)
    if (at > 0 && isCount(segment)) return segment
    throw invalid(`${where}[${at}]`, at === 0 ? 'must be a string' : 'must be a string or an index')
  })
  return segments as unknown as PatchPath
}

/** A path that ends in the key of a map. */
function keyPath(path: PatchPath, where: string): PatchPath {
  if (path.length < 2 || typeof path.at(-1) !== 'string') throw invalid(`${where}.path`, 'must end in the key of a map')
  return path
}

function parseNodes(input: unknown, where: string, depth: number): XmlNode[] {
  if (!Array.isArray(input) || (depth === 1 && input.length === 0)) throw invalid(where, 'must be an array of nodes')
  if (depth > PATCH_LIMITS.nesting)
    throw invalid(where, `must not be nested deeper than ${PATCH_LIMITS.nesting} levels`)
  return input.map((node: unknown, at) => {
    const fields = new Fields(node, `${where}[${at}]`)
    const parsed = fields.has('text')
      ? { text: fields.text('text'), ...(fields.has('attributes') ? { attributes: fields.attributes() } : {}) }
      : {
          name: fields.name('name'),
          ...(fields.has('attributes') ? { attributes: fields.attributes() } : {}),
          ...(fields.has('children')
            ? { children: parseNodes(fields.take('children'), `${where}[${at}].children`, depth + 1) }
            : {}),
        }
    fields.refuseOthers()
    return parsed
  })
}

/** The fields of one object, each taken once; what nobody took is unknown. */
class Fields {
  private readonly fields: ReadonlyMap<string, unknown>
  private readonly where: string
  private readonly taken = new Set<string>()

  constructor(input: unknown, where: string) {
    if (!isObject(input)) throw invalid(where, 'must be an object')
    this.fields = new Map(Object.entries(input))
    this.where = where
  }

  has(name: string): boolean {
    return this.fields.has(name)
  }

  take(name: string): unknown {
    if (!this.fields.has(name)) throw this.invalid(name, 'is missing')
    this.taken.add(name)
    return this.fields.get(name)
  }

  invalid(name: string, reason: string): CausewayError {
    return invalid(`${this.where}.${name}`, reason)
  }

  count(name: string, least = 0): number {
    const value = this.take(name)
    if (!isCount(value) || value < least) throw this.invalid(name, `must be an integer of at least ${least}`)
    return value
  }

  number(name: string): number {
    const value = this.take(name)
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.invalid(name, 'must be a number')
    return value
  }

  /** A string that is not empty. */
  text(name: string): string {
    const value = this.take(name)
    if (typeof value !== 'string' || value === '') throw this.invalid(name, 'must be a string that is not empty')
    return checkText(value, `${this.where}.${name}`)
  }

  name(name: string): string {
    const value = this.text(name)
    return checkName(value, `${this.where}.${name}`)
  }

  json(name: string): JsonValue {
    return parseJson(this.take(name), `${this.where}.${name}`, 1)
  }

  /** `values`, or `value` as its only element. */
  values(): readonly JsonValue[] {
    if (this.has('value') && !this.has('values')) return [this.json('value')]
    const values = this.json('values')
    if (!isArray(values) || values.length === 0) throw this.invalid('values', 'must be an array that is not empty')
    return values
  }

  attributes(): { readonly [name: string]: JsonValue } {
    const value = this.json('attributes')
    if (!isObject(value)) throw this.invalid('attributes', 'must be an object')
    for (const name of Object.keys(value)) checkName(name, `${this.where}.attributes`)
    return value as { readonly [name: string]: JsonValue }
  }

  refuseOthers(): void {
    for (const name of this.fields.keys()) if (!this.taken.has(name)) throw this.invalid(name, 'is an unknown field')
  }
}

/** Keys that cannot be stored: one decodes into a prototype, the other is taken for the value's class when it is written. */
const REFUSED_KEYS = new Set(['__proto__', 'constructor'])

function parseJson(value: unknown, where: string, depth: number): JsonValue {
  switch (typeof value) {
    case 'string':
      return checkText(value, where)
    case 'boolean':
      return value
    case 'number':
      if (!Number.isFinite(value)) throw invalid(where, 'must be a finite number')
      return value
    case 'object': {
      if (value === null) return null
      if (depth > PATCH_LIMITS.nesting) {
        throw invalid(where, `must not be nested deeper than ${PATCH_LIMITS.nesting} levels`)
      }
      if (Array.isArray(value)) return value.map((item: unknown, at) => parseJson(item, `${where}[${at}]`, depth + 1))
      const entries = Object.entries(value).map(([key, field]) => {
        if (REFUSED_KEYS.has(key)) throw invalid(where, `must not have the key ${key}`)
        return [checkText(key, where), parseJson(field, `${where}.${key}`, depth + 1)] as const
      })
      return Object.fromEntries(entries)
    }
    default:
      throw invalid(where, 'must be a JSON value')
  }
}

/** Half a surrogate pair has no UTF-8 form: it would arrive as another character. */
function checkText(text: string, where: string): string {
  if (/\p{Surrogate}/u.test(text)) throw invalid(where, 'must not have half a surrogate pair')
  return text
}

function checkName(name: string, where: string): string {
  if (Buffer.byteLength(name) > PATCH_LIMITS.nameBytes) {
    throw invalid(where, `must have at most ${PATCH_LIMITS.nameBytes} bytes`)
  }
  if (name === '__proto__') throw invalid(where, 'must not be __proto__, which readers take for a prototype')
  return checkText(name, where)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value)
}
