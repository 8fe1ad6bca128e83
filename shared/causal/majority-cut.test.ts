import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dotOf, originOf, showVector, vectorOf } from '../../test/support/causal-text.js'
import { Lineages } from '../clock/lineages.js'
import type { VersionVector } from '../clock/version-vector.js'
import { heldByCount, MajorityCut, majorityOf } from './majority-cut.js'

/** `a2:6<a1:5`: a2 opens at 6 and names a1:5. */
const lineagesOf = (text: string): Lineages => {
  const lineages = new Lineages()
  for (const statement of text.split(' ').filter(Boolean)) {
    const [dot = '', predecessor] = statement.split('<')
    lineages.learnOpening(dotOf(dot), predecessor === undefined ? undefined : dotOf(predecessor))
  }
  return lineages
}

test.each([
  // members, a majority
  [1, 1],
  [2, 2],
  [3, 2],
  [4, 3],
  [5, 3],
  [7, 4],
])('of %i members, %i are a majority', (members, majority) => expect(majorityOf(members)).toBe(majority))

test.each([
  // openings, durable vectors, U
  ['', ['a1:5 b1:2', 'a1:3 b1:2', 'a1:4'], 'a1:4 b1:2'],
  ['', ['a1:5', '', ''], ''],
  ['', ['a1:5'], 'a1:5'],
  ['', ['a1:9', 'a1:8', 'a1:3', 'a1:2', 'a1:1'], 'a1:3'],
  ['a2:6<a1:5', ['a2:8', 'a1:5', ''], 'a1:5'],
  ['a2:6<a1:5', ['a2:8', 'a1:4', ''], 'a1:4'],
  ['a2:6<a1:5', ['a2:8', 'a2:7', 'a1:2'], 'a2:7'],
  ['a2:6<a1:5', ['a1:7 a2:8', 'a1:6 a2:7', 'a1:2'], 'a1:6 a2:7'],
  // Two copies of one disk: what both imply is written in neither vector.
  ['a2:6<a1:5 a3:4<a1:3', ['a2:8', 'a3:4', ''], 'a1:3'],
  ['a2:6<a1:5 a3:9<a2:8', ['a3:9', 'a1:5', ''], 'a1:5'],
])('with %s, of %j a majority holds %s', (openings, durable, expected) => {
  const vectors = durable.map(vectorOf)
  expect(showVector(heldByCount(vectors, majorityOf(vectors.length), lineagesOf(openings)))).toBe(expected)
})

describe('laws', () => {
  const ORIGINS = ['a1', 'a2', 'a3', 'b1'].map(originOf)
  const openings = fc.constantFrom(lineagesOf(''), lineagesOf('a2:3<a1:2 a3:6<a2:5'), lineagesOf('a2:3<a1:2 a3:5<a1:4'))
  const vector: fc.Arbitrary<VersionVector> = fc
    .uniqueArray(fc.tuple(fc.constantFrom(...ORIGINS), fc.integer({ min: 1, max: 8 })), { selector: ([name]) => name })
    .map((entries) => new Map(entries))

  test('U is the majority-th largest of what the vectors imply', () => {
    fc.assert(
      fc.property(openings, fc.array(vector, { minLength: 1, maxLength: 5 }), (lineages, vectors) => {
        const count = majorityOf(vectors.length)
        const cut = heldByCount(vectors, count, lineages)
        for (const origin of ORIGINS) {
          const values = vectors.map((each) => lineages.unfold(each).get(origin) ?? 0).sort((x, y) => y - x)
          expect(lineages.valueIn(cut, origin)).toBe(values[count - 1])
        }
      }),
    )
  })

  test('[DU2] as announced, U never goes down, and each step of it was held by a majority of that moment', () => {
    const report = fc.record({
      name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      durable: fc.option(vector, { nil: undefined }),
      active: fc.option(fc.subarray(['a', 'b', 'c', 'd', 'e'], { minLength: 1 }), { nil: undefined }),
    })
    fc.assert(
      fc.property(openings, fc.array(report, { maxLength: 12 }), (lineages, reports) => {
        const majority = new MajorityCut(lineages)
        let active = ['a', 'b', 'c']
        const durable = new Map<string, VersionVector>()
        let last: VersionVector = majority.cut
        const check = (advanced: boolean): void => {
          expect(lineages.dominates(majority.cut, last)).toBe(true)
          expect(advanced).toBe(!lineages.dominates(last, majority.cut))
          for (const [origin, seq] of majority.cut) {
            if (lineages.includes(last, { origin, seq })) continue
            const holders = active.filter((name) => lineages.includes(durable.get(name) ?? new Map(), { origin, seq }))
            expect(holders.length).toBeGreaterThanOrEqual(majorityOf(active.length))
          }
          last = majority.cut
        }
        check(majority.setActive(new Set(active)))
        for (const { name, durable: vector, active: names } of reports) {
          if (vector) durable.set(name, vector)
          else durable.delete(name)
          check(majority.report(name, vector))
          if (!names) continue
          active = names
          check(majority.setActive(new Set(names)))
        }
      }),
    )
  })
})

test('[DU2] who is recovering counts for nothing new, and takes nothing back', () => {
  const majority = new MajorityCut(new Lineages())
  majority.setActive(new Set(['a', 'b', 'c']))
  majority.report('a', vectorOf('a1:5'))
  expect(majority.report('b', vectorOf('a1:4'))).toBe(true)
  majority.report('b', undefined)
  expect(majority.report('a', vectorOf('a1:9'))).toBe(false)
  expect(showVector(majority.cut)).toBe('a1:4')
  expect(majority.report('c', vectorOf('a1:7'))).toBe(true)
  expect(showVector(majority.cut)).toBe('a1:7')
})

test('[DU2] a larger membership takes nothing back', () => {
  const majority = new MajorityCut(new Lineages())
  majority.setActive(new Set(['a']))
  majority.report('a', vectorOf('a1:5'))
  expect(majority.setActive(new Set(['a', 'b', 'c']))).toBe(false)
  expect(showVector(majority.cut)).toBe('a1:5')
})

test('[DU2] what counts is what active members have, as long as they lack nothing', () => {
  const majority = new MajorityCut(new Lineages())
  majority.setActive(new Set(['a', 'b', 'c']))
  majority.report('a', vectorOf('a1:5'))
  majority.report('b', vectorOf('a1:4'))
  majority.report('x', vectorOf('a1:9')) // no member
  expect(majority.held.map((vector) => showVector(vector))).toEqual(['a1:5', 'a1:4'])
  majority.report('b', undefined)
  expect(majority.held.map((vector) => showVector(vector))).toEqual(['a1:5'])
})
