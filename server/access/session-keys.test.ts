import { expect, test } from 'vitest'
import type { CellId } from '../../shared/clock/cell.js'
import { createSessionKeys } from './session-keys.js'

const CELL = '0f'.repeat(16) as CellId
const bytes = new TextEncoder().encode('a token')
const macOf = (source: Parameters<typeof createSessionKeys>[0]) => {
  const keys = createSessionKeys(source)
  return Buffer.from(keys.mac(keys.current, bytes)!).toString('hex')
}

test('every replica of a cell has the same key, and keeps it from version to version', () => {
  expect(macOf({ cell: CELL, secret: 'a cell secret' })).toMatchInlineSnapshot(
    `"130f8d2029abaddd93c495b22d108daf522c46351b2ed9e38e2d3e83b63d8d0f"`,
  )
  expect(macOf({ cell: CELL })).toMatchInlineSnapshot(
    `"5d4a2c15ce09d3f0cf8ae28afd6769e6d3c677f8e1d4978acdc893873544b3f0"`,
  )
})

test('[SEC] another secret, another cell, and no secret have other keys', () => {
  const other = 'f0'.repeat(16) as CellId
  const macs = [
    macOf({ cell: CELL, secret: 'a cell secret' }),
    macOf({ cell: CELL, secret: 'another secret' }),
    macOf({ cell: other, secret: 'a cell secret' }),
    macOf({ cell: CELL }),
    macOf({ cell: other }),
    macOf({ cell: CELL, secret: CELL }),
  ]
  expect(new Set(macs).size).toBe(macs.length)
})

test('[SEC] where there is a secret, no token counts that was signed by what clients may know', () => {
  const open = createSessionKeys({ cell: CELL })
  const secret = createSessionKeys({ cell: CELL, secret: 'a cell secret' })
  expect(secret.mac(open.current, bytes)).toBeUndefined()
  expect(open.mac(secret.current, bytes)).toBeUndefined()
})
