import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  decodeHocuspocusMessage,
  encodeAddress,
  encodeHocuspocusMessage,
  type HocuspocusMessage,
  openEnvelope,
  PING_MESSAGE,
  parseAddress,
} from './hocuspocus.js'

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))

function decode(frame: Uint8Array): { address: string; message: HocuspocusMessage } {
  const envelope = openEnvelope(frame)
  if (envelope.type !== 'addressed') throw new Error(`no address: ${envelope.type}`)
  return { address: envelope.address, message: decodeHocuspocusMessage(envelope.body) }
}

/** Recorded bytes behind the address `doc1` (`04 64 6f 63 31`). */
const FIXTURES: readonly [string, Exclude<HocuspocusMessage, { type: 'unknown' }>][] = [
  ['00 00 01 00', { type: 'step1', stateVector: bytes('00') }],
  ['00 01 02 00 00', { type: 'step2', update: bytes('0000') }],
  ['00 02 02 00 00', { type: 'update', update: bytes('0000') }],
  ['01 01 00', { type: 'awareness', update: bytes('00') }],
  ['02 00 03 746f6b', { type: 'token', token: 'tok' }],
  ['02 00 00 05 342e382e30', { type: 'token', token: '', version: '4.8.0' }],
  ['02 00', { type: 'token-request' }],
  ['02 01 02 6e6f', { type: 'denied', reason: 'no' }],
  ['02 02 0a 726561642d7772697465', { type: 'authenticated', scope: 'read-write' }],
  ['02 02 08 726561646f6e6c79', { type: 'authenticated', scope: 'readonly' }],
  ['03', { type: 'query-awareness' }],
  ['04 01 02 00 00', { type: 'sync-reply', sync: { type: 'step2', update: bytes('0000') } }],
  ['05 02 7b7d', { type: 'stateless', payload: '{}' }],
  ['06 02 7b7d', { type: 'broadcast-stateless', payload: '{}' }],
  ['07', { type: 'close' }],
  ['07 03 627965', { type: 'close', reason: 'bye' }],
  ['08 01', { type: 'sync-status', applied: true }],
  ['08 00', { type: 'sync-status', applied: false }],
]

test.each(FIXTURES)('doc1 %s is encoded and decoded', (hex, message) => {
  const frame = bytes(`04 646f6331 ${hex}`)
  expect(encodeHocuspocusMessage('doc1', message)).toEqual(frame)
  expect(decode(frame)).toEqual({ address: 'doc1', message })
})

test('the first frame of a 4.x provider with a session of its own', () => {
  const frame = bytes('0f 646f633100 79326d39796f65626c63 02 00 03 746f6b 05 342e382e30')
  expect(decode(frame)).toEqual({
    address: 'doc1\0y2m9yoeblc',
    message: { type: 'token', token: 'tok', version: '4.8.0' },
  })
})

test('ping and pong are one byte without an address', () => {
  expect(PING_MESSAGE).toEqual(bytes('09'))
  expect(openEnvelope(bytes('09'))).toEqual({ type: 'ping' })
  expect(openEnvelope(bytes('0a'))).toEqual({ type: 'pong' })
})

test.each([
  ['doc1', 'doc1', false],
  ['doc1\0abc', 'doc1', true],
  ['a/b c\0', 'a/b c', true],
  ['\0abc', '', true],
])('address %j names the document %j; a session: %s', (address, document, isSession) => {
  expect(parseAddress(address)).toEqual({ document, isSession })
  expect(decode(Buffer.concat([encodeAddress(address), bytes('03')])).address).toBe(address)
})

test.each([
  ['empty frame', ''],
  ['empty address', '00 00'],
  ['address beyond the frame', '20 646f63'],
  ['address that is no UTF-8', '02 c328 03'],
  ['address of 1,000 bytes', `e807 ${'61'.repeat(1000)} 03`],
  ['no type', '04 646f6331'],
  ['unknown sync type', '04 646f6331 00 07'],
  ['unknown auth type', '04 646f6331 02 07'],
  ['unknown scope', '04 646f6331 02 02 01 78'],
  ['truncated token', '04 646f6331 02 00 09 74'],
  ['truncated stateless', '04 646f6331 05 ff'],
])('%s is a bad message', (_, hex) => {
  expect(() => decode(bytes(hex))).toThrow(expect.objectContaining({ code: 'protocol/bad-message' }))
})

test('an unknown type is no error', () => {
  expect(decode(bytes('04 646f6331 40 ff ff')).message).toEqual({ type: 'unknown', number: 0x40 })
})

test('whatever arrives decodes or is a bad message', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (body) => {
      try {
        decode(Buffer.concat([encodeAddress('d'), body]))
        openEnvelope(body)
      } catch (error) {
        expect(error).toMatchObject({ code: 'protocol/bad-message' })
      }
    }),
    { numRuns: 1000 },
  )
})
