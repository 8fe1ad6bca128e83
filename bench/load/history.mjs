// A long editing history as Yjs updates, one per keystroke: from a recorded trace, or typed by a seeded program. It is
// made once per run and kept in a file, so that every server gets the same bytes and nobody waits for Yjs.
import { readFileSync, writeFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import * as Y from 'yjs'
import { seeded } from './updates.mjs'

export const historyClient = 3_777_777_777

/**
 * Makes the history and writes it to `file`.
 * @param trace a recorded trace (`.json` or `.json.gz` of `{startContent, endContent, txns: [{patches: [[position,
 *   deleted, inserted]]}]}`), or undefined for a typed text
 * @param limit number of edits at most
 * @returns `{source, edits, stateBytes, updateBytes, textLength, clock}`
 */
export function makeHistory({ trace, limit, file }) {
  const recorded = trace ? readTrace(trace) : typedTrace(limit)
  const doc = new Y.Doc()
  doc.clientID = historyClient
  const text = doc.getText('text')
  const updates = []
  const clocks = []
  doc.on('update', (update) => {
    updates.push(Buffer.from(update))
    clocks.push(Y.getState(doc.store, historyClient))
  })
  if (recorded.startContent) text.insert(0, recorded.startContent)
  for (const { patches } of recorded.txns.slice(0, limit)) {
    doc.transact(() => {
      for (const [position, deleted, inserted] of patches) {
        if (deleted > 0) text.delete(position, deleted)
        if (inserted) text.insert(position, inserted)
      }
    })
  }
  const content = text.toString()
  if (limit >= recorded.txns.length && recorded.endContent !== undefined && content !== recorded.endContent) {
    throw new Error('the trace does not lead to its own end content')
  }
  const state = Buffer.from(Y.encodeStateAsUpdate(doc))
  const blob = Buffer.concat([state, Buffer.from(content), ...updates])
  const lengths = updates.map((update) => update.length)
  writeFileSync(file, blob)
  const about = {
    source: trace ? 'recorded trace' : 'typed by the benchmark',
    edits: updates.length,
    stateBytes: state.length,
    contentBytes: Buffer.byteLength(content),
    updateBytes: lengths.reduce((sum, length) => sum + length, 0),
    textLength: content.length,
    clock: clocks.at(-1),
  }
  writeFileSync(`${file}.json`, JSON.stringify({ about, lengths, clocks }))
  return about
}

/** @returns `{about, state, content, updates, clocks}`; `clocks[i]` is the client's next clock after update i */
export function readHistory(file) {
  const { about, lengths, clocks } = JSON.parse(readFileSync(`${file}.json`, 'utf8'))
  const blob = readFileSync(file)
  const contentStart = about.stateBytes
  let at = contentStart + about.contentBytes
  const content = blob.toString('utf8', contentStart, at)
  const updates = lengths.map((length) => {
    at += length
    return blob.subarray(at - length, at)
  })
  return { about, state: blob.subarray(0, contentStart), content, updates, clocks: Uint32Array.from(clocks) }
}

function readTrace(file) {
  const bytes = readFileSync(file)
  return JSON.parse((bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString('utf8'))
}

/** A text typed in runs, with moves of the cursor and deletions: about two insertions to one deletion. */
function typedTrace(edits) {
  const random = seeded(260_000)
  const txns = []
  let length = 0
  let cursor = 0
  let remaining = 0
  let deletes = false
  for (let i = 0; i < edits; i++) {
    if (remaining === 0) {
      if (random() < 0.3) cursor = Math.floor(random() * (length + 1))
      deletes = random() < 0.4 && cursor > 40
      remaining = 1 + Math.floor(random() * (deletes ? 20 : 30))
    }
    remaining--
    if (deletes && cursor > 0) {
      txns.push({ patches: [[--cursor, 1, '']] })
      length--
    } else {
      const letter = random() < 0.17 ? ' ' : String.fromCharCode(97 + Math.floor(random() * 26))
      txns.push({ patches: [[cursor++, 0, letter]] })
      length++
    }
  }
  return { startContent: '', txns }
}
