/**
 * The team notebook: wires the documents of this tab to what is on screen. State lives in the shared documents, in the
 * address (which note) and in `view` (what is searched for); `render` draws all of it anew after any change.
 */
import { showDeleted } from './deleted-view.js'
import { byId } from './elements.js'
import { mountShortcuts } from './keys.js'
import { ListView } from './list-view.js'
import { type NoteModel, NoteView } from './note-view.js'
import { filterNotes, type Note } from './notes.js'
import {
  freeColor,
  type Person,
  type Presence,
  readPresences,
  recallPerson,
  rememberName,
  rememberPerson,
} from './people.js'
import { PeopleView } from './people-view.js'
import { StatusView, say } from './status-view.js'
import { mountTheme } from './theme.js'
import { showToast, takeBack } from './toast.js'
import { Workspace } from './workspace.js'

const CLOCK_EVERY_MS = 30_000
const SAY_RESULTS_AFTER_MS = 800
/** How long a made-up colour may still give way to somebody who already wears it. */
const SETTLING_MS = 3_000

const narrow = matchMedia('(max-width: 760px)')
const search = byId<HTMLInputElement>('search')
const deletedDialog = byId<HTMLDialogElement>('deleted-dialog')
const keysDialog = byId<HTMLDialogElement>('keys-dialog')

let me = recallPerson()
let query = ''
let isRenderDue = false

const socketScheme = location.protocol === 'https:' ? 'wss' : 'ws'
const workspace = new Workspace(`${socketScheme}://${location.host}/y`, me, scheduleRender)
const { notebook } = workspace

const listView = new ListView(byId('notes'), byId('list-empty'), {
  open(id, byKeyboard) {
    go(id)
    if (byKeyboard) noteView.focus('text')
  },
  rename(id) {
    go(id)
    noteView.focus('title')
  },
  delete: deleteNote,
  create: createNote,
})
const noteView = new NoteView({
  create: () => createNote(''),
  rename: (title) => workspace.current && notebook.rename(workspace.current.id, title, me.name),
  delete: () => {
    const id = workspace.current?.id
    if (!id) return
    deleteNote(id)
    listView.focus(workspace.current?.id)
  },
  restore: () => workspace.current && notebook.restore(workspace.current.id),
  leave: leaveNote,
})
const peopleView = new PeopleView({ follow: go, become })
const statusView = new StatusView(location.host)

mountTheme(byId('theme'))
mountShortcuts({
  create: () => createNote(''),
  search: () => {
    if (narrow.matches) go(undefined)
    search.focus()
    search.select()
  },
  showKeys: () => keysDialog.showModal(),
  undo: takeBack,
})
mountSearch()
byId('create').addEventListener('click', () => createNote(''))
byId('back').addEventListener('click', leaveNote)
byId('open-keys').addEventListener('click', () => keysDialog.showModal())
byId('open-deleted').addEventListener('click', () => deletedDialog.showModal())
// A click beside a dialog closes it.
for (const dialog of [deletedDialog, keysDialog]) {
  dialog.addEventListener('click', (event) => event.target === dialog && dialog.close())
}
notebook.observe(scheduleRender)
workspace.list.awareness.on('change', scheduleRender)
addEventListener('hashchange', render)
narrow.addEventListener('change', render)
setInterval(render, CLOCK_EVERY_MS)
addEventListener('beforeunload', (event) => {
  if (workspace.hasUnsaved) event.preventDefault()
})
settleColor()
render()

/** Draws once for all changes of one turn. */
function scheduleRender(): void {
  if (isRenderDue) return
  isRenderDue = true
  queueMicrotask(() => {
    isRenderDue = false
    render()
  })
}

function render(): void {
  const nowMs = Date.now()
  const notes = notebook.list()
  const isLoaded = workspace.list.isLoaded
  const id = noteInAddress() ?? chooseFirst(notes)
  const note = id === undefined ? undefined : notebook.get(id)
  const presences = readPresences(workspace.list.awareness.getStates(), workspace.list.ydoc.clientID)
  const currentId = note?.id
  // Before the list is here, the address is believed, so that both load at once.
  workspace.show(note || !isLoaded ? id : undefined)
  byId('app').dataset['view'] = id === undefined ? 'list' : 'note'
  document.title = note ? `${note.title || 'Untitled'} · Team notebook` : 'Team notebook'
  listView.show({ notes: filterNotes(notes, query), query, currentId, presences, isLoaded, nowMs })
  noteView.show(noteModel(id, note, notes, nowMs))
  peopleView.show({ me, presences, currentId, titleOf: (noteId) => titleOf(notebook.get(noteId)) })
  statusView.show({ saved: workspace.saved, connection: workspace.connection })
  showDeleted(notebook.listDeleted(), nowMs, (deletedId) => {
    notebook.restore(deletedId)
    deletedDialog.close()
    go(deletedId)
  })
}

function noteModel(id: string | undefined, note: Note | undefined, notes: readonly Note[], nowMs: number): NoteModel {
  const { isLoaded, connection } = workspace.list
  if (workspace.current && (note || !isLoaded)) return { type: 'note', open: workspace.current, note, nowMs }
  if (!isLoaded && connection.type === 'refused') return { type: 'blank', blank: 'refused' }
  if (!isLoaded) return { type: 'blank', blank: connection.type === 'offline' ? 'offline' : 'connecting' }
  if (id !== undefined) return { type: 'blank', blank: 'missing' }
  return { type: 'blank', blank: notes.length === 0 ? 'empty' : 'choose' }
}

function titleOf(note: Note | undefined): string | undefined {
  return note && (note.title || 'Untitled')
}

/** Beside a list there is always a note, while there is any. */
function chooseFirst(notes: readonly Note[]): string | undefined {
  const first = notes[0]
  if (!first || narrow.matches || !workspace.list.isLoaded) return undefined
  history.replaceState(null, '', `#${first.id}`)
  return first.id
}

function noteInAddress(): string | undefined {
  const id = location.hash.slice(1)
  return /^[a-z0-9-]{1,40}$/.test(id) ? id : undefined
}

function go(id: string | undefined): void {
  if (id !== noteInAddress()) history.pushState(null, '', id === undefined ? location.pathname : `#${id}`)
  render()
}

function createNote(title: string): void {
  clearSearch()
  go(workspace.create(title))
  noteView.focus(title ? 'text' : 'title')
}

function deleteNote(id: string): void {
  const notes = filterNotes(notebook.list(), query)
  const index = notes.findIndex((note) => note.id === id)
  const next = notes[index + 1] ?? notes[index - 1]
  const title = titleOf(notebook.get(id))
  notebook.delete(id, me.name)
  if (workspace.current?.id === id) go(narrow.matches ? undefined : next?.id)
  showToast(`Deleted “${title}”`, 'Undo', () => {
    notebook.restore(id)
    go(id)
    listView.focus(id)
  })
}

/** From the note back to its row in the list. */
function leaveNote(): void {
  const id = workspace.current?.id
  if (narrow.matches) go(undefined)
  listView.focus(id)
}

function become(person: Person): void {
  if (person.name !== me.name) rememberName(person.name)
  me = person
  rememberPerson(me)
  workspace.setPerson(me)
  render()
}

/** Two who made up the same colour: the one who came later takes another. */
function settleColor(): void {
  const { awareness, ydoc } = workspace.list
  const settle = (): void => {
    const others: Presence[] = readPresences(awareness.getStates(), ydoc.clientID)
    if (others.length === 0) return
    awareness.off('change', settle)
    const color = freeColor(others, me.color)
    if (color !== me.color) become({ ...me, color })
  }
  awareness.on('change', settle)
  setTimeout(() => awareness.off('change', settle), SETTLING_MS)
}

function mountSearch(): void {
  let saying: ReturnType<typeof setTimeout> | undefined
  search.addEventListener('input', () => {
    query = search.value.trim()
    render()
    clearTimeout(saying)
    saying = setTimeout(() => {
      const found = filterNotes(notebook.list(), query).length
      if (query) say(found === 1 ? '1 note found' : `${found} notes found`)
    }, SAY_RESULTS_AFTER_MS)
  })
  search.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown' || event.key === 'Enter') listView.focus(filterNotes(notebook.list(), query)[0]?.id)
    else if (event.key === 'Escape') clearSearch()
    else return
    event.preventDefault()
  })
}

function clearSearch(): void {
  search.value = ''
  query = ''
  render()
}
