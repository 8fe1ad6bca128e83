/** The text of one note in CodeMirror: Markdown, shared text and undo from y-codemirror.next, our own remote cursors. */
import { defaultKeymap } from '@codemirror/commands'
import { deleteMarkupBackward, insertNewlineContinueMarkup, markdownLanguage } from '@codemirror/lang-markdown'
import { Compartment, EditorSelection, EditorState, type StateCommand } from '@codemirror/state'
import { drawSelection, EditorView, keymap, placeholder } from '@codemirror/view'
import { yCollab, yUndoManagerKeymap } from 'y-codemirror.next'
import { sharedCursors } from './cursors.js'
import { markdownLook } from './markdown-look.js'
import type { OpenNote } from './workspace.js'

export interface NoteEditor {
  readonly view: EditorView
  setWritable(writable: boolean): void
  destroy(): void
}

/** Shows `note` inside `parent`; `leave` is called when Escape is pressed in the text. */
export function createNoteEditor(parent: HTMLElement, note: OpenNote, leave: () => void): NoteEditor {
  const writability = new Compartment()
  const writable = (is: boolean) => [EditorState.readOnly.of(!is), EditorView.editable.of(is)]
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: note.text.toString(),
      extensions: [
        keymap.of([
          { key: 'Escape', run: runAlways(leave) },
          { key: 'Mod-b', run: toggleAround('**') },
          { key: 'Mod-i', run: toggleAround('*') },
          { key: 'Enter', run: insertNewlineContinueMarkup },
          { key: 'Backspace', run: deleteMarkupBackward },
          ...yUndoManagerKeymap,
          // Not there: Mod-/ (comments), which lists the shortcuts on this page.
          ...defaultKeymap.filter((binding) => binding.key !== 'Mod-/'),
        ]),
        markdownLanguage,
        markdownLook(),
        drawSelection(),
        EditorView.lineWrapping,
        placeholder('Write something. # makes a heading, - a list.'),
        EditorView.contentAttributes.of({ 'aria-label': 'Text of the note', spellcheck: 'true', autocorrect: 'on' }),
        writability.of(writable(note.isWritable)),
        yCollab(note.text, null, { undoManager: note.undoManager }),
        sharedCursors(note.text, note.document.awareness),
      ],
    }),
  })
  const cursor = Math.min(note.cursor, view.state.doc.length)
  view.dispatch({ selection: { anchor: cursor } })
  return {
    view,
    setWritable(is) {
      if (view.state.readOnly === is) view.dispatch({ effects: writability.reconfigure(writable(is)) })
    },
    destroy() {
      note.cursor = view.state.selection.main.head
      view.destroy()
    },
  }
}

function runAlways(action: () => void): () => boolean {
  return () => {
    action()
    return true
  }
}

/** Puts `mark` around each selection, or takes it away where it is. */
function toggleAround(mark: string): StateCommand {
  return ({ state, dispatch }) => {
    if (state.readOnly) return false
    const changes = state.changeByRange(({ from, to }) => {
      if (isMarked(state, from, to, mark.length)) {
        return {
          changes: [
            { from: from - mark.length, to: from },
            { from: to, to: to + mark.length },
          ],
          range: EditorSelection.range(from - mark.length, to - mark.length),
        }
      }
      return {
        changes: [
          { from, insert: mark },
          { from: to, insert: mark },
        ],
        range: EditorSelection.range(from + mark.length, to + mark.length),
      }
    })
    dispatch(state.update(changes, { userEvent: 'input' }))
    return true
  }
}

/** One star on both sides is italic, two are bold, three are both. */
function isMarked(state: EditorState, from: number, to: number, stars: number): boolean {
  const before = /\**$/.exec(state.sliceDoc(Math.max(0, from - 3), from))![0].length
  const after = /^\**/.exec(state.sliceDoc(to, to + 3))![0].length
  const both = Math.min(before, after)
  return both === 3 || both === stars
}
