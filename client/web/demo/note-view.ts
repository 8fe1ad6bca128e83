/** The note on screen: its title, its text, and what stands there when there is no note to show. */
import { createNoteEditor, type NoteEditor } from './editor.js'
import { byId, element, icon, setText } from './elements.js'
import type { Note } from './notes.js'
import type { Connection } from './shared-document.js'
import { timeAgo } from './times.js'
import type { OpenNote } from './workspace.js'

export interface NoteActions {
  create(): void
  rename(title: string): void
  delete(): void
  restore(): void
  /** Escape in the text or the title. */
  leave(): void
}

export type NoteModel =
  | { readonly type: 'note'; readonly open: OpenNote; readonly note: Note | undefined; readonly nowMs: number }
  | { readonly type: 'blank'; readonly blank: Blank }

/** Why there is no note on screen. */
export type Blank = 'connecting' | 'offline' | 'refused' | 'empty' | 'choose' | 'missing'

export class NoteView {
  private readonly actions: NoteActions
  private readonly title = byId<HTMLTextAreaElement>('title')
  private shownNote: OpenNote | undefined
  private editor: NoteEditor | undefined
  private wantsFocus: 'title' | 'text' | undefined
  private blank: Blank | undefined
  private bannerText = ''

  constructor(actions: NoteActions) {
    this.actions = actions
    this.title.addEventListener('input', () => {
      this.title.value = this.title.value.replace(/\s*\n\s*/g, ' ')
      this.fitTitle()
      this.actions.rename(this.title.value)
    })
    this.title.addEventListener('keydown', (event) => {
      if (event.isComposing) return
      if (event.key === 'Enter') this.focus('text')
      else if (event.key === 'Escape') this.actions.leave()
      else return
      event.preventDefault()
    })
    new ResizeObserver(() => this.fitTitle()).observe(byId('note'))
    byId('delete').addEventListener('click', () => this.actions.delete())
  }

  show(model: NoteModel): void {
    byId('note').hidden = model.type !== 'note'
    byId('blank').hidden = model.type !== 'blank'
    if (model.type === 'blank') {
      this.setNote(undefined)
      this.showBlank(model.blank)
      return
    }
    this.showBlank(undefined)
    this.setNote(model.open)
    this.showNote(model)
  }

  /** Puts the cursor into the title or the text, as soon as it can be written. */
  focus(where: 'title' | 'text'): void {
    this.wantsFocus = where
    this.followFocus()
  }

  private setNote(open: OpenNote | undefined): void {
    if (this.shownNote === open) return
    this.shownNote = open
    this.editor?.destroy()
    this.editor = undefined
    byId('note-text').replaceChildren()
  }

  private showNote({ open, note, nowMs }: Extract<NoteModel, { type: 'note' }>): void {
    const isDeleted = note?.deleted !== undefined
    const canWrite = open.isWritable && !isDeleted
    this.showTitle(note?.title ?? '', note !== undefined && !isDeleted)
    byId('delete').hidden = !note || isDeleted
    this.showBanner(open.document.connection, note)
    if (!open.isShowable) this.showWaiting(open.document.connection)
    else {
      if (!this.editor) this.openEditor(open)
      this.editor?.setWritable(canWrite)
      setText(byId('facts'), facts(open, note, nowMs))
    }
    this.followFocus()
  }

  private openEditor(open: OpenNote): void {
    const host = byId('note-text')
    host.replaceChildren()
    this.editor = createNoteEditor(host, open, () => this.actions.leave())
  }

  private showTitle(title: string, canWrite: boolean): void {
    this.title.readOnly = !canWrite
    if (this.title.value === title) return
    const { selectionStart, selectionEnd } = this.title
    this.title.value = title
    this.title.setSelectionRange(selectionStart, selectionEnd)
    this.fitTitle()
  }

  /** As high as its lines. */
  private fitTitle(): void {
    this.title.style.height = 'auto'
    this.title.style.height = `${this.title.scrollHeight}px`
  }

  private followFocus(): void {
    if (this.wantsFocus === 'title' && this.shownNote && !this.title.readOnly) {
      this.title.focus()
      this.title.select()
      this.wantsFocus = undefined
    } else if (this.wantsFocus === 'text' && this.editor) {
      this.editor.view.focus()
      this.wantsFocus = undefined
    }
  }

  private showWaiting(connection: Connection): void {
    const isOffline = connection.type === 'offline'
    const wanted = isOffline ? 'This note is not in this tab yet. It opens as soon as the server answers.' : ''
    const host = byId('note-text')
    setText(byId('facts'), '')
    if (host.childElementCount > 0 && host.dataset['waiting'] === wanted) return
    host.dataset['waiting'] = wanted
    const lines = element(
      'div',
      { class: 'skeleton text', 'aria-hidden': 'true' },
      ...[1, 2, 3].map(() => element('span')),
    )
    host.replaceChildren(isOffline ? element('p', { class: 'waiting' }, icon('cut'), wanted) : lines)
  }

  private showBanner(connection: Connection, note: Note | undefined): void {
    const text = note?.deleted
      ? `${note.deleted.by || 'Somebody'} deleted this note.`
      : connection.type === 'refused'
        ? `The server refused this note: ${connection.reason}. Copy what you need, then reload.`
        : ''
    if (text === this.bannerText) return
    this.bannerText = text
    const banner = byId('banner')
    banner.hidden = text === ''
    const restore = element('button', { type: 'button', class: 'button' }, 'Bring it back')
    restore.addEventListener('click', () => this.actions.restore())
    banner.replaceChildren(icon(note?.deleted ? 'bin' : 'alert'), element('p', {}, text))
    if (note?.deleted) banner.append(restore)
  }

  private showBlank(blank: Blank | undefined): void {
    if (blank === this.blank) return
    this.blank = blank
    byId('blank').replaceChildren(...(blank ? this.blankContent(blank) : []))
  }

  private blankContent(blank: Blank): Node[] {
    const say = (heading: string, text: string): Node[] => [element('h2', {}, heading), element('p', {}, text)]
    switch (blank) {
      case 'connecting':
        return [element('p', { class: 'muted' }, 'Opening the notebook…')]
      case 'offline':
        return say('The server does not answer', 'The notebook opens by itself as soon as it does.')
      case 'refused':
        return say('The server refused this page', 'The sign above says why. A reload tries again.')
      case 'missing':
        return say('There is no such note', 'The address may be mistyped. All notes stand in the list.')
      case 'choose':
        return say('Choose a note', 'Or make a new one.')
      case 'empty': {
        const create = element(
          'button',
          { type: 'button', class: 'button primary' },
          icon('plus'),
          'Write the first note',
        )
        create.addEventListener('click', () => this.actions.create())
        return [stillWater(), ...say('An empty notebook', 'Everyone who opens this page writes in it.'), create]
      }
    }
  }
}

function facts(open: OpenNote, note: Note | undefined, nowMs: number): string {
  const words = open.text.toString().match(/[\p{L}\p{N}][\p{L}\p{N}’'-]*/gu)?.length ?? 0
  const edited = note?.editedAt
    ? `Edited ${timeAgo(note.editedAt, nowMs)}${note.editedBy ? ` by ${note.editedBy}` : ''}`
    : ''
  return [edited, words === 1 ? '1 word' : `${words} words`].filter(Boolean).join(' · ')
}

/** A causeway over still water, for an empty notebook. */
function stillWater(): SVGSVGElement {
  const picture = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  picture.setAttribute('class', 'still-water')
  picture.setAttribute('viewBox', '0 0 240 92')
  picture.setAttribute('aria-hidden', 'true')
  const arches = [20, 60, 100, 140, 180].map((x) => `M${x} 62V52a20 20 0 0 1 40 0v10`).join('')
  for (const [name, d] of [
    ['sun', 'M176 12a8 8 0 1 0 16 0 8 8 0 1 0-16 0'],
    ['stone', `M6 28h228M12 28v34M228 28v34${arches}`],
    [
      'water',
      'M4 70q9-5 18 0t18 0 18 0 18 0 18 0 18 0 18 0 18 0 18 0 18 0 18 0 18 0M40 82q9-5 18 0t18 0 18 0 18 0 18 0 18 0 18 0 18 0',
    ],
  ] as const) {
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
    path.setAttribute('class', name)
    path.setAttribute('d', d)
    picture.append(path)
  }
  return picture
}
