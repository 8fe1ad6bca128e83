import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { encodeOpCanonical, encodeOpRecord } from '../../shared/protocol/op-codec.js'
import { incarnation, OpSource } from '../../test/integration/storage/op-source.js'
import { CHAIN_START, checksumOf, computeChain, linkColumns, linksOf, type OpRow, readOp } from './op-row.js'

const [opened, typed] = new OpSource('a', incarnation(1)).edits({ 'team/notes': 'hello' })

test('a chain value is the hash of the one before and the canonical op, and may overwrite the one before', () => {
  const expected = (before: Uint8Array, op: typeof typed): Buffer =>
    createHash('sha256').update(before).update(encodeOpCanonical(op!)).digest().subarray(0, 16)
  const chain = Uint8Array.from(CHAIN_START)
  computeChain(chain, opened!, chain)
  const first = Buffer.from(chain)
  expect(first).toEqual(expected(CHAIN_START, opened))
  computeChain(chain, typed!, chain)
  expect(Buffer.from(chain)).toEqual(expected(first, typed))
})

test('links survive their columns', () => {
  const id = fc.nat()
  fc.assert(
    fc.property(fc.array(fc.record({ document: id, previous: id }), { maxLength: 5 }), (links) => {
      expect(linksOf(linkColumns(links))).toEqual(links)
    }),
  )
})

test('any single change to a row is damage', () => {
  const columns = { position: 9, origin: 1, seq: 2, hlc: typed!.hlc, chain: new Uint8Array(16).fill(5) }
  const links = linkColumns([
    { document: 3, previous: 7 },
    { document: 4, previous: 0 },
  ])
  const record = Uint8Array.from(encodeOpRecord(typed!, () => 1))
  const { document, previous, more } = links
  const checksum = checksumOf(columns.position, document, previous, more, columns.chain, record)
  const whole: OpRow = { ...columns, ...links, record, checksum }
  const read = (changed: OpRow): unknown => readOp(changed, () => typed!.dot.origin)
  expect(read(whole)).toEqual(typed)
  const bit = fc.nat({ max: 30 })
  fc.assert(
    fc.property(
      fc.oneof(
        fc
          .tuple(fc.constantFrom('position', 'seq', 'hlc', 'document', 'previous', 'checksum'), bit)
          .map(([name, at]) => ({
            ...whole,
            [name]: Number(BigInt(whole[name as 'seq']) ^ (1n << BigInt(at))),
          })),
        fc.tuple(fc.constantFrom('chain', 'more', 'record'), fc.nat(), fc.nat({ max: 7 })).map(([name, byte, at]) => {
          const bytes = Uint8Array.from(whole[name as 'record'])
          bytes[byte % bytes.length]! ^= 1 << at
          return { ...whole, [name]: bytes }
        }),
      ),
      (changed) => {
        expect(() => read(changed as OpRow)).toThrow(
          expect.objectContaining({ name: 'DamageError', position: changed['position'] }),
        )
      },
    ),
  )
})
