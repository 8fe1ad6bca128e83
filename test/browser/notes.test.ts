import { afterEach, expect, test, vi } from 'vitest'
import * as Y from 'yjs'
import { excerptOf, filterNotes, type Note, Notebook } from '../../client/web/demo/notes.js'
import { COLORS, freeColor, initials, readPerson, readPresences } from '../../client/web/demo/people.js'
import { timeAgo } from '../../client/web/demo/times.js'
import {
  fillWelcomeNote,
  WELCOME_ID,
  welcomeEntry,
  welcomeFirstVisitor,
  welcomeText,
} from '../../client/web/demo/welcome.js'

afterEach(() => vi.restoreAllMocks())

/** A notebook whose clock moves a second with each change. */
function notebook(): Notebook {
  let nowMs = 1_000
  return new Notebook(new Y.Doc(), () => (nowMs += 1_000))
}

/** Both documents take what the other has. */
function exchange(left: Y.Doc, right: Y.Doc): void {
  const forRight = Y.encodeStateAsUpdate(left, Y.encodeStateVector(right))
  Y.applyUpdate(left, Y.encodeStateAsUpdate(right, Y.encodeStateVector(left)))
  Y.applyUpdate(right, forRight)
}

test('the note edited last stands first', () => {
  const notes = notebook()
  const first = notes.create('Ada', 'First')
  const second = notes.create('Ada', 'Second')
  expect(notes.list().map((note) => note.id)).toEqual([second, first])
  notes.touch(first, 'Some text', 'Grace')
  expect(notes.list()[0]).toMatchObject({ id: first, title: 'First', excerpt: 'Some text', editedBy: 'Grace' })
})

test('renaming and deleting one note at the same time keeps both', () => {
  const ada = notebook()
  const grace = notebook()
  const id = ada.create('Ada', 'Plan')
  exchange(ada.ydoc, grace.ydoc)
  ada.rename(id, 'New plan', 'Ada')
  grace.delete(id, 'Grace')
  exchange(ada.ydoc, grace.ydoc)
  for (const notes of [ada, grace]) {
    expect(notes.list()).toEqual([])
    expect(notes.get(id)).toMatchObject({ title: 'New plan', deleted: { by: 'Grace' } })
  }
  ada.restore(id)
  exchange(ada.ydoc, grace.ydoc)
  expect(grace.list().map((note) => note.title)).toEqual(['New plan'])
  expect(grace.get(id)?.deleted).toBeUndefined()
})

test('a change that changes nothing is not written', () => {
  const notes = notebook()
  const id = notes.create('Ada', 'Plan')
  const changed = vi.fn()
  notes.observe(changed)
  notes.rename(id, 'Plan', 'Grace')
  notes.delete('no-such-note', 'Ada')
  expect(changed).not.toHaveBeenCalled()
})

test('entries of the wrong shape are left out, fields of the wrong type are replaced', () => {
  const notes = notebook()
  const map = notes.ydoc.getMap('notes')
  map.set('../../other', new Y.Map([['title', 'escapes']]))
  map.set('plain', 'text')
  map.set('array', new Y.Array())
  map.set(
    'odd',
    new Y.Map<unknown>([
      ['title', 7],
      ['excerpt', 'x'.repeat(10_000)],
      ['editedAt', Number.NaN],
      ['editedBy', null],
    ]),
  )
  expect(notes.list()).toEqual([{ id: 'odd', title: '', excerpt: 'x'.repeat(140), editedAt: 0, editedBy: '' }])
})

const named = (title: string, excerpt = ''): Note => ({ id: title, title, excerpt, editedAt: 0, editedBy: '' })

test.each([
  ['', ['Café plans', 'Release', 'Untitled']],
  ['cafe', ['Café plans']],
  ['RELEASE', ['Release']],
  ['plans  caf', ['Café plans']],
  ['friday', ['Release']],
  ['release friday', ['Release']],
  ['release monday', []],
  ['.*', []],
])('searching for "%s" finds %j', (query, expected) => {
  const notes = [named('Café plans'), named('Release', 'Not on Friday'), named('Untitled')]
  expect(filterNotes(notes, query).map((note) => note.title)).toEqual(expected)
})

test.each([
  ['# Title\n\nText', 'Title Text'],
  ['- one\n- [x] two\n1. three', 'one two three'],
  ['**Bold** and *slanted* `code`', 'Bold and slanted code'],
  ['See [the page](https://example.com/a_b)', 'See the page'],
  ['> quoted', 'quoted'],
  ['2 * 3 * 4 and snake_case_name', '2 * 3 * 4 and snake_case_name'],
  ['   \n\n', ''],
])('the excerpt of %j is %j', (markdown, expected) => {
  expect(excerptOf(markdown)).toBe(expected)
})

test('two browsers that open an empty notebook at once make one welcome note with one text', () => {
  const browsers = [0, 1].map(() => ({ list: notebook(), text: new Y.Doc() }))
  for (const { list, text } of browsers) {
    welcomeFirstVisitor(list)
    fillWelcomeNote(text)
  }
  const alone = browsers[0]!.text.getText('text').toString()
  exchange(browsers[0]!.list.ydoc, browsers[1]!.list.ydoc)
  exchange(browsers[0]!.text, browsers[1]!.text)
  expect(alone.length).toBeGreaterThan(100)
  for (const { list, text } of browsers) {
    expect(list.list().map((note) => note.id)).toEqual([WELCOME_ID])
    expect(text.getText('text').toString()).toBe(alone)
  }
})

test('what was done to the welcome note stays: it comes neither a second time nor back', () => {
  const list = notebook()
  const text = new Y.Doc()
  welcomeFirstVisitor(list)
  fillWelcomeNote(text)
  text.getText('text').delete(0, text.getText('text').length)
  list.delete(WELCOME_ID, 'Ada')
  // A browser that is late with the same welcome.
  Y.applyUpdate(list.ydoc, welcomeEntry())
  Y.applyUpdate(text, welcomeText())
  welcomeFirstVisitor(list)
  fillWelcomeNote(text)
  expect(list.list()).toEqual([])
  expect(text.getText('text').toString()).toBe('')
})

test('a notebook with notes gets no welcome', () => {
  const list = notebook()
  list.create('Ada', 'Mine')
  welcomeFirstVisitor(list)
  expect(list.list().map((note) => note.title)).toEqual(['Mine'])
})

test('the bytes of the welcome belong to its version: if they change, raise WELCOME_VERSION, then these sums', async () => {
  const sum = async (bytes: Uint8Array) =>
    [...new Uint8Array(await crypto.subtle.digest('SHA-256', new Uint8Array(bytes)))]
      .slice(0, 8)
      .map((byte) => byte.toString(16).padStart(2, '0'))
      .join('')
  expect([WELCOME_ID, await sum(welcomeEntry()), await sum(welcomeText())]).toEqual([
    'welcome-1',
    '640423d101492699',
    '297eb8333aea886d',
  ])
})

test.each([
  [
    { name: 'Ada', color: '#0f766e' },
    { name: 'Ada', color: '#0f766e' },
  ],
  [
    { name: '  Ada \n Lovelace ', color: '#0F766E', more: 1 },
    { name: 'Ada Lovelace', color: '#0F766E' },
  ],
  [{ name: 'Ada', color: 'red; background: url(//x)' }, undefined],
  [{ name: '', color: '#0f766e' }, undefined],
  [{ name: 5, color: '#0f766e' }, undefined],
  [null, undefined],
  ['Ada', undefined],
])('presence %j is read as %j', (value, expected) => {
  expect(readPerson(value)).toEqual(expected)
})

test('a long name is cut, and the own presence is not among the others', () => {
  const user = { name: 'x'.repeat(500), color: '#0f766e' }
  const others = readPresences(
    new Map<number, unknown>([
      [1, { user }],
      [2, { user, note: 7 }],
      [3, {}],
      [4, null],
    ]),
    1,
  )
  expect(others).toEqual([{ clientId: 2, person: { name: 'x'.repeat(40), color: '#0f766e' }, noteId: undefined }])
})

test('a newcomer takes a colour that nobody wears, as long as there is one', () => {
  const wearing = (count: number) =>
    COLORS.slice(0, count).map(({ hex }, clientId) => ({
      clientId,
      person: { name: 'X', color: hex },
      noteId: undefined,
    }))
  expect(freeColor(wearing(3), COLORS[5].hex)).toBe(COLORS[5].hex)
  expect(freeColor(wearing(3), COLORS[1].hex)).toBe(COLORS[3].hex)
  expect(COLORS.map((color) => color.hex)).toContain(freeColor(wearing(COLORS.length), COLORS[1].hex))
})

test.each(COLORS)('white text can be read on $name', ({ hex }) => {
  const channel = (at: number) => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
  }
  const luminance = 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
  expect(1.05 / (luminance + 0.05)).toBeGreaterThan(4.9)
})

test.each([
  ['Ada', 'A'],
  ['Ada Lovelace', 'AL'],
  ['Ada King Lovelace', 'AL'],
  ['élan vital', 'ÉV'],
  ['👩‍🚀 Ada', '👩A'],
])('%s has the initials %s', (name, expected) => {
  expect(initials(name)).toBe(expected)
})

test.each([
  [0, 'just now'],
  [-5_000_000, 'just now'],
  [59_000, 'just now'],
  [60_000, '1 minute ago'],
  [3_599_000, '59 minutes ago'],
  [2 * 3_600_000, '2 hours ago'],
  [30 * 3_600_000, 'yesterday'],
])('an age of %i ms reads "%s"', (ageMs, expected) => {
  expect(timeAgo(1e12, 1e12 + ageMs)).toBe(expected)
})
