import { createEncoder, toUint8Array, writeAny, writeUint8, writeVarString, writeVarUint } from 'lib0/encoding'
import { describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { type DocumentState, NESTING_LIMIT, type ViewKind } from './document-state.js'
import { view } from './view.js'

function documentOf(edit: (doc: Y.Doc) => void): DocumentState {
  const doc = new Y.Doc()
  doc.clientID = 1
  edit(doc)
  return { snapshot: Y.encodeStateAsUpdate(doc), tail: [] }
}

const read = (state: DocumentState, types?: Record<string, ViewKind>): unknown => JSON.parse(view(state, types))

describe('the kind of a root', () => {
  test.each<[string, (doc: Y.Doc) => void, unknown]>([
    ['text from its text', (doc) => doc.getText('r').insert(0, 'abc'), 'abc'],
    ['text from an embed', (doc) => doc.getText('r').insertEmbed(0, { image: 1 }), ''],
    [
      'text from text, attributes notwithstanding',
      (doc) => [doc.getText('r').insert(0, 'a'), doc.getText('r').setAttribute('k', 'v')],
      'a',
    ],
    ['map from its entries', (doc) => doc.getMap('r').set('k', 1), { k: 1 }],
    ['map from entries that are gone', (doc) => [doc.getMap('r').set('k', 1), doc.getMap('r').delete('k')], {}],
    ['array from its values', (doc) => doc.getArray('r').push([1, 'a', null]), [1, 'a', null]],
    ['array from nested types', (doc) => doc.getArray('r').push([new Y.Map([['a', 1]])]), [{ a: 1 }]],
    [
      'array where XML and values are mixed',
      (doc) => doc.getArray('r').push([new Y.XmlElement('p'), 1]),
      ['<p></p>', 1],
    ],
    [
      'xml from elements and texts',
      (doc) => doc.getXmlFragment('r').push([new Y.XmlElement('p'), new Y.XmlText('a')]),
      '<p></p>a',
    ],
    [
      'none once everything is deleted',
      (doc) => [doc.getText('r').insert(0, 'abc'), doc.getText('r').delete(0, 3)],
      [],
    ],
  ])('is inferred: %s', (_what, edit, expected) => {
    expect(read(documentOf(edit))).toEqual({ r: expected })
  })

  test.each<[ViewKind, unknown]>([
    ['text', ''],
    ['map', {}],
    ['array', []],
    ['xml', ''],
    ['prosemirror', { type: 'doc', content: [] }],
  ])('is what the caller says: %s, also for a root that does not exist', (kind, empty) => {
    const state = documentOf((doc) => doc.getMap('other').set('k', 1))
    expect(read(state, { missing: kind })).toEqual({ missing: empty, other: { k: 1 } })
  })

  test('named by the caller shows that side of the content and no other', () => {
    const state = documentOf((doc) => doc.getArray('r').push(['a', 'b']))
    expect(read(state, { r: 'array' })).toEqual({ r: ['a', 'b'] })
    expect(read(state, { r: 'map' })).toEqual({ r: {} })
    expect(read(state, { r: 'text' })).toEqual({ r: '' })
    expect(read(state, { r: 'prosemirror' })).toEqual({ r: { type: 'doc', content: [] } })
  })
})

test('plain content reads as the toJSON of the Yjs types', () => {
  const doc = new Y.Doc()
  const map = doc.getMap('map')
  map.set('list', Y.Array.from([1, 'two', [3], { four: 4 }]))
  map.set('text', new Y.Text('some text'))
  map.set('inner', new Y.Map([['a', new Y.Map([['b', 0.5]])]]))
  map.set('gone', 1)
  map.delete('gone')
  map.set('replaced', 1)
  map.set('replaced', 2)
  const xml = doc.getXmlFragment('xml')
  const element = new Y.XmlElement('bulletList')
  element.setAttribute('b', '2')
  element.setAttribute('a', '1')
  const text = new Y.XmlText('plain bold')
  element.insert(0, [text])
  xml.insert(0, [element])
  text.format(6, 4, { strong: { y: '1', x: '2' }, em: {} })
  doc.getText('text').insert(0, 'formatted', { bold: true })
  doc.getArray('array').push([true, null])
  expect(read({ snapshot: Y.encodeStateAsUpdate(doc), tail: [] })).toEqual(doc.toJSON())
})

describe('ProseMirror documents', () => {
  /** As the editor's binding stores them: elements with attributes, texts whose formats are marks. */
  function editorDocument(): DocumentState {
    return documentOf((doc) => {
      const heading = new Y.XmlElement('heading')
      heading.setAttribute('level', 2 as unknown as string)
      heading.insert(0, [new Y.XmlText('Title')])
      const paragraph = new Y.XmlElement('paragraph')
      const text = new Y.XmlText()
      text.applyDelta([
        { insert: 'plain ' },
        { insert: 'bold', attributes: { bold: {} } },
        { insert: ' and ', attributes: { bold: {}, link: { href: 'https://example.org' } } },
        { insert: 'noted', attributes: { 'comment--a1B2c3D4': { id: 7 } } },
      ])
      paragraph.insert(0, [text, new Y.XmlElement('hardBreak'), new Y.XmlText('after')])
      const emptied = new Y.XmlElement('paragraph')
      emptied.insert(0, [new Y.XmlText('')])
      doc.getXmlFragment('default').insert(0, [heading, paragraph, emptied])
    })
  }

  test('read as the JSON that their editor shows', () => {
    expect(read(editorDocument(), { default: 'prosemirror' })).toEqual({
      default: {
        type: 'doc',
        content: [
          { type: 'heading', attrs: { level: 2 }, content: [{ type: 'text', text: 'Title' }] },
          {
            type: 'paragraph',
            content: [
              { type: 'text', text: 'plain ' },
              { type: 'text', text: 'bold', marks: [{ type: 'bold' }] },
              {
                type: 'text',
                text: ' and ',
                marks: [{ type: 'bold' }, { type: 'link', attrs: { href: 'https://example.org' } }],
              },
              { type: 'text', text: 'noted', marks: [{ type: 'comment', attrs: { id: 7 } }] },
              { type: 'hardBreak' },
              { type: 'text', text: 'after' },
            ],
          },
          { type: 'paragraph' },
        ],
      },
    })
  })

  test('formats that change nothing do not cut a text', () => {
    const first = new Y.Doc()
    first.clientID = 1
    const text = new Y.XmlText('abcdef')
    first.getXmlFragment('default').insert(0, [text])
    const base = Y.encodeStateAsUpdate(first)
    const formatting = [2, 3].map((clientId, at) => {
      const copy = new Y.Doc()
      copy.clientID = clientId
      Y.applyUpdate(copy, base)
      const known = Y.encodeStateVector(copy)
      ;(copy.getXmlFragment('default').get(0) as Y.XmlText).format(at, 3, { bold: {} })
      return Y.encodeStateAsUpdate(copy, known)
    })
    expect(read({ snapshot: base, tail: formatting }, { default: 'prosemirror' })).toEqual({
      default: {
        type: 'doc',
        content: [
          { type: 'text', text: 'abc', marks: [{ type: 'bold' }] },
          { type: 'text', text: 'def' },
        ],
      },
    })
  })

  test('embeds and nested types inside a text are shown', () => {
    const state = documentOf((doc) => {
      const text = new Y.XmlText()
      doc.getXmlFragment('r').insert(0, [text])
      text.insertEmbed(0, { image: 'x' })
    })
    expect(read(state, { r: 'prosemirror' })).toEqual({
      r: { type: 'doc', content: [{ type: 'embed', attrs: { value: { image: 'x' } } }] },
    })
  })
})

describe('hostile and odd content', () => {
  /** Root array `r` with one value in lib0's own bytes. */
  function withValue(write: (encoder: ReturnType<typeof createEncoder>) => void): DocumentState {
    const encoder = createEncoder()
    for (const number of [1, 1, 1, 0]) writeVarUint(encoder, number)
    writeUint8(encoder, 8)
    writeVarUint(encoder, 1)
    writeVarString(encoder, 'r')
    writeVarUint(encoder, 1)
    write(encoder)
    writeVarUint(encoder, 0)
    return { snapshot: toUint8Array(encoder), tail: [] }
  }

  test.each<[string, unknown, unknown]>([
    ['bytes are base64', new Uint8Array([251, 255]), '+/8='],
    ['a bigint is a string', 9_007_199_254_740_993n, '9007199254740993'],
    ['undefined is null in a list', undefined, null],
    ['undefined is left out of an object', { a: undefined, b: 1 }, { b: 1 }],
    ['NaN is null', Number.NaN, null],
    ['a zero has no sign', -0, 0],
    ['bytes inside values too', { a: [new Uint8Array([1])] }, { a: ['AQ=='] }],
    ['toJSON is a key like any other', { toJSON: 'x' }, { toJSON: 'x' }],
  ])('%s', (_what, value, expected) => {
    expect(read(withValue((encoder) => writeAny(encoder, value as never)))).toEqual({ r: [expected] })
  })

  test('a prototype that came over the wire shows nothing', () => {
    const state = withValue((encoder) => {
      writeUint8(encoder, 118)
      writeVarUint(encoder, 1)
      writeVarString(encoder, '__proto__')
      writeAny(encoder, { isAdmin: true })
    })
    expect(view(state)).toBe('{"r":[{}]}')
  })

  test('keys and roots named like parts of a prototype are keys and roots', () => {
    const state = documentOf((doc) => {
      doc.getMap('__proto__').set('__proto__', 1)
      doc.getMap('__proto__').set('constructor', 2)
    })
    expect(view(state)).toBe('{"__proto__":{"__proto__":1,"constructor":2}}')
    const types: Record<string, ViewKind> = JSON.parse('{"__proto__":"array"}')
    expect(view(state, types)).toBe('{"__proto__":[]}')
  })

  test('a sub-document is its guid', () => {
    const state = documentOf((doc) => doc.getMap('r').set('k', new Y.Doc({ guid: 'g-1', meta: { secret: 1 } })))
    expect(read(state)).toEqual({ r: { k: { guid: 'g-1' } } })
  })

  test('markup in text and names does not become markup', () => {
    const state = documentOf((doc) => {
      const element = new Y.XmlElement('a><script')
      element.setAttribute('x" y', '"><b>')
      element.insert(0, [new Y.XmlText('<i> & "q"')])
      doc.getXmlFragment('r').insert(0, [element])
    })
    expect(read(state)).toEqual({
      r: '<a__script x__y="&quot;&gt;&lt;b&gt;">&lt;i&gt; &amp; &quot;q&quot;</a__script>',
    })
  })

  test('a view larger than its limit is refused', () => {
    const state = documentOf((doc) => doc.getText('r').insert(0, 'x'.repeat(1_000)))
    expect(view(state, {}, 1_008)).toHaveLength(1_008)
    expect(() => view(state, {}, 1_007)).toThrow(expect.objectContaining({ code: 'document/too-expensive' }))
    expect(() => view(state, { r: 'xml' }, 900)).toThrow(expect.objectContaining({ code: 'document/too-expensive' }))
  })

  test.each<[string, (doc: Y.Doc, levels: number) => void]>([
    [
      'types',
      (doc, levels) => {
        let parent: Y.Array<unknown> = doc.getArray('r')
        for (let level = 0; level < levels; level++) {
          const inner = new Y.Array()
          parent.push([inner])
          parent = inner
        }
      },
    ],
    [
      'elements',
      (doc, levels) => {
        let parent: Y.XmlFragment = doc.getXmlFragment('r')
        for (let level = 0; level < levels; level++) {
          const inner = new Y.XmlElement('p')
          parent.push([inner])
          parent = inner
        }
      },
    ],
    [
      'values',
      (doc, levels) => {
        let value: unknown = 1
        for (let level = 0; level < levels; level++) value = [value]
        doc.getArray('r').push([value])
      },
    ],
  ])('%s nested too deep are refused', (kind, nest) => {
    const types: Record<string, ViewKind>[] = kind === 'elements' ? [{}, { r: 'prosemirror' }] : [{}]
    for (const kinds of types) {
      expect(
        view(
          documentOf((doc) => nest(doc, NESTING_LIMIT - 4)),
          kinds,
        ),
      ).toContain('r')
      expect(() =>
        view(
          documentOf((doc) => nest(doc, NESTING_LIMIT + 4)),
          kinds,
        ),
      ).toThrow(expect.objectContaining({ code: 'document/too-expensive' }))
    }
  })
})
