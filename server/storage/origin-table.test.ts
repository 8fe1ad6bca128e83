import { describe, expect, test } from 'vitest'
import { makeOrigin, type OriginId } from '../../shared/clock/dot.js'
import { incarnation } from '../../test/integration/storage/op-source.js'
import { type Origin, unfold, vectorOf } from './origin-table.js'

const name = (text: string): OriginId => makeOrigin(text[0]!, incarnation(Number(text.slice(1))))

/** `a2:5 after a1:3` */
function origins(...lines: readonly string[]): Origin[] {
  return lines.map((line, index) => {
    const [head, predecessor] = line.split(' after ')
    const [origin, seq] = head!.split(':')
    const [before, beforeSeq] = predecessor?.split(':') ?? []
    return {
      id: index + 1,
      name: name(origin!),
      own: false,
      seq: Number(seq),
      position: 0,
      chain: new Uint8Array(),
      ...(before && { predecessor: { origin: name(before), seq: Number(beforeSeq) } }),
    }
  })
}

const vector = (text: string): ReadonlyMap<OriginId, number> =>
  new Map(
    text
      .split(' ')
      .filter(Boolean)
      .map((entry) => [name(entry.split(':')[0]!), Number(entry.split(':')[1])]),
  )

describe('the vector of the heads', () => {
  test.each([
    [['a1:3'], 'a1:3'],
    [['a1:3', 'b1:2'], 'a1:3 b1:2'],
    [['a1:0', 'b1:2'], 'b1:2'], // known by name only
    [['a1:3', 'a2:5 after a1:3'], 'a2:5'],
    [['a1:3', 'a2:5 after a1:3', 'a3:6 after a2:5'], 'a3:6'],
    [['a1:4', 'a2:5 after a1:3'], 'a1:4 a2:5'], // rolled back: more is known than is implied
    [['a1:4', 'a2:5 after a1:3', 'a3:6 after a2:5'], 'a1:4 a3:6'],
    [['a1:3', 'a2:5 after a1:3', 'a3:5 after a1:3'], 'a2:5 a3:5'], // one disk image, started twice
    [['a1:3', 'a2:0 after a1:3'], 'a1:3'],
  ])('of %j is %s', (lines, expected) => {
    expect(vectorOf(origins(...lines))).toEqual(vector(expected))
  })
})

describe('unfolding', () => {
  test.each([
    ['a3:6', 'a3:6 a2:5 a1:3'],
    ['a1:4 a3:6', 'a1:4 a2:5 a3:6'],
    ['b1:1', 'b1:1'],
    ['z9:1', 'z9:1'],
    ['', ''],
  ])('of %s gives %s', (folded, expected) => {
    const all = origins('a1:3', 'a2:5 after a1:3', 'a3:6 after a2:5', 'b1:2')
    expect(unfold(vector(folded), new Map(all.map((origin) => [origin.name, origin])))).toEqual(vector(expected))
  })

  test('ends where origins name each other in a circle', () => {
    const all = origins('a1:3 after a2:9', 'a2:5 after a1:3')
    expect(unfold(vector('a2:5'), new Map(all.map((origin) => [origin.name, origin])))).toEqual(vector('a1:3 a2:9'))
  })
})
