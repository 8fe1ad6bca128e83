import { expect, test } from 'vitest'
import { detach } from './transfer.js'

/** What arrives in another thread. */
function arrived(value: unknown, buffers: 'together' | 'apart'): unknown {
  const { message, transfer } = detach(value, buffers)
  return structuredClone(message, { transfer })
}

const pool = new Uint8Array([9, 9, 1, 2, 3, 9, 9])
const slice = pool.subarray(2, 5)
const values = {
  state: { snapshot: slice, tail: [new Uint8Array([4]), new Uint8Array(0), slice] },
  operations: [{ path: ['a', 0], value: JSON.parse('{"__proto__":{"x":1}}') }],
  nothing: undefined,
}

test.each(['together', 'apart'] as const)('bytes %s arrive as they were, and stay with the sender', (buffers) => {
  expect(arrived(values, buffers)).toEqual(values)
  expect(pool).toEqual(new Uint8Array([9, 9, 1, 2, 3, 9, 9]))
  expect(slice).toEqual(new Uint8Array([1, 2, 3]))
})

test.each(['together', 'apart'] as const)('bytes %s leave nothing behind that lies beside them', (buffers) => {
  const [copy] = arrived([slice], buffers) as [Uint8Array]
  expect([...new Uint8Array(copy.buffer)]).toEqual([1, 2, 3])
})

test('bytes together are one transfer', () => {
  expect(detach(values, 'together').transfer).toHaveLength(1)
})

test('bytes apart do not hold one another in memory', () => {
  const [small, large] = arrived([new Uint8Array(1), new Uint8Array(1_000)], 'apart') as [Uint8Array, Uint8Array]
  expect([small.buffer.byteLength, large.buffer.byteLength]).toEqual([1, 1_000])
})
