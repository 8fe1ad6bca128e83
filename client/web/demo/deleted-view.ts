/** The dialog with the notes that were deleted, each with a way back. */
import { byId, element } from './elements.js'
import type { Note } from './notes.js'
import { timeAgo } from './times.js'

const SHOWN_NOTES = 30

let shown = ''

export function showDeleted(notes: readonly Note[], nowMs: number, restore: (id: string) => void): void {
  const rows = notes.slice(0, SHOWN_NOTES).map((note) => ({
    id: note.id,
    title: note.title || 'Untitled',
    when: note.deleted ? `Deleted ${timeAgo(note.deleted.at, nowMs)}${by(note.deleted.by)}` : '',
  }))
  // Drawn anew only when something differs: a button that has the focus keeps it.
  if (JSON.stringify(rows) === shown) return
  shown = JSON.stringify(rows)
  const items = rows.map(({ id, title, when }) => {
    const button = element('button', { type: 'button', class: 'button', 'aria-label': `Restore ${title}` }, 'Restore')
    button.addEventListener('click', () => restore(id))
    return element('li', {}, element('span', {}, element('strong', {}, title), element('small', {}, when)), button)
  })
  const nothing = element('li', { class: 'muted' }, 'Nothing was deleted.')
  byId('deleted').replaceChildren(...(items.length > 0 ? items : [nothing]))
}

function by(name: string): string {
  return name ? ` by ${name}` : ''
}
