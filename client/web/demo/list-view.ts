/**
 * The list of notes: links, so that a note can be opened in another window, with one tab stop and arrow keys. Who looks
 * at which note stands beside it.
 */
import { element, icon, setChildren, setText } from './elements.js'
import type { Note } from './notes.js'
import { initials, type Presence } from './people.js'
import { timeAgo } from './times.js'

export interface ListActions {
  /** A note was chosen in the list; with the keyboard, writing should begin. */
  open(id: string, byKeyboard: boolean): void
  rename(id: string): void
  delete(id: string): void
  create(title: string): void
}

export interface ListModel {
  readonly notes: readonly Note[]
  readonly query: string
  readonly currentId: string | undefined
  readonly presences: readonly Presence[]
  readonly isLoaded: boolean
  readonly nowMs: number
}

interface Row {
  readonly item: HTMLLIElement
  readonly link: HTMLAnchorElement
  readonly title: HTMLElement
  readonly excerpt: HTMLElement
  readonly time: HTMLElement
  readonly people: HTMLElement
}

export class ListView {
  private readonly list: HTMLElement
  private readonly empty: HTMLElement
  private readonly actions: ListActions
  private readonly rows = new Map<string, Row>()
  private ids: readonly string[] = []
  private emptyReason = ''

  constructor(list: HTMLElement, empty: HTMLElement, actions: ListActions) {
    this.list = list
    this.empty = empty
    this.actions = actions
    list.addEventListener('keydown', (event) => this.onKey(event))
    list.addEventListener('click', (event) => this.onClick(event))
  }

  show(model: ListModel): void {
    const focused = document.activeElement
    this.ids = model.notes.map((note) => note.id)
    const current = new Set(this.ids)
    for (const id of this.rows.keys()) if (!current.has(id)) this.rows.delete(id)
    const rows = model.notes.map((note) => this.showRow(note, model))
    // One row is in the tab order: the one that has the focus, else the current one, else the first.
    const stop = rows.find((row) => row.link === focused) ?? this.rows.get(model.currentId ?? '') ?? rows[0]
    for (const row of rows) row.link.tabIndex = row === stop ? 0 : -1
    setChildren(
      this.list,
      rows.map((row) => row.item),
    )
    // A row that moved has lost the focus.
    if (focused instanceof HTMLElement && focused !== document.activeElement && focused.isConnected) {
      focused.focus({ preventScroll: true })
    }
    this.list.hidden = rows.length === 0
    this.showEmpty(model)
  }

  /** Puts the focus on this note's row, or on the first one. */
  focus(id?: string): void {
    const row = this.rows.get(id ?? '') ?? this.rows.get(this.ids[0] ?? '')
    row?.link.focus()
  }

  private showRow(note: Note, model: ListModel): Row {
    const row = this.rows.get(note.id) ?? this.makeRow(note.id)
    markWords(row.title, note.title || 'Untitled', model.query)
    row.title.classList.toggle('untitled', note.title === '')
    markWords(row.excerpt, note.excerpt || 'Nothing written yet', model.query)
    setText(row.time, note.editedAt === 0 ? '' : timeAgo(note.editedAt, model.nowMs))
    if (note.id === model.currentId) row.link.setAttribute('aria-current', 'page')
    else row.link.removeAttribute('aria-current')
    const here = model.presences.filter((presence) => presence.noteId === note.id)
    showPeople(row.people, here)
    return row
  }

  private makeRow(id: string): Row {
    const title = element('span', { class: 'row-title' })
    const excerpt = element('span', { class: 'row-excerpt' })
    const time = element('span', { class: 'row-time' })
    const people = element('span', { class: 'row-people' })
    const head = element('span', { class: 'row-head' }, title, people)
    const link = element('a', { href: `#${id}`, class: 'row', 'data-id': id }, head, excerpt, time)
    const row = { item: element('li', {}, link), link, title, excerpt, time, people }
    this.rows.set(id, row)
    return row
  }

  private showEmpty({ notes, query, isLoaded }: ListModel): void {
    const reason = notes.length > 0 ? '' : query ? `query ${query}` : isLoaded ? 'none' : 'loading'
    if (reason === this.emptyReason) return
    this.emptyReason = reason
    this.empty.hidden = reason === ''
    if (reason === 'loading') this.empty.replaceChildren(skeleton(), skeleton(), skeleton())
    else if (reason === 'none') this.empty.replaceChildren(element('p', {}, 'Notes will be listed here.'))
    else if (query) this.empty.replaceChildren(...this.nothingFound(query))
  }

  private nothingFound(query: string): HTMLElement[] {
    const create = element('button', { type: 'button', class: 'button' }, icon('plus'), `New note “${query}”`)
    create.addEventListener('click', () => this.actions.create(query))
    return [element('p', {}, 'No title and no first line holds ', element('strong', {}, query), '.'), create]
  }

  private onClick(event: MouseEvent): void {
    const id = idOf(event.target)
    // With a modifier the browser opens another tab or window.
    if (!id || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return
    event.preventDefault()
    this.actions.open(id, event.detail === 0)
  }

  private onKey(event: KeyboardEvent): void {
    const id = idOf(event.target)
    if (!id || event.ctrlKey || event.metaKey || event.altKey) return
    const act = this.keyAction(event.key, id)
    if (!act) return
    event.preventDefault()
    act()
  }

  private keyAction(key: string, id: string): (() => void) | undefined {
    const index = this.ids.indexOf(id)
    const move = (to: number) => () => this.focus(this.ids[Math.max(0, Math.min(this.ids.length - 1, to))])
    switch (key) {
      case 'ArrowDown':
        return move(index + 1)
      case 'ArrowUp':
        return move(index - 1)
      case 'Home':
        return move(0)
      case 'End':
        return move(this.ids.length - 1)
      case 'F2':
        return () => this.actions.rename(id)
      case 'Delete':
      case 'Backspace':
        return () => {
          const next = this.ids[index + 1] ?? this.ids[index - 1]
          this.actions.delete(id)
          this.focus(next)
        }
      default:
        return undefined
    }
  }
}

function idOf(target: EventTarget | null): string | undefined {
  return target instanceof Element ? target.closest<HTMLElement>('[data-id]')?.dataset['id'] : undefined
}

function showPeople(parent: HTMLElement, here: readonly Presence[]): void {
  const shown = here.slice(0, 3).map(({ person }) => {
    const dot = element('span', { class: 'dot', 'aria-hidden': 'true' }, initials(person.name))
    dot.style.setProperty('--person', person.color)
    return dot
  })
  const names = here.map(({ person }) => person.name).join(', ')
  parent.replaceChildren(...shown, ...(names ? [element('span', { class: 'unseen' }, ` Here now: ${names}`)] : []))
  parent.title = names
}

/** Text with each word of the query marked, where it stands as written. */
function markWords(target: HTMLElement, text: string, query: string): void {
  const words = query.split(/\s+/).filter(Boolean)
  if (words.length === 0) {
    if (target.childElementCount > 0 || target.textContent !== text) target.textContent = text
    return
  }
  const pattern = new RegExp(`(${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})`, 'gi')
  target.replaceChildren(...text.split(pattern).map((part, at) => (at % 2 === 1 ? element('mark', {}, part) : part)))
}

function skeleton(): HTMLElement {
  return element('div', { class: 'skeleton', 'aria-hidden': 'true' }, element('span'), element('span'))
}
