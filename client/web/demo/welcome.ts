/**
 * The note that greets the first visitor. Two browsers may open an empty notebook at the same moment, and each sees it
 * empty. So the welcome is not written but *applied*: both build the very same update, with the same fixed client id,
 * and Yjs takes what it already knows only once, whichever order the two arrive in.
 *
 * That holds only while the content for one client id never changes. Whoever edits the text or the entry below raises
 * `WELCOME_VERSION`, from which the note's id and the client id come (a test fixes the bytes and says so).
 */
import * as Y from 'yjs'
import { excerptOf, type Notebook } from './notes.js'

const WELCOME_VERSION = 1
const WELCOME_CLIENT = 1000 + WELCOME_VERSION

export const WELCOME_ID = `welcome-${WELCOME_VERSION}`

const TITLE = 'Welcome to your team notebook'
const TEXT = `This page is *shared*. Open it in a second window, or send its address to a colleague, and type in both: you will see each other's cursors, names and words as they appear.

## Things to try

- **Change your name** or colour, at the top right
- Make a note with the button on the left
- Stop the server and keep writing: your changes wait here until it is back

## What "Saved" means

> The word *Saved* appears only after the server has written your changes to disk and said so. Until then it says how many are on their way.

Notes are plain [Markdown](https://commonmark.org/help/). This one can be edited, or deleted, like any other.
`

/** The update that puts the welcome note into an empty list: the same bytes in every browser. */
export function welcomeEntry(): Uint8Array {
  return fixedUpdate((ydoc) => {
    const entry = new Y.Map<unknown>()
    entry.set('title', TITLE)
    entry.set('excerpt', excerptOf(TEXT))
    ydoc.getMap('notes').set(WELCOME_ID, entry)
  })
}

/** The update that writes the text of the welcome note: the same bytes in every browser. */
export function welcomeText(): Uint8Array {
  return fixedUpdate((ydoc) => ydoc.getText('text').insert(0, TEXT))
}

/** Puts the welcome note into a notebook that never held any; call it only when the list is synced. */
export function welcomeFirstVisitor(notebook: Notebook): void {
  if (notebook.isUntouched) applyOnce(notebook.ydoc, welcomeEntry())
}

/** Fills the welcome note, unless it was ever filled (all its text may have been deleted since); only when synced. */
export function fillWelcomeNote(ydoc: Y.Doc): void {
  applyOnce(ydoc, welcomeText())
}

function applyOnce(ydoc: Y.Doc, update: Uint8Array): void {
  const known = Y.decodeStateVector(Y.encodeStateVector(ydoc)).has(WELCOME_CLIENT)
  if (!known) Y.applyUpdate(ydoc, update, 'welcome')
}

function fixedUpdate(write: (ydoc: Y.Doc) => void): Uint8Array {
  const ydoc = new Y.Doc()
  ydoc.clientID = WELCOME_CLIENT
  ydoc.transact(() => write(ydoc))
  return Y.encodeStateAsUpdate(ydoc)
}
