import fc from 'fast-check'
import { createEncoder, toUint8Array, writeVarUint } from 'lib0/encoding'
import { expect, test } from 'vitest'
import { writePermissionDenied } from 'y-protocols/auth'
import { writeSyncStep1, writeSyncStep2, writeUpdate } from 'y-protocols/sync'
import { Doc, encodeStateAsUpdate, encodeStateVector } from 'yjs'
import { FrameReader } from './frame-reader.js'
import { decodeYMessage, encodeYMessage, STEP2_PREFIX, UPDATE_PREFIX, type YMessage } from './sync.js'

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
const decode = (frame: Uint8Array): YMessage => decodeYMessage(new FrameReader(frame))

/** Recorded bytes: when one of these changes, no published client understands us any more. */
const FIXTURES: readonly [string, Exclude<YMessage, { type: 'unknown' }>][] = [
  ['00 00 01 00', { type: 'step1', stateVector: bytes('00') }],
  ['00 01 02 00 00', { type: 'step2', update: bytes('0000') }],
  ['00 02 02 00 00', { type: 'update', update: bytes('0000') }],
  ['01 01 00', { type: 'awareness', update: bytes('00') }],
  ['02 00 03 6e6f21', { type: 'denied', reason: 'no!' }],
  ['03', { type: 'query-awareness' }],
]

test.each(FIXTURES)('%s is encoded and decoded', (hex, message) => {
  expect(encodeYMessage(message)).toEqual(bytes(hex))
  expect(decode(bytes(hex))).toEqual(message)
})

test('frames of y-protocols are understood and ours are the same bytes', () => {
  const doc = new Doc()
  doc.getText('t').insert(0, 'hello')
  const update = encodeStateAsUpdate(doc)
  const theirs = (type: number, write: (encoder: ReturnType<typeof createEncoder>) => void): Uint8Array => {
    const encoder = createEncoder()
    writeVarUint(encoder, type)
    write(encoder)
    return toUint8Array(encoder)
  }
  const pairs: [Uint8Array, Exclude<YMessage, { type: 'unknown' }>][] = [
    [theirs(0, (e) => writeSyncStep1(e, doc)), { type: 'step1', stateVector: encodeStateVector(doc) }],
    [theirs(0, (e) => writeSyncStep2(e, doc)), { type: 'step2', update }],
    [theirs(0, (e) => writeUpdate(e, update)), { type: 'update', update }],
    [theirs(2, (e) => writePermissionDenied(e, 'no')), { type: 'denied', reason: 'no' }],
  ]
  for (const [frame, message] of pairs) {
    expect(decode(frame)).toEqual(message)
    expect(encodeYMessage(message)).toEqual(frame)
  }
})

test('the prefixes are what an encoded message begins with', () => {
  const update = bytes('0000')
  expect(encodeYMessage({ type: 'update', update }).subarray(0, 2)).toEqual(UPDATE_PREFIX)
  expect(encodeYMessage({ type: 'step2', update }).subarray(0, 2)).toEqual(STEP2_PREFIX)
})

test('bytes after the message and unknown types are no error', () => {
  expect(decode(bytes('00 02 02 00 00 ff ff'))).toEqual({ type: 'update', update: bytes('0000') })
  expect(decode(bytes('70 03 61 62 63'))).toEqual({ type: 'unknown', number: 0x70 })
})

test('whatever arrives decodes or is a bad message', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (frame) => {
      try {
        decode(frame)
      } catch (error) {
        expect(error).toMatchObject({ code: 'protocol/bad-message' })
      }
    }),
    { numRuns: 1000 },
  )
})

test('a truncated message is a bad message', () => {
  for (const [hex] of FIXTURES.slice(0, 5)) {
    const frame = bytes(hex)
    for (let length = 0; length < frame.length; length++) {
      expect(() => decode(frame.subarray(0, length)), `${hex} cut at ${length}`).toThrow(
        expect.objectContaining({ code: 'protocol/bad-message' }),
      )
    }
  }
})
