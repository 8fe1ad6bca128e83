// The two stock client protocols, as much of them as a benchmark client says and hears, and the bare relay, which has
// no protocol: it passes on what it gets. A message is classified by its first bytes; its body stays where it is.
import * as encoding from 'lib0/encoding'
import * as Y from 'yjs'
import { varUint } from './varint.mjs'

/** What a message is. */
export const kinds = {
  other: 0,
  step1: 1,
  step2: 2,
  update: 3,
  ack: 4,
  refusedAck: 5,
  authenticated: 6,
  denied: 7,
  detached: 8,
}

/** The classified message; one object is reused. `start` and `end` bound the update or state vector. */
export const message = { kind: 0, start: 0, end: 0 }

const emptyDocument = new Y.Doc()
const emptyStateVector = Y.encodeStateVector(emptyDocument)
const emptyUpdate = Y.encodeStateAsUpdate(emptyDocument)

/** y-websocket: the document is the path, a message starts with its type, there are no acknowledgements. */
export const yWebsocket = {
  acknowledges: false,
  answersJoin: true,
  path: (base, document) => `${base}/${document}`,
  hello: () => [sync('', 0, emptyStateVector)],
  answerToStep1: () => sync('', 1, emptyUpdate),
  update: (_document, update) => sync('', 2, update),
  keepAlive: () => new Uint8Array([1, 1, 0]),
  read: (bytes, start, end) => readSync(bytes, start, end),
}

/** Hocuspocus: one path, every message starts with the document's name, every update is acknowledged by a SyncStatus. */
export const hocuspocus = {
  acknowledges: true,
  answersJoin: true,
  path: (base) => base || '/',
  hello: (document) => [authentication(document), sync(document, 0, emptyStateVector)],
  answerToStep1: (document) => sync(document, 1, emptyUpdate),
  update: (document, update) => sync(document, 2, update),
  keepAlive: (document) => awarenessOfNobody(document),
  read(bytes, start, end) {
    if (end - start < 2) return setMessage(kinds.other, start, end)
    const nameLength = varUint(bytes, start)
    const at = varUint.end + nameLength
    switch (bytes[at]) {
      case 0:
        return readSync(bytes, at, end)
      case 2:
        return setMessage(bytes[at + 1] === 2 ? kinds.authenticated : kinds.denied, at, end)
      case 7:
        return setMessage(kinds.detached, at, end)
      case 8:
        return setMessage(bytes[at + 1] === 1 ? kinds.ack : kinds.refusedAck, at, end)
      default:
        return setMessage(kinds.other, at, end)
    }
  },
}

/** The bare relay: y-websocket's messages, but nobody answers a join. */
export const relay = { ...yWebsocket, answersJoin: false, hello: () => [] }

export const protocols = { 'y-websocket': yWebsocket, hocuspocus, relay }

function setMessage(kind, start, end) {
  message.kind = kind
  message.start = start
  message.end = end
}

function readSync(bytes, at, end) {
  if (end - at < 3 || bytes[at] !== 0 || bytes[at + 1] > 2) return setMessage(kinds.other, at, end)
  const kind = kinds.step1 + bytes[at + 1]
  const length = varUint(bytes, at + 2)
  if (varUint.end + length > end) throw new Error('a sync message that is shorter than it says')
  return setMessage(kind, varUint.end, varUint.end + length)
}

function sync(document, type, body) {
  const encoder = encoding.createEncoder()
  if (document !== '') encoding.writeVarString(encoder, document)
  encoding.writeVarUint(encoder, 0)
  encoding.writeVarUint(encoder, type)
  encoding.writeVarUint8Array(encoder, body)
  return encoding.toUint8Array(encoder)
}

function authentication(document) {
  const encoder = encoding.createEncoder()
  encoding.writeVarString(encoder, document)
  encoding.writeVarUint(encoder, 2)
  encoding.writeVarUint(encoder, 0)
  encoding.writeVarString(encoder, '')
  encoding.writeVarString(encoder, '4.8.0')
  return encoding.toUint8Array(encoder)
}

/** An awareness message about no client at all: it shows that the connection lives and changes nothing. */
function awarenessOfNobody(document) {
  const encoder = encoding.createEncoder()
  encoding.writeVarString(encoder, document)
  encoding.writeVarUint(encoder, 1)
  encoding.writeVarUint8Array(encoder, new Uint8Array([0]))
  return encoding.toUint8Array(encoder)
}
