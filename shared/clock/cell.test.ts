import { expect, test } from 'vitest'
import { FrameReader } from '../protocol/frame-reader.js'
import { OpWriter } from '../protocol/op-writer.js'
import { type CellId, type CellIdentity, compareCells, formatCell, readCell, writeCell } from './cell.js'

const cellOf = (cell: string, ordinal: number, id: string): CellIdentity => {
  return { cell: cell.repeat(32) as CellId, epoch: { ordinal, id: id.repeat(16) } }
}

test.each([
  ['1', 2, 'a', 'same'],
  ['1', 1, 'a', 'older'],
  ['1', 3, 'b', 'newer'],
  ['1', 2, 'b', 'foreign'], // recovered on both sides of a split
  ['2', 2, 'a', 'foreign'],
])('to epoch 2.a of cell 1, cell %s in epoch %i.%s is %s', (cell, ordinal, id, expected) => {
  expect(compareCells(cellOf('1', 2, 'a'), cellOf(cell, ordinal, id))).toBe(expected)
})

test('an identity is read as it was written, and people see its beginning', () => {
  const out = new OpWriter()
  writeCell(out, cellOf('c', 300, 'd'))
  expect(readCell(new FrameReader(out.take()))).toEqual(cellOf('c', 300, 'd'))
  expect(formatCell(cellOf('c', 300, 'd'))).toBe('cccccccc/300.dddd')
  out.reset()
  writeCell(out, cellOf('c', 0, 'd'))
  expect(() => readCell(new FrameReader(out.take()))).toThrow(expect.objectContaining({ code: 'protocol/bad-message' }))
})
