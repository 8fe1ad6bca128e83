import { createEncoder, toUint8Array, writeUint8, writeVarString, writeVarUint } from 'lib0/encoding'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { CausewayError } from '../../shared/errors/error.js'
import { KnownState } from '../../shared/update/known-state.js'
import { compact } from './compact.js'
import { view } from './view.js'

type Encoder = ReturnType<typeof createEncoder>

function bytes(write: (encoder: Encoder) => void): Uint8Array {
  const encoder = createEncoder()
  write(encoder)
  return toUint8Array(encoder)
}

/** Client 1 writes `hello`, client 2 ` world` behind it, as one update with the blocks in the order given. */
function twoClients(order: (1 | 2)[]): Uint8Array {
  const blocks = {
    1: (encoder: Encoder) => {
      for (const number of [1, 1, 0]) writeVarUint(encoder, number)
      writeUint8(encoder, 4)
      writeVarUint(encoder, 1)
      writeVarString(encoder, 'text')
      writeVarString(encoder, 'hello')
    },
    2: (encoder: Encoder) => {
      for (const number of [1, 2, 0]) writeVarUint(encoder, number)
      writeUint8(encoder, 4 | 0x80)
      for (const number of [1, 4]) writeVarUint(encoder, number)
      writeVarString(encoder, ' world')
    },
  }
  return bytes((encoder) => {
    writeVarUint(encoder, order.length)
    for (const client of order) blocks[client](encoder)
    writeVarUint(encoder, 0)
  })
}

test('updates that list their clients in ascending order lose nothing', () => {
  const ascending = compact({ snapshot: undefined, tail: [twoClients([1, 2])] })
  const descending = compact({ snapshot: undefined, tail: [twoClients([2, 1])] })
  expect(view({ snapshot: ascending.update, tail: [] })).toBe('{"text":"hello world"}')
  expect(ascending).toEqual(descending)

  const later = compact({ snapshot: twoClients([1]), tail: [twoClients([1, 2])] })
  expect(later).toEqual(ascending)
})

/** An embed or format whose value loads and cannot be written again. */
const deepJson = '['.repeat(30_000) + ']'.repeat(30_000)
const item = (write: (encoder: Encoder) => void): Uint8Array =>
  bytes((encoder) => {
    for (const number of [1, 1, 9, 0]) writeVarUint(encoder, number)
    write(encoder)
    writeVarUint(encoder, 0)
  })
const inText = (ref: number, content: string[]): Uint8Array =>
  item((encoder) => {
    writeUint8(encoder, ref)
    writeVarUint(encoder, 1)
    for (const text of ['text', ...content]) writeVarString(encoder, text)
  })

test.each([
  ['an embed nested too deep to be written', inText(5, [deepJson]), 'failed to walk'],
  ['a format nested too deep to be written', inText(6, ['bold', deepJson]), 'failed to walk'],
  ['a struct without length', item((e) => [writeUint8(e, 0), writeVarUint(e, 0)]), expect.any(String)],
  ['an update with a gap', twoClients([2]), 'failed to load'],
  ['a delete of what nobody wrote', new Uint8Array([0, 1, 1, 1, 5, 3]), 'failed to load'],
  ['bytes that are no update', new Uint8Array([1, 1, 1, 0, 4, 1]), 'failed to load'],
])('%s makes compaction refuse, and the state is what it was', (_what, poison, reason) => {
  const state = { snapshot: new Uint8Array([0, 0]), tail: [poison] }
  const before = structuredClone(state)
  try {
    compact(state)
    expect.unreachable()
  } catch (error) {
    expect(error).toBeInstanceOf(CausewayError)
    expect(error).toMatchObject({ code: 'document/uncompactable', details: { reason } })
  }
  expect(state).toEqual(before)
})

test('deleted content is gone from the compacted bytes', () => {
  const doc = new Y.Doc({ gc: false })
  doc.getText('text').insert(0, 'a secret that was deleted')
  doc.getText('text').delete(2, 6)
  const full = Y.encodeStateAsUpdate(doc)
  const { update } = compact({ snapshot: full, tail: [] })
  expect(Buffer.from(full).includes('secret')).toBe(true)
  expect(Buffer.from(update).includes('secret')).toBe(false)
})

test('a document that nobody wrote is an empty update', () => {
  expect(compact({ snapshot: undefined, tail: [] })).toMatchObject({
    update: new Uint8Array([0, 0]),
    known: new KnownState().encode(),
  })
})
