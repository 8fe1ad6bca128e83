import fc from 'fast-check'
import * as encoding from 'lib0/encoding'
import { expect, test } from 'vitest'
import { OpWriter } from './op-writer.js'

const integer = fc.oneof(fc.nat(), fc.maxSafeNat(), fc.constantFrom(0, 63, 64, 127, 128, 2 ** 31, 2 ** 32, 2 ** 53 - 1))
const step = fc.oneof(
  fc.tuple(fc.constant('byte' as const), fc.nat({ max: 255 })),
  fc.tuple(fc.constant('varUint' as const), integer),
  fc.tuple(
    fc.constant('varInt' as const),
    fc.oneof(
      integer,
      integer.map((value) => 0 - value),
    ),
  ),
  fc.tuple(
    fc.constant('text' as const),
    fc.oneof(fc.string({ unit: 'binary', maxLength: 300 }), fc.string({ maxLength: 140 })),
  ),
  fc.tuple(fc.constant('varBytes' as const), fc.uint8Array({ maxLength: 200 })),
  fc.tuple(
    fc.constant('raw' as const),
    fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.constant(new Uint8Array(9_000).fill(7))),
  ),
)

const LIB0 = {
  byte: encoding.writeUint8,
  varUint: encoding.writeVarUint,
  varInt: encoding.writeVarInt,
  text: encoding.writeVarString,
  varBytes: encoding.writeVarUint8Array,
  raw: encoding.writeUint8Array,
}

test('writes what lib0 writes, also when it has been used before', () => {
  const writer = new OpWriter()
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      writer.reset()
      const encoder = encoding.createEncoder()
      for (const [kind, value] of steps) {
        const write = LIB0[kind] as (to: encoding.Encoder, value: unknown) => void
        write(encoder, value)
        const own = writer[kind] as (value: unknown) => void
        own.call(writer, value)
      }
      const expected = encoding.toUint8Array(encoder)
      expect(writer.view()).toEqual(expected)
      expect(writer.take()).toEqual(expected)
    }),
  )
})

test('what was taken is the caller’s own, what was viewed holds until the next write', () => {
  const writer = new OpWriter()
  writer.text('first')
  const [taken, viewed] = [writer.take(), writer.view()]
  writer.reset().text('other')
  expect(new TextDecoder().decode(taken.subarray(1))).toBe('first')
  expect(new TextDecoder().decode(viewed.subarray(1))).toBe('other')
  expect(taken.buffer.byteLength).toBe(taken.length)
})
