/**
 * Honest people at work: several Y.Docs that edit everything Yjs offers, undo, and hear of each other late, out of order
 * or not at all. What they send is what a server must take. Edits are given as small numbers, so that one list of them
 * is one history: client ids are fixed, too.
 */
import * as Y from 'yjs'

/** One step: who, what, and three numbers that say where and with what. */
export type Step = readonly [who: number, what: number, a: number, b: number, c: number]

export interface Message {
  readonly from: number
  readonly bytes: Uint8Array
}

const TEXTS = ['a', 'hello ', 'wörld', '😀', '漢字', 'x😀y', '\n', 'lorem ipsum dolor']
const VALUES = [
  null,
  true,
  false,
  undefined,
  0,
  -7,
  1.5,
  1e300,
  2 ** 40,
  Number.NaN,
  '',
  'é😀',
  [],
  [1, [2, { a: 'b' }]],
  { z: 1, 10: 'ten', 2: 'two', nested: { deep: [null] } },
  Uint8Array.of(1, 2, 255),
]
const JSON_SAFE = VALUES.filter(
  (value) => value !== undefined && !Number.isNaN(value) && !(value instanceof Uint8Array),
)
const KEYS = ['a', 'b', 'content', '10', 'ключ']

const CLIENT_IDS = [4_000_000_007, 12, 2 ** 52 + 3, 3_000_000_000, 700]

interface Person {
  readonly doc: Y.Doc
  readonly undo: Y.UndoManager
  /** Messages of others it has not heard, by their place in `messages`. */
  readonly unheard: number[]
}

export class HonestRoom {
  /** Every update that a person's own edits made, in the order of making. */
  readonly messages: Message[] = []
  readonly people: readonly Person[]

  constructor(count: number) {
    this.people = Array.from({ length: count }, (_, at) => {
      // Some keep what is deleted.
      const doc = new Y.Doc({ gc: at % 3 !== 2 })
      doc.clientID = CLIENT_IDS[at]!
      const scope = [doc.getText('text'), doc.getMap('map'), doc.getArray('list'), doc.getXmlFragment('xml')]
      const undo = new Y.UndoManager(scope as Y.AbstractType<unknown>[], { captureTimeout: 0 })
      doc.on('update', (bytes: Uint8Array, origin: unknown) => {
        if (origin === 'heard') return
        this.messages.push({ from: at, bytes })
        for (const [other, { unheard }] of this.people.entries())
          if (other !== at) unheard.push(this.messages.length - 1)
      })
      return { doc, undo, unheard: [] }
    })
  }

  play(steps: readonly Step[]): this {
    for (const step of steps) this.step(step)
    return this
  }

  /** Everybody hears everything; hearing may make a Yjs tidy up formats, which is an edit again. */
  settle(): void {
    while (this.people.some(({ unheard }) => unheard.length > 0))
      for (const who of this.people.keys()) this.hear(who, 0)
  }

  private step([who, what, a, b, c]: Step): void {
    const at = who % this.people.length
    const person = this.people[at]!
    const edits = EDITS.length
    const kind = what % (edits + 6)
    if (kind < edits) person.doc.transact(() => EDITS[kind]!(person.doc, a, b, c), 'edit')
    else if (kind === edits) person.undo.undo()
    else if (kind === edits + 1) person.undo.redo()
    else if (kind === edits + 2) {
      person.doc.transact(() => {
        for (let more = 0; more < 3; more++) EDITS[(a + more * b) % edits]!(person.doc, b + more, c, a)
      }, 'edit')
    } else if (kind === edits + 3) this.hear(at, a)
    else if (kind === edits + 4) for (let more = 0; more <= a % 4; more++) this.hear(at, b * more)
    else this.hearDocument(at, a)
  }

  /** One message, any of those not heard yet: what it refers to may be missing. */
  private hear(who: number, which: number): void {
    const { doc, unheard } = this.people[who]!
    if (unheard.length === 0) return
    const [message] = unheard.splice(which % unheard.length, 1)
    Y.applyUpdate(doc, this.messages[message!]!.bytes, 'heard')
  }

  private hearDocument(who: number, whose: number): void {
    const { doc } = this.people[who]!
    const other = this.people[whose % this.people.length]!.doc
    Y.applyUpdate(doc, Y.encodeStateAsUpdate(other, Y.encodeStateVector(doc)), 'heard')
  }
}

/** One edit of a document: which of all kinds, and three numbers that say where and with what. */
export function edit(doc: Y.Doc, kind: number, a: number, b: number, c: number): void {
  doc.transact(() => EDITS[kind % EDITS.length]!(doc, a, b, c), 'edit')
}

type Edit = (doc: Y.Doc, a: number, b: number, c: number) => void

const EDITS: readonly Edit[] = [
  (doc, a, b) => insertText(doc.getText('text'), a, b),
  (doc, a, b) => insertText(doc.getText('text'), a, b),
  (doc, a, b) => deleteText(doc.getText('text'), a, b),
  (doc, a, b, c) => {
    const text = doc.getText('text')
    const at = a % (text.length + 1)
    text.format(at, b % (text.length - at + 1), { [KEYS[c % 2]!]: c % 3 === 0 ? null : { color: c } })
  },
  (doc, a, b) =>
    doc.getText('text').insertEmbed(a % (doc.getText('text').length + 1), { image: JSON_SAFE[b % JSON_SAFE.length] }),
  (doc, a, b) => doc.getMap('map').set(KEYS[a % KEYS.length]!, VALUES[b % VALUES.length]),
  (doc, a) => doc.getMap('map').delete(KEYS[a % KEYS.length]!),
  (doc, a, b) => insertValues(doc.getArray('list'), a, b),
  (doc, a, b) => deleteFrom(doc.getArray('list'), a, b),
  (doc, a, b) => doc.getMap('map').set(KEYS[a % KEYS.length]!, newType(b)),
  (doc, a, b) => doc.getArray('list').insert(a % (doc.getArray('list').length + 1), [newType(b)]),
  (doc, a, b, c) => editNested(doc, a, b, c),
  (doc, a, b, c) => editNested(doc, a, b, c),
  (doc, a, b, c) => editXml(doc.getXmlFragment('xml'), a, b, c),
  (doc, a, b, c) => editXml(doc.getXmlFragment('xml'), a, b, c),
  (doc, a, b) => {
    const subdocument = new Y.Doc({ guid: `subdocument-${b}`, autoLoad: b % 2 === 0, meta: b % 3 ? { b } : null })
    doc.getMap('map').set(KEYS[a % KEYS.length]!, subdocument)
  },
]

function insertText(text: Y.Text, a: number, b: number): void {
  text.insert(a % (text.length + 1), TEXTS[b % TEXTS.length]!)
}

/** May cut an emoji in half, as editors without care do. */
function deleteText(text: Y.Text, a: number, b: number): void {
  const at = a % (text.length + 1)
  text.delete(at, Math.min(b % 5, text.length - at))
}

function insertValues(list: Y.Array<unknown>, a: number, b: number): void {
  const values = Array.from({ length: 1 + (b % 3) }, (_, more) => VALUES[(b + more) % VALUES.length] ?? null)
  list.insert(a % (list.length + 1), values)
}

function deleteFrom(list: Y.Array<unknown>, a: number, b: number): void {
  const at = a % (list.length + 1)
  list.delete(at, Math.min(1 + (b % 3), list.length - at))
}

function newType(b: number): Y.AbstractType<unknown> {
  if (b % 4 === 0) return new Y.Map(Object.entries({ inner: b, list: [b] })) as Y.AbstractType<unknown>
  if (b % 4 === 1) return Y.Array.from<string | number>(['x', b]) as Y.AbstractType<unknown>
  if (b % 4 === 2) return new Y.Text('nested') as Y.AbstractType<unknown>
  return new Y.XmlElement('node') as Y.AbstractType<unknown>
}

function editNested(doc: Y.Doc, a: number, b: number, c: number): void {
  const inMap = doc.getMap('map').get(KEYS[a % KEYS.length]!)
  const list = doc.getArray('list')
  const type = inMap instanceof Y.AbstractType ? inMap : list.length > 0 ? list.get(a % list.length) : undefined
  if (type instanceof Y.Map) type.set(KEYS[b % KEYS.length]!, c % 2 ? VALUES[c % VALUES.length] : newType(c))
  else if (type instanceof Y.Array) insertValues(type, b, c)
  else if (type instanceof Y.Text) c % 3 ? insertText(type, b, c) : deleteText(type, b, c)
}

function editXml(parent: Y.XmlFragment | Y.XmlElement, a: number, b: number, c: number): void {
  const child = parent.length > 0 && c % 3 > 0 ? parent.get(a % parent.length) : undefined
  if (child instanceof Y.XmlElement && c % 2) editXml(child, a + 1, b, c - 1)
  else if (child instanceof Y.XmlElement) child.setAttribute(KEYS[b % KEYS.length]!, TEXTS[c % TEXTS.length]!)
  else if (child instanceof Y.XmlText) insertText(child as unknown as Y.Text, b, c)
  else if (c % 5 === 1 && parent.length > 0) parent.delete(a % parent.length, 1)
  else parent.insert(a % (parent.length + 1), [b % 2 ? new Y.XmlElement(KEYS[b % 3]!) : new Y.XmlText('xml')])
}

/**
 * Everything that a reader of the document sees. Copies of a text in which somebody split a surrogate pair differ in Yjs
 * (some hold the pair, others U+FFFD twice), so each such unit counts as a question mark.
 */
export function contentOf(doc: Y.Doc): unknown {
  return {
    text: delta(doc.getText('text')),
    map: plain(doc.getMap('map')),
    list: plain(doc.getArray('list')),
    xml: plain(doc.getXmlFragment('xml')),
  }
}

function plain(value: unknown): unknown {
  if (value instanceof Y.Map)
    return Object.fromEntries([...value.entries()].sort(byKey).map(([key, item]) => [key, plain(item)]))
  if (value instanceof Y.Array) return value.toArray().map(plain)
  if (value instanceof Y.XmlElement) {
    const attributes = Object.entries(value.getAttributes())
      .sort(byKey)
      .map(([key, item]) => [key, plain(item)])
    return { name: value.nodeName, attributes, children: value.toArray().map(plain) }
  }
  if (value instanceof Y.XmlFragment) return value.toArray().map(plain)
  if (value instanceof Y.Text) return delta(value)
  if (value instanceof Y.Doc) return { subdocument: value.guid }
  return value
}

function byKey(left: [string, unknown], right: [string, unknown]): number {
  return left[0] < right[0] ? -1 : 1
}

/** Runs of text with the same attributes count as one: where formats without effect lie between them is not content. */
function delta(text: Y.Text): unknown {
  const runs: { insert: unknown; attributes: string }[] = []
  for (const { insert, attributes } of text.toDelta() as { insert: unknown; attributes?: object }[]) {
    const formats = JSON.stringify(Object.entries(attributes ?? {}).sort(byKey))
    const last = runs.at(-1)
    if (typeof insert !== 'string') runs.push({ insert: plain(insert), attributes: formats })
    else {
      const units = insert.replaceAll(/[\ud800-\udfff\ufffd]/g, '?')
      if (last && typeof last.insert === 'string' && last.attributes === formats) last.insert += units
      else runs.push({ insert: units, attributes: formats })
    }
  }
  return runs
}
