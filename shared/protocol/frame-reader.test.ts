import fc from 'fast-check'
import { createEncoder, toUint8Array, writeVarString, writeVarUint, writeVarUint8Array } from 'lib0/encoding'
import { expect, test } from 'vitest'
import { FrameReader } from './frame-reader.js'

const badMessage = expect.objectContaining({ code: 'protocol/bad-message' })

/** A frame as it arrives: a view into a larger buffer that holds somebody else's bytes. */
function withinSlab(bytes: Uint8Array): Uint8Array {
  const slab = new Uint8Array(bytes.length + 64).fill(0x41)
  slab.set(bytes, 16)
  return slab.subarray(16, 16 + bytes.length)
}

test('what lib0 writes is read back', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.uint8Array(), fc.string({ unit: 'grapheme' }), (number, bytes, text) => {
      const encoder = createEncoder()
      writeVarUint(encoder, number)
      writeVarUint8Array(encoder, bytes)
      writeVarString(encoder, text)
      const reader = new FrameReader(withinSlab(toUint8Array(encoder)))
      expect([reader.varUint(), reader.varBytes(), reader.varString(1_000_000)]).toEqual([number, bytes, text])
      expect(reader.remaining).toBe(0)
    }),
  )
})

test.each([
  ['number', [0x80], (r: FrameReader) => r.varUint()],
  ['empty number', [], (r: FrameReader) => r.varUint()],
  ['number of 2^53', [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10], (r: FrameReader) => r.varUint()],
  ['endless number', Array(20).fill(0xff), (r: FrameReader) => r.varUint()],
  ['bytes one short', [0x03, 1, 2], (r: FrameReader) => r.varBytes()],
  ['bytes of 2^32', [0x80, 0x80, 0x80, 0x80, 0x10, 1], (r: FrameReader) => r.varBytes()],
  ['broken UTF-8', [0x02, 0xc3, 0x28], (r: FrameReader) => r.varString(10)],
  ['string over its limit', [0x03, 0x61, 0x62, 0x63], (r: FrameReader) => r.varString(2)],
])('%s is a bad message, even where the buffer behind the frame goes on', (_, bytes, read) => {
  expect(() => read(new FrameReader(withinSlab(Uint8Array.from(bytes))))).toThrow(badMessage)
})

test('a cut never yields bytes from behind the frame', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1 }), fc.nat(), (bytes, at) => {
      const encoder = createEncoder()
      writeVarUint8Array(encoder, bytes)
      const whole = toUint8Array(encoder)
      const cut = whole.subarray(0, at % whole.length)
      expect(() => new FrameReader(withinSlab(cut)).varBytes()).toThrow(badMessage)
    }),
  )
})

test('bytes are a plain array, whatever kind of array the frame is', () => {
  const bytes = new FrameReader(Buffer.from([2, 7, 8])).varBytes()
  expect(Object.getPrototypeOf(bytes)).toBe(Uint8Array.prototype)
  expect(bytes).toEqual(Uint8Array.of(7, 8))
})
