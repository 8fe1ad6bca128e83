/**
 * The list of notes: one shared document, one entry per note; the text of a note is a document of its own. What may be
 * changed by two people at once is a field of its own, so that renaming a note while somebody else deletes it keeps
 * both. Deleting only marks the entry: undoing it is one more mark, and nobody's text is lost by it.
 *
 * Entries come from other people's browsers: what has not the expected shape is left out or replaced, never trusted.
 */
import * as Y from 'yjs'
import { cutText } from './cut-text.js'

export interface Note {
  readonly id: string
  readonly title: string
  /** The beginning of the text, without markup; may lag behind the text by some seconds. */
  readonly excerpt: string
  /** Milliseconds since 1970, by the editor's own clock; 0 for a note that nobody has touched. */
  readonly editedAt: number
  readonly editedBy: string
  /** Set while the note is deleted. */
  readonly deleted?: { readonly at: number; readonly by: string }
}

const NOTE_ID = /^[a-z0-9-]{1,40}$/
const TITLE_LIMIT = 200
const EXCERPT_LIMIT = 140
const NAME_LIMIT = 40

/** The name of the shared document that holds the text of a note. */
export function noteDocument(id: string): string {
  return `demo/note/${id}`
}

export class Notebook {
  readonly ydoc: Y.Doc
  private readonly entries: Y.Map<unknown>
  private readonly now: () => number

  constructor(ydoc: Y.Doc, now: () => number = Date.now) {
    this.ydoc = ydoc
    this.entries = ydoc.getMap('notes')
    this.now = now
  }

  /** Whether no note was ever made, deleted ones included. */
  get isUntouched(): boolean {
    return this.entries.size === 0
  }

  get(id: string): Note | undefined {
    return readNote(id, this.entries.get(id))
  }

  /** The notes that are not deleted, last edited first. */
  list(): Note[] {
    return this.all()
      .filter((note) => !note.deleted)
      .sort((left, right) => right.editedAt - left.editedAt || (left.id < right.id ? -1 : 1))
  }

  /** The deleted notes, last deleted first. */
  listDeleted(): Note[] {
    return this.all()
      .filter((note) => note.deleted)
      .sort((left, right) => (right.deleted?.at ?? 0) - (left.deleted?.at ?? 0) || (left.id < right.id ? -1 : 1))
  }

  /** Makes an empty note and returns its id. */
  create(by: string, title = ''): string {
    const id = randomId()
    const entry = new Y.Map<unknown>()
    entry.set('title', cutText(title, TITLE_LIMIT))
    entry.set('editedAt', this.now())
    entry.set('editedBy', by)
    this.entries.set(id, entry)
    return id
  }

  rename(id: string, title: string, by: string): void {
    if (this.get(id)?.title === cutText(title, TITLE_LIMIT)) return
    this.change(id, { title: cutText(title, TITLE_LIMIT), editedAt: this.now(), editedBy: by })
  }

  /** Records that `by` edited the text, which now begins with `excerpt`. */
  touch(id: string, excerpt: string, by: string): void {
    this.change(id, { excerpt: cutText(excerpt, EXCERPT_LIMIT), editedAt: this.now(), editedBy: by })
  }

  delete(id: string, by: string): void {
    this.change(id, { deletedAt: this.now(), deletedBy: by })
  }

  restore(id: string): void {
    this.change(id, { deletedAt: undefined, deletedBy: undefined })
  }

  /** Calls back after every change of the list, own or not; returns how to stop. */
  observe(changed: () => void): () => void {
    this.entries.observeDeep(changed)
    return () => this.entries.unobserveDeep(changed)
  }

  private all(): Note[] {
    return [...this.entries].flatMap(([id, entry]) => readNote(id, entry) ?? [])
  }

  private change(id: string, fields: Record<string, unknown>): void {
    const entry = this.entries.get(id)
    if (!(entry instanceof Y.Map)) return
    this.ydoc.transact(() => {
      for (const [field, value] of Object.entries(fields)) {
        if (value === undefined) entry.delete(field)
        else if (entry.get(field) !== value) entry.set(field, value)
      }
    })
  }
}

/** The notes whose title or excerpt holds every word of `query`, letter case and accents aside. */
export function filterNotes(notes: readonly Note[], query: string): Note[] {
  const words = foldText(query).split(/\s+/).filter(Boolean)
  return notes.filter((note) => {
    const text = foldText(`${note.title} ${note.excerpt}`)
    return words.every((word) => text.includes(word))
  })
}

/** The first words of a Markdown text, without its marks: what the list shows below a title. */
export function excerptOf(markdown: string): string {
  const text = cutText(markdown, 4 * EXCERPT_LIMIT)
    .replace(/^\s*(?:#{1,6}|>|[-*+]|\d+[.)]|```.*)\s+/gm, '')
    .replace(/\[([ xX])\]\s+/g, '')
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/(\*\*|__|`+|~~)/g, '')
    .replace(/(^|\s)[*_](\S(?:.*?\S)?)[*_](?=\s|[.,;:!?]|$)/g, '$1$2')
    .replace(/\s+/g, ' ')
  return cutText(text.trim(), EXCERPT_LIMIT)
}

function foldText(text: string): string {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase()
}

function readNote(id: string, entry: unknown): Note | undefined {
  if (!NOTE_ID.test(id) || !(entry instanceof Y.Map)) return undefined
  const text = (field: string, limit: number): string => {
    const value: unknown = entry.get(field)
    return typeof value === 'string' ? cutText(value, limit) : ''
  }
  const time = (field: string): number => {
    const value: unknown = entry.get(field)
    return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : 0
  }
  return {
    id,
    title: text('title', TITLE_LIMIT),
    excerpt: text('excerpt', EXCERPT_LIMIT),
    editedAt: time('editedAt'),
    editedBy: text('editedBy', NAME_LIMIT),
    ...(entry.has('deletedAt') ? { deleted: { at: time('deletedAt'), by: text('deletedBy', NAME_LIMIT) } } : {}),
  }
}

/** 60 random bits as 12 letters and digits. */
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12))
  return [...bytes].map((byte) => (byte % 32).toString(32)).join('')
}
