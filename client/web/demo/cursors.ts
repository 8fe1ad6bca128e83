/**
 * The cursors and selections of others in a CodeMirror editor, as relative positions in presence under `cursor`, in the
 * form that y-codemirror.next uses. Its own drawing is not used: it keeps a caret's old name after a rename, sets
 * colours through style attributes, and has no way to show a name while somebody moves and fold it away afterwards.
 *
 * Must stand behind the sync plugin in the extension list: positions are read from the shared text, which is ahead of
 * or equal to the editor's only once that plugin has written a local change.
 */
import { Annotation, type Extension, type Range } from '@codemirror/state'
import { Decoration, type DecorationSet, EditorView, ViewPlugin, type ViewUpdate, WidgetType } from '@codemirror/view'
import * as Y from 'yjs'
import { type Person, readPerson } from './people.js'
import type { SharedDocument } from './shared-document.js'

type Awareness = SharedDocument['awareness']

interface Caret {
  readonly person: Person
  readonly anchor: number
  readonly head: number
  /** Rises with each move of its owner, not when text elsewhere shifts it: a move shows the name again. */
  readonly moves: number
}

const presenceChanged = Annotation.define<true>()

export function sharedCursors(text: Y.Text, awareness: Awareness): Extension {
  return [
    ViewPlugin.define((view) => new RemoteCarets(view, text, awareness), {
      decorations: (plugin) => plugin.decorations,
    }),
    EditorView.updateListener.of((update) => publishCursor(update, text, awareness)),
  ]
}

function publishCursor(update: ViewUpdate, text: Y.Text, awareness: Awareness): void {
  const moved = update.selectionSet || update.focusChanged || update.docChanged
  if (!moved || !update.view.hasFocus) return
  const { anchor, head } = update.state.selection.main
  const cursor = { anchor: encode(text, anchor), head: encode(text, head) }
  const before: unknown = awareness.getLocalState()?.['cursor']
  if (JSON.stringify(before) !== JSON.stringify(cursor)) awareness.setLocalStateField('cursor', cursor)
}

function encode(text: Y.Text, index: number): unknown {
  return Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text, index))
}

class RemoteCarets {
  decorations: DecorationSet = Decoration.none
  private readonly text: Y.Text
  private readonly awareness: Awareness
  private readonly stopListening: () => void
  private readonly lastMoves = new Map<number, { cursor: string; moves: number }>()

  constructor(view: EditorView, text: Y.Text, awareness: Awareness) {
    this.text = text
    this.awareness = awareness
    const onChange = ({ added, updated, removed }: { added: number[]; updated: number[]; removed: number[] }): void => {
      const others = [...added, ...updated, ...removed].some((clientId) => clientId !== awareness.clientID)
      if (others) view.dispatch({ annotations: presenceChanged.of(true) })
    }
    awareness.on('change', onChange)
    this.stopListening = () => awareness.off('change', onChange)
    this.decorations = this.draw(view)
  }

  update(update: ViewUpdate): void {
    const presence = update.transactions.some((transaction) => transaction.annotation(presenceChanged))
    if (update.docChanged || presence) this.decorations = this.draw(update.view)
    if (update.docChanged || presence || update.geometryChanged) flipNames(update.view)
  }

  destroy(): void {
    this.stopListening()
  }

  private draw(view: EditorView): DecorationSet {
    const ranges: Range<Decoration>[] = []
    for (const [clientId, state] of this.awareness.getStates()) {
      const caret = clientId === this.awareness.clientID ? undefined : this.readCaret(clientId, state, view)
      if (!caret) continue
      const from = Math.min(caret.anchor, caret.head)
      const to = Math.max(caret.anchor, caret.head)
      if (from < to) ranges.push(selectionMark(caret.person.color).range(from, to))
      const side = caret.head > caret.anchor ? -1 : 1
      ranges.push(Decoration.widget({ side, widget: new CaretWidget(caret.person, caret.moves) }).range(caret.head))
    }
    return Decoration.set(ranges, true)
  }

  /** Positions may point at text that has not arrived yet, or be nonsense: then there is no caret. */
  private readCaret(clientId: number, state: Record<string, unknown>, view: EditorView): Caret | undefined {
    const person = readPerson(state['user'])
    const cursor = state['cursor'] as { anchor?: unknown; head?: unknown } | null | undefined
    if (!person || !cursor) return undefined
    const anchor = this.decode(cursor.anchor, view)
    const head = this.decode(cursor.head, view)
    if (anchor === undefined || head === undefined) return undefined
    const before = this.lastMoves.get(clientId)
    const moved = JSON.stringify(cursor)
    const moves = before?.cursor === moved ? before.moves : (before?.moves ?? 0) + 1
    this.lastMoves.set(clientId, { cursor: moved, moves })
    return { person, anchor, head, moves }
  }

  private decode(position: unknown, view: EditorView): number | undefined {
    try {
      const relative = Y.createRelativePositionFromJSON(position)
      const absolute = this.text.doc && Y.createAbsolutePositionFromRelativePosition(relative, this.text.doc)
      if (absolute?.type !== this.text) return undefined
      return Math.min(absolute.index, view.state.doc.length)
    } catch {
      return undefined
    }
  }
}

/** A name that would run out of the editor stands to the left of its caret. */
function flipNames(view: EditorView): void {
  view.requestMeasure({
    key: flipNames,
    read: () => {
      const edge = view.dom.getBoundingClientRect().right
      return [...view.contentDOM.querySelectorAll<HTMLElement>('.remote-caret')].map((caret) => {
        const width = caret.querySelector<HTMLElement>('.remote-name')?.offsetWidth ?? 0
        return { caret, flipped: caret.getBoundingClientRect().left + width > edge }
      })
    },
    write: (carets) => {
      for (const { caret, flipped } of carets) caret.classList.toggle('flipped', flipped)
    },
  })
}

function selectionMark(color: string): Decoration {
  return Decoration.mark({ class: 'remote-selection', attributes: { style: `--person: ${color}` } })
}

class CaretWidget extends WidgetType {
  private readonly person: Person
  private readonly moves: number

  constructor(person: Person, moves: number) {
    super()
    this.person = person
    this.moves = moves
  }

  override eq(other: CaretWidget): boolean {
    return (
      other.person.name === this.person.name && other.person.color === this.person.color && other.moves === this.moves
    )
  }

  override toDOM(): HTMLElement {
    const caret = document.createElement('span')
    caret.className = 'remote-caret'
    caret.ariaHidden = 'true'
    caret.style.setProperty('--person', this.person.color)
    const name = document.createElement('span')
    name.className = 'remote-name'
    name.textContent = this.person.name
    // Word joiners: a line must not break beside a caret.
    caret.append('\u2060', name, '\u2060')
    return caret
  }

  override ignoreEvent(): boolean {
    return true
  }
}
