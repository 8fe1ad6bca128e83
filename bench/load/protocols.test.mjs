import * as encoding from 'lib0/encoding'
import { expect, test } from 'vitest'
import * as sync from 'y-protocols/sync'
import * as Y from 'yjs'
import { hocuspocus, kinds, message, yWebsocket } from './protocols.mjs'

const doc = new Y.Doc()
doc.getText('text').insert(0, 'x'.repeat(300))
const update = Y.encodeStateAsUpdate(doc)

/** A message as a server writes it, with the document's name in front for Hocuspocus. */
function written(name, write) {
  const encoder = encoding.createEncoder()
  if (name) encoding.writeVarString(encoder, name)
  write(encoder)
  return encoding.toUint8Array(encoder)
}
const syncMessage = (name, write) =>
  written(name, (encoder) => {
    encoding.writeVarUint(encoder, 0)
    write(encoder)
  })
const typed = (type, ...bytes) =>
  written('a/long name', (encoder) => {
    encoding.writeVarUint(encoder, type)
    for (const byte of bytes) encoding.writeUint8(encoder, byte)
  })

test.each([
  // protocol, message, kind, body
  [yWebsocket, syncMessage('', (e) => sync.writeSyncStep1(e, doc)), 'step1', Y.encodeStateVector(doc)],
  [yWebsocket, syncMessage('', (e) => sync.writeSyncStep2(e, doc)), 'step2', update],
  [yWebsocket, syncMessage('', (e) => sync.writeUpdate(e, update)), 'update', update],
  [yWebsocket, new Uint8Array([1, 1, 0]), 'other', undefined],
  [hocuspocus, syncMessage('a/long name', (e) => sync.writeSyncStep1(e, doc)), 'step1', Y.encodeStateVector(doc)],
  [hocuspocus, syncMessage('a/long name', (e) => sync.writeUpdate(e, update)), 'update', update],
  [hocuspocus, typed(2, 2, 2, 0x72, 0x77), 'authenticated', undefined],
  [hocuspocus, typed(2, 1, 1, 0x78), 'denied', undefined],
  [hocuspocus, typed(7, 1, 0x78), 'detached', undefined],
  [hocuspocus, typed(8, 1), 'ack', undefined],
  [hocuspocus, typed(8, 0), 'refusedAck', undefined],
  [hocuspocus, new Uint8Array([9]), 'other', undefined],
])('message %# is read as what it is', (protocol, bytes, kind, body) => {
  const padded = Buffer.concat([Buffer.from([9, 9]), bytes])
  protocol.read(padded, 2, padded.length)
  expect(message.kind).toBe(kinds[kind])
  if (body) expect(padded.subarray(message.start, message.end)).toEqual(Buffer.from(body))
})

test.each([yWebsocket, hocuspocus])('what a client sends is read back by the same protocol', (protocol) => {
  const sent = Buffer.from(protocol.update('doc', update))
  protocol.read(sent, 0, sent.length)
  expect(message.kind).toBe(kinds.update)
  expect(sent.subarray(message.start, message.end)).toEqual(Buffer.from(update))
})
