/**
 * The fingerprint of a document: equal where the documents are equal, whatever bytes they came in. It covers the state
 * vector, the delete set, and a walk of what is live, with ids and content (DESIGN.md section 3).
 *
 * Bytes will not do: with garbage collection off, on a client that keeps undo history, after another delivery order or
 * in another encoder's hands one document has many encodings. So the walk sees only what all of these share:
 * - deleted items are left out (their content may be gone); the delete set stands for them;
 * - neighbours with consecutive ids count as one run, so that it does not matter where structs are split;
 * - map keys, object keys, clients and roots are sorted, and roots without live content do not exist;
 * - a value counts as it will be after one more encoding: `-0` in JSON is `0`, infinity is `null`, and keys that
 *   decoding turned into a prototype are no keys.
 *
 * The state vector and delete set alone would miss two contents under one id, the very divergence this exists to show.
 */
import { createHash, type Hash } from 'node:crypto'
import type * as Y from 'yjs'
import { type DocumentState, deeper } from './document-state.js'
import { FINGERPRINT_VERSION } from './fingerprint-version.js'
import { loadDocument } from './load.js'
import {
  type Content,
  deleteSetOf,
  kindOf,
  type LiveItem,
  listItems,
  mapEntries,
  nodeNameOf,
  type SharedType,
  stateVectorOf,
} from './yjs-internals.js'

const FORMAT = `causeway document fingerprint ${FINGERPRINT_VERSION}`
const HEX_DIGITS = 32

/** 32 hex digits (128 bits of SHA-256). Throws `document/too-expensive` for values beyond `NESTING_LIMIT`, and as `loadDocument`. */
export function fingerprint(state: DocumentState): string {
  return fingerprintOf(loadDocument(state))
}

/** The fingerprint of a loaded document without pending structs; the document is not changed. */
export function fingerprintOf(doc: Y.Doc): string {
  const sink = new Sink(FORMAT)
  const vector = [...stateVectorOf(doc)].sort(([a], [b]) => a - b)
  sink.uint(vector.length)
  for (const [client, clock] of vector) {
    sink.uint(client)
    sink.uint(clock)
  }
  const deleteSet = deleteSetOf(doc)
  sink.uint(deleteSet.length)
  for (const [client, ranges] of deleteSet) {
    sink.uint(client)
    sink.uint(ranges.length)
    for (const { clock, len } of ranges) {
      sink.uint(clock)
      sink.uint(len)
    }
  }
  for (const name of [...doc.share.keys()].sort()) walkRoot(sink, name, doc.share.get(name)!)
  sink.tag('end')
  return sink.digest()
}

/**
 * Nested types are walked one after another, in the order in which they were met, and not where they stand: many small
 * updates can nest them deeper than any stack.
 */
function walkRoot(sink: Sink, name: string, root: SharedType): void {
  const entries = mapEntries(root)
  if (entries.length === 0 && listItems(root).next().done) return
  sink.tag('root')
  sink.text(name)
  const met: SharedType[] = []
  walkContent(sink, root, entries, met)
  for (const type of met) {
    sink.text(kindOf(type))
    sink.text(nodeNameOf(type))
    walkContent(sink, type, mapEntries(type), met)
  }
}

function walkContent(sink: Sink, type: SharedType, entries: [string, LiveItem[]][], met: SharedType[]): void {
  walkItems(sink, listItems(type), met)
  for (const [key, chain] of entries) {
    sink.tag('key')
    sink.text(key)
    walkItems(sink, chain, met)
  }
  sink.tag('end')
}

/** Content of several units in consecutive ids is one run: the same items split elsewhere give the same bytes. */
function walkItems(sink: Sink, items: Iterable<LiveItem>, met: SharedType[]): void {
  let run: { type: Content['type']; client: number; end: number } | undefined
  let texts: string[] = []
  const endRun = (): void => {
    if (run?.type === 'string') sink.text(texts.length === 1 ? texts[0]! : texts.join(''))
    if (run) sink.tag('end')
    texts = []
  }
  for (const { client, clock, length, content } of items) {
    if (!(run && run.type === content.type && run.client === client && run.end === clock)) {
      endRun()
      sink.tag('run')
      sink.tag(content.type)
      sink.uint(client)
      sink.uint(clock)
      run = { type: content.type, client, end: clock }
    }
    run.end += length
    if (content.type === 'string') texts.push(content.text)
    else walkUnits(sink, content, met)
  }
  endRun()
}

function walkUnits(sink: Sink, content: Exclude<Content, { type: 'string' }>, met: SharedType[]): void {
  switch (content.type) {
    case 'any':
    case 'json':
      for (const value of content.values) walkValue(sink, value, content.type, 0)
      return
    case 'binary':
      sink.bytes(content.bytes)
      return
    case 'embed':
      walkValue(sink, content.value, 'json', 0)
      return
    case 'format':
      sink.text(content.key)
      walkValue(sink, content.value, 'json', 0)
      return
    case 'subdocument':
      sink.text(content.guid)
      walkValue(sink, content.options, 'any', 0)
      return
    case 'shared':
      met.push(content.shared)
      return
  }
}

function walkValue(sink: Sink, value: unknown, encoding: 'any' | 'json', depth: number): void {
  if (typeof value === 'string') {
    sink.tag('text')
    sink.text(value)
  } else if (typeof value === 'number') {
    const isNull = encoding === 'json' && !Number.isFinite(value)
    sink.tag(isNull ? 'null' : 'number')
    if (!isNull) sink.float(value)
  } else if (typeof value === 'bigint') {
    sink.tag('bigint')
    sink.text(value.toString())
  } else if (typeof value === 'boolean') {
    sink.tag(value ? 'true' : 'false')
  } else if (value === undefined || value === null) {
    sink.tag(value === null ? 'null' : 'undefined')
  } else if (value instanceof Uint8Array) {
    sink.tag('bytes')
    sink.bytes(value)
  } else if (Array.isArray(value)) {
    sink.tag('array')
    sink.uint(value.length)
    for (const inner of value) walkValue(sink, inner, encoding, deeper(depth))
  } else {
    const object = value as Readonly<Record<string, unknown>>
    const keys = Object.keys(object).sort()
    sink.tag('object')
    sink.uint(keys.length)
    for (const key of keys) {
      sink.text(key)
      walkValue(sink, object[key], encoding, deeper(depth))
    }
  }
}

const TAGS = [
  'end',
  'root',
  'key',
  'run',
  'string',
  'any',
  'json',
  'binary',
  'embed',
  'format',
  'shared',
  'subdocument',
  'text',
  'number',
  'bigint',
  'true',
  'false',
  'undefined',
  'null',
  'bytes',
  'array',
  'object',
] as const
const TAG_BYTES = Object.fromEntries(TAGS.map((tag, byte) => [tag, byte])) as Record<(typeof TAGS)[number], number>

/** Self-delimiting values into a hash, through a buffer: a call of the hash costs more than the few bytes it gets here. */
class Sink {
  private readonly hash: Hash = createHash('sha256')
  private readonly buffer = Buffer.alloc(65_536)
  private used = 0

  constructor(format: string) {
    this.text(format)
  }

  tag(tag: (typeof TAGS)[number]): void {
    this.reserve(1)
    this.buffer[this.used++] = TAG_BYTES[tag]
  }

  /** A safe integer, not negative. */
  uint(value: number): void {
    this.reserve(8)
    let rest = value
    while (rest > 0x7f) {
      this.buffer[this.used++] = 0x80 | (rest % 0x80)
      rest = Math.floor(rest / 0x80)
    }
    this.buffer[this.used++] = rest
  }

  float(value: number): void {
    this.reserve(8)
    this.buffer.writeDoubleBE(value === 0 ? 0 : value, this.used)
    this.used += 8
  }

  /** Its UTF-16 code units, half surrogate pairs included. */
  text(text: string): void {
    this.uint(text.length)
    const size = text.length * 2
    if (size > this.buffer.length) {
      this.direct(Buffer.from(text, 'utf16le'))
      return
    }
    this.reserve(size)
    this.used += this.buffer.write(text, this.used, 'utf16le')
  }

  bytes(bytes: Uint8Array): void {
    this.uint(bytes.length)
    this.direct(bytes)
  }

  digest(): string {
    this.flush()
    return this.hash.digest('hex').slice(0, HEX_DIGITS)
  }

  private direct(bytes: Uint8Array): void {
    this.flush()
    this.hash.update(bytes)
  }

  private reserve(size: number): void {
    if (this.used + size > this.buffer.length) this.flush()
  }

  private flush(): void {
    this.hash.update(this.buffer.subarray(0, this.used))
    this.used = 0
  }
}
