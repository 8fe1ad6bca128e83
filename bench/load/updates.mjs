// The edits that clients send, made by Yjs before the timed part and kept as ready frames in one buffer. Client ids are
// of the size that Yjs draws (32 bits), since they are a good part of a small update.
import * as Y from 'yjs'
import { clientFrame } from './frames.mjs'
import { protocols } from './protocols.mjs'

/** A small seeded generator (mulberry32), so that every server of every round gets the same edits. */
export function seeded(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** `count` updates of one typist who appends one character each: clock k is the k-th update. */
export function typedUpdates(client, count) {
  const random = seeded(client)
  const doc = new Y.Doc()
  doc.clientID = client
  const text = doc.getText('text')
  const updates = []
  doc.on('update', (update) => updates.push(update))
  for (let i = 0; i < count; i++) text.insert(i, String.fromCharCode(97 + Math.floor(random() * 26)))
  return updates
}

/** One update that brings a text of `length` characters. */
export function textUpdate(client, length) {
  const random = seeded(client)
  const doc = new Y.Doc()
  doc.clientID = client
  doc.getText('text').insert(0, Array.from({ length }, () => String.fromCharCode(97 + random() * 26)).join(''))
  return Y.encodeStateAsUpdate(doc)
}

/** The frame that sends `update` to `document`. */
export function updateFrame(target, document, update) {
  return clientFrame(protocols[target.protocol].update(document, update))
}

/** Frames back to back in one buffer: one of them, or a run of them, can be written without copying. */
export class Frames {
  #bytes
  #offsets

  /** @param list buffers, in sending order */
  constructor(list) {
    this.#bytes = Buffer.concat(list)
    this.#offsets = new Uint32Array(list.length + 1)
    for (let i = 0; i < list.length; i++) this.#offsets[i + 1] = this.#offsets[i] + list[i].length
  }

  static of(target, document, updates) {
    return new Frames(updates.map((update) => updateFrame(target, document, update)))
  }

  get length() {
    return this.#offsets.length - 1
  }

  /** Frame `index`, or the frames from `index` up to `end`. */
  slice(index, end = index + 1) {
    return this.#bytes.subarray(this.#offsets[index], this.#offsets[end])
  }
}
