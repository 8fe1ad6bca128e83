/**
 * The documents that this tab holds: the list, the note on screen, and some notes visited before it, so that going back
 * needs no connection. A note with unsaved changes is never let go.
 */
import * as Y from 'yjs'
import { excerptOf, Notebook, noteDocument } from './notes.js'
import type { Person } from './people.js'
import type { SavedState } from './saved.js'
import { type Connection, SharedDocument } from './shared-document.js'
import { fillWelcomeNote, WELCOME_ID, welcomeFirstVisitor } from './welcome.js'

const KEPT_NOTES = 8
/** At most so often does typing update a note's line in the list. */
const STAMP_EVERY_MS = 2_000

export class OpenNote {
  readonly id: string
  readonly document: SharedDocument
  readonly text: Y.Text
  readonly undoManager: Y.UndoManager
  /** Where the cursor stood when the note was last left. */
  cursor = 0
  /** Made in this tab: it can be written before the server has answered. */
  readonly isNew: boolean

  constructor(id: string, document: SharedDocument, isNew: boolean) {
    this.id = id
    this.document = document
    this.text = document.ydoc.getText('text')
    this.undoManager = new Y.UndoManager(this.text)
    this.isNew = isNew
  }

  get isWritable(): boolean {
    return this.isShowable && this.document.connection.type !== 'refused'
  }

  get isShowable(): boolean {
    return this.isNew || this.document.isLoaded
  }
}

export class Workspace {
  readonly list: SharedDocument
  readonly notebook: Notebook
  /** The note on screen. */
  current: OpenNote | undefined

  private readonly serverUrl: string
  private readonly changed: () => void
  /** Least recently shown first. */
  private readonly open = new Map<string, OpenNote>()
  private readonly madeHere = new Set<string>()
  private person: Person

  constructor(serverUrl: string, person: Person, changed: () => void) {
    this.serverUrl = serverUrl
    this.person = person
    this.changed = changed
    this.list = new SharedDocument(serverUrl, 'demo/notes', () => {
      if (this.list.isLoaded) welcomeFirstVisitor(this.notebook)
      changed()
    })
    this.notebook = new Notebook(this.list.ydoc)
    this.list.awareness.setLocalState({ user: person, note: null })
  }

  /** All documents of this tab as one answer: the least safe of them decides. */
  get saved(): SavedState {
    const changes = this.documents.reduce((sum, document) => sum + unsavedChanges(document), 0)
    if (changes === 0) return this.onScreen.some(isOffline) ? { type: 'offline', changes } : { type: 'saved' }
    const isWaiting = this.documents.some((document) => document.hasUnsaved && isOffline(document) && !isNew(document))
    return isWaiting ? { type: 'offline', changes } : { type: 'saving', changes }
  }

  /** The worse connection of the list and the note on screen. */
  get connection(): Connection {
    const first = (type: Connection['type']) => this.onScreen.find((document) => document.connection.type === type)
    const chosen = first('refused') ?? first('offline') ?? first('reconnecting')
    return (chosen ?? this.list).connection
  }

  /** Whether closing the page now would lose something. */
  get hasUnsaved(): boolean {
    return this.documents.some((document) => document.hasUnsaved)
  }

  setPerson(person: Person): void {
    this.person = person
    this.list.awareness.setLocalStateField('user', person)
    this.current?.document.awareness.setLocalStateField('user', person)
  }

  /** Makes a note and returns its id. */
  create(title: string): string {
    const id = this.notebook.create(this.person.name, title)
    this.madeHere.add(id)
    return id
  }

  /** Shows a note, or none. The same `OpenNote` comes back while it is kept. */
  show(id: string | undefined): OpenNote | undefined {
    if (this.current?.id === id) return this.current
    this.current?.document.awareness.setLocalState(null)
    this.current = id === undefined ? undefined : this.take(id)
    this.current?.document.awareness.setLocalState({ user: this.person, cursor: null })
    this.list.awareness.setLocalStateField('note', id ?? null)
    this.letGo()
    return this.current
  }

  private get documents(): SharedDocument[] {
    return [this.list, ...[...this.open.values()].map((note) => note.document)]
  }

  /** A note whose first connection is under way says nothing yet: opening a note is no trouble. */
  private get onScreen(): SharedDocument[] {
    const note = this.current?.document
    return note && !isNew(note) ? [this.list, note] : [this.list]
  }

  private take(id: string): OpenNote {
    const kept = this.open.get(id)
    this.open.delete(id)
    const note = kept ?? this.openNote(id)
    this.open.set(id, note)
    return note
  }

  private openNote(id: string): OpenNote {
    const document = new SharedDocument(this.serverUrl, noteDocument(id), () => {
      if (id === WELCOME_ID && document.isLoaded) fillWelcomeNote(document.ydoc)
      this.letGo()
      this.changed()
    })
    const note = new OpenNote(id, document, this.madeHere.has(id))
    this.stampEdits(note)
    return note
  }

  /** The list says who edited a note last, and how its text begins. */
  private stampEdits(note: OpenNote): void {
    let due: ReturnType<typeof setTimeout> | undefined
    const stamp = (): void => {
      due = undefined
      this.notebook.touch(note.id, excerptOf(note.text.toString()), this.person.name)
    }
    note.text.observe((_event, transaction) => {
      if (transaction.local && due === undefined) due = setTimeout(stamp, STAMP_EVERY_MS)
    })
  }

  private letGo(): void {
    for (const [id, note] of this.open) {
      if (this.open.size <= KEPT_NOTES) return
      if (note === this.current || note.document.hasUnsaved) continue
      this.open.delete(id)
      note.document.destroy()
    }
  }
}

function isOffline(document: SharedDocument): boolean {
  return document.saved.type === 'offline'
}

/** The first connection is under way. */
function isNew(document: SharedDocument): boolean {
  return document.connection.type === 'connecting'
}

function unsavedChanges(document: SharedDocument): number {
  return document.saved.type === 'saved' ? 0 : document.saved.changes
}
