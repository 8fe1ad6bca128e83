/**
 * Laws of load, fingerprint, compact and diff over random histories: several stock copies edit everything that Yjs
 * offers, exchange what they have, and every update that a copy wrote is kept. Whatever way the same updates take into
 * a document, it must be the same document.
 */
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import * as Y from 'yjs'
import { KnownState } from '../../shared/update/known-state.js'
import { compact } from './compact.js'
import { diff } from './diff.js'
import type { DocumentState } from './document-state.js'
import { fingerprint, fingerprintOf } from './fingerprint.js'
import { loadDocument } from './load.js'
import { view } from './view.js'

// Other suites share the machine: only a hang should fail for its time.
vi.setConfig({ testTimeout: 30_000 })

const ACTIONS = [
  'type',
  'erase',
  'format',
  'unformat',
  'embed',
  'set',
  'unset',
  'nest',
  'type nested',
  'push',
  'remove',
  'element',
  'attribute',
  'xml text',
  'remove xml',
  'pull',
] as const

interface Step {
  readonly copy: number
  readonly action: (typeof ACTIONS)[number]
  readonly at: number
  readonly size: number
}

interface History {
  readonly copies: readonly Y.Doc[]
  /** All updates that the copies wrote, causes first. */
  readonly updates: readonly Uint8Array[]
}

const steps = fc.array(
  fc.record({
    copy: fc.nat({ max: 2 }),
    // Copies pull often enough to edit upon one another, seldom enough to be concurrent.
    action: fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...ACTIONS) }, fc.constant('pull' as const)),
    at: fc.nat({ max: 1_000 }),
    size: fc.integer({ min: 1, max: 4 }),
  }),
  { minLength: 1, maxLength: 60 },
)

/** Plays `script`; `spell` is the text of a typing step. */
function play(script: readonly Step[], spell = (_step: number, size: number) => 'abcd'.slice(0, size)): History {
  const updates: Uint8Array[] = []
  const copies = [101, 7, 4_000_000_000].map((clientId, index) => {
    const doc = new Y.Doc({ gc: index !== 1 })
    doc.clientID = clientId
    doc.on('update', (update: Uint8Array, origin: unknown) => {
      if (origin !== 'pull') updates.push(update)
    })
    return doc
  })
  for (const [number, step] of script.entries()) act(copies, step, spell(number, step.size))
  return { copies, updates }
}

function act(copies: readonly Y.Doc[], { copy, action, at, size }: Step, word: string): void {
  const doc = copies[copy]!
  const text = doc.getText('text')
  const map = doc.getMap('map')
  const array = doc.getArray('array')
  const xml = doc.getXmlFragment('xml')
  const key = `key${at % 3}`
  const within = (length: number): number => (length === 0 ? 0 : at % length)
  const child = xml.length > 0 ? xml.get(within(xml.length)) : undefined
  switch (action) {
    case 'type':
      text.insert(at % (text.length + 1), word)
      break
    case 'erase':
      if (text.length > 0) text.delete(within(text.length), Math.min(size, text.length - within(text.length)))
      break
    case 'format':
    case 'unformat':
      if (text.length > 0) {
        const length = Math.min(size * 3, text.length - within(text.length))
        text.format(within(text.length), length, { [at % 2 ? 'bold' : 'link']: action === 'format' ? { size } : null })
      }
      break
    case 'embed':
      text.insertEmbed(at % (text.length + 1), { image: at, size })
      break
    case 'set':
      map.set(key, at % 2 ? new Uint8Array([at % 256, size]) : { at, list: [size, null, 'x', 0.5] })
      break
    case 'unset':
      map.delete(key)
      break
    case 'nest':
      map.set(
        key,
        at % 3 === 0 ? new Y.Text('nested') : at % 3 === 1 ? Y.Array.from([1, 2, 3]) : new Y.Map([['a', at]]),
      )
      break
    case 'type nested': {
      const nested = map.get(key)
      if (nested instanceof Y.Text) {
        nested.insert(at % (nested.length + 1), word, { bold: at % 2 ? {} : null })
      } else if (nested instanceof Y.Map) nested.set(key, word)
      else if (nested instanceof Y.Array) nested.insert(at % (nested.length + 1), [word, at])
      break
    }
    case 'push':
      array.insert(at % (array.length + 1), [at, { size }, word].slice(0, size))
      break
    case 'remove':
      if (array.length > 0) array.delete(within(array.length), Math.min(size, array.length - within(array.length)))
      break
    case 'element':
      if (child instanceof Y.XmlElement && at % 2) child.insert(0, [new Y.XmlElement('span'), new Y.XmlText(word)])
      else xml.insert(at % (xml.length + 1), [new Y.XmlElement('p'), new Y.XmlText(word)].slice(0, size))
      break
    case 'attribute':
      if (child instanceof Y.XmlElement) child.setAttribute(key, word)
      break
    case 'xml text':
      if (child instanceof Y.XmlText) child.insert(at % (child.length + 1), word, { bold: at % 2 ? {} : null })
      break
    case 'remove xml':
      if (xml.length > 0) xml.delete(within(xml.length), Math.min(size, xml.length - within(xml.length)))
      break
    case 'pull': {
      const other = copies[at % copies.length]!
      Y.applyUpdate(doc, Y.encodeStateAsUpdate(other, Y.encodeStateVector(doc)), 'pull')
      break
    }
  }
}

const asBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const asTail = (tail: readonly Uint8Array[]): DocumentState => ({ snapshot: undefined, tail })

/** `list` in an order that `keys` decide. */
function shuffled<Item>(list: readonly Item[], keys: readonly number[]): Item[] {
  return list
    .map((item, at) => ({ item, key: keys[at % keys.length]! * (at + 1) * 7_919 }))
    .sort((a, b) => (a.key % 1_009) - (b.key % 1_009))
    .map(({ item }) => item)
}

const order = fc.array(fc.nat({ max: 1_000 }), { minLength: 1, maxLength: 20 })

test('[CV] a fingerprint does not depend on the order of arrival, on garbage collection, or on snapshots on the way', () => {
  fc.assert(
    fc.property(steps, order, fc.nat({ max: 100 }), (script, keys, cut) => {
      const { updates } = play(script)
      const expected = fingerprint(asTail(updates))
      expect(fingerprint(asTail(shuffled(updates, keys)))).toBe(expected)
      expect(fingerprint(asTail([...updates, ...shuffled(updates, keys)]))).toBe(expected)
      expect(fingerprintOf(loadDocument(asTail(updates), { gc: false }))).toBe(expected)
      expect(fingerprintOf(loadDocument(asTail(shuffled(updates, keys)), { gc: false }))).toBe(expected)

      const at = cut % (updates.length + 1)
      const prefix = asTail(updates.slice(0, at))
      const rest = updates.slice(at)
      expect(fingerprint({ snapshot: compact(prefix).update, tail: rest })).toBe(expected)
      const uncollected = Y.encodeStateAsUpdate(loadDocument(prefix, { gc: false }))
      expect(fingerprint({ snapshot: uncollected, tail: rest })).toBe(expected)
    }),
    { numRuns: 150 },
  )
})

test('[CV] a fingerprint does not depend on where structs are split', () => {
  fc.assert(
    fc.property(steps, order, (script, picks) => {
      const doc = loadDocument(asTail(play(script).updates))
      const expected = fingerprintOf(doc)
      const vector = [...Y.decodeStateVector(Y.encodeStateVector(doc))]
      fc.pre(vector.length > 0)
      // Yjs merges again when the transaction ends.
      doc.transact((transaction) => {
        for (const pick of picks) {
          const [client, clock] = vector[pick % vector.length]!
          Y.getItemCleanStart(transaction, Y.createID(client, pick % clock))
        }
        expect(fingerprintOf(doc)).toBe(expected)
      })
    }),
    { numRuns: 100 },
  )
})

test('[CV] copies that exchanged everything have the fingerprint of all their updates', () => {
  fc.assert(
    fc.property(steps, (script) => {
      const { copies, updates } = play(script)
      // Pulling may itself write (formats are tidied), so go round until nobody learns anything.
      for (let before = -1; before < updates.length; ) {
        before = updates.length
        for (const a of copies) for (const b of copies) Y.applyUpdate(a, Y.encodeStateAsUpdate(b), 'pull')
      }
      for (const copy of copies) expect(fingerprintOf(copy)).toBe(fingerprint(asTail(updates)))
    }),
    { numRuns: 60 },
  )
})

test('a view shows what a stock copy of the document shows', () => {
  fc.assert(
    fc.property(steps, (script) => {
      for (const copy of play(script).copies) {
        const shown = JSON.parse(
          JSON.stringify(copy.toJSON(), (_key, value) => (value instanceof Uint8Array ? asBase64(value) : value)),
        )
        const state = asTail([Y.encodeStateAsUpdate(copy)])
        const kinds = { text: 'text', map: 'map', array: 'array', xml: 'xml' } as const
        expect(JSON.parse(view(state, kinds))).toEqual({ text: '', map: {}, array: [], xml: '', ...shown })
      }
    }),
    { numRuns: 100 },
  )
})

test('[CV] a fingerprint differs where one unit under the same id does, and only while that unit is live', () => {
  let differed = 0
  fc.assert(
    fc.property(steps, fc.nat({ max: 1_000 }), fc.nat({ max: 3 }), (script, pick, position) => {
      const typing = script.flatMap(({ action }, at) => (action === 'type' ? [at] : []))
      fc.pre(typing.length > 0)
      const changed = typing[pick % typing.length]!
      const one = asTail(play(script).updates)
      const other = asTail(
        play(script, (step, size) => {
          const word = 'abcd'.slice(0, size)
          const at = position % size
          return step === changed ? `${word.slice(0, at)}Z${word.slice(at + 1)}` : word
        }).updates,
      )
      const isLive = view(one) !== view(other)
      if (isLive) differed += 1
      expect(fingerprint(one) !== fingerprint(other)).toBe(isLive)
    }),
    { numRuns: 100 },
  )
  expect(differed).toBeGreaterThan(10)
})

test('[CV] a fingerprint differs when the last update is missing', () => {
  fc.assert(
    fc.property(steps, (script) => {
      const { updates } = play(script)
      fc.pre(updates.length > 0)
      expect(fingerprint(asTail(updates.slice(0, -1)))).not.toBe(fingerprint(asTail(updates)))
    }),
    { numRuns: 60 },
  )
})

test('loading deletes nothing that no update deletes, also where formats became redundant', () => {
  const first = new Y.Doc()
  const nested = new Y.Text('abc')
  first.getMap('map').set('text', nested)
  const base = Y.encodeStateAsUpdate(first)
  const formatting = [1, 2].map((clientId) => {
    const copy = new Y.Doc()
    copy.clientID = clientId
    Y.applyUpdate(copy, base)
    const known = Y.encodeStateVector(copy)
    copy.getMap<Y.Text>('map').get('text')!.format(0, 3, { bold: true })
    return Y.encodeStateAsUpdate(copy, known)
  })
  const doc = loadDocument(asTail([base, ...formatting]))
  expect(Y.createDeleteSetFromStructStore(doc.store).clients.size).toBe(0)
  const { known } = compact({ snapshot: base, tail: formatting })
  expect([...KnownState.decode(known).deleted]).toEqual([])
})

function deleteRangesOf(doc: Y.Doc): [client: number, clock: number, length: number][] {
  const clients = [...Y.createDeleteSetFromStructStore(doc.store).clients].sort(([left], [right]) => right - left)
  return clients.flatMap(([client, ranges]) =>
    ranges.map(({ clock, len }): [number, number, number] => [client, clock, len]),
  )
}

test('compaction keeps the document, and compacting again changes no byte', () => {
  fc.assert(
    fc.property(steps, order, (script, keys) => {
      const { updates } = play(script)
      const state = asTail(shuffled(updates, keys))
      const compacted = compact(state)
      const { update, known } = compacted
      expect(compact({ snapshot: update, tail: [] })).toEqual(compacted)
      expect(compacted.fingerprint).toBe(fingerprint(state))
      const { clocks, deleted } = KnownState.decode(known)
      const doc = loadDocument(state)
      expect(clocks.encode()).toEqual(Y.encodeStateVector(doc))
      expect([...deleted]).toEqual(deleteRangesOf(doc))
      expect(view({ snapshot: update, tail: [] })).toBe(view(state))
    }),
    { numRuns: 100 },
  )
})

test('a diff and what it was asked against are together the document', () => {
  fc.assert(
    fc.property(steps, (script) => {
      const { copies, updates } = play(script)
      const state = asTail(updates)
      for (const copy of copies) {
        const own = Y.encodeStateAsUpdate(copy)
        const missing = diff(state, Y.encodeStateVector(copy))
        expect(fingerprint({ snapshot: own, tail: [missing] })).toBe(fingerprint(state))
      }
    }),
    { numRuns: 60 },
  )
})
