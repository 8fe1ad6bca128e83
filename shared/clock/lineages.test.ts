import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dotOf, originOf, showVector, vectorOf } from '../../test/support/causal-text.js'
import { COORDINATION_NAME, type Dot, makeOrigin, type OriginId } from './dot.js'
import { countLineages, LINEAGES_ALARM, LINEAGES_LIMIT, Lineages } from './lineages.js'
import { EMPTY_VECTOR, maxVector, sameVector, type VersionVector } from './version-vector.js'

/** `a2:11<a1:10`: the incarnation a2 opens at 11 and names a1:10. `coord1:5=a1:9`: the entry coord1:5 retires a1 at 9. */
const lineagesOf = (text: string): Lineages => {
  const lineages = new Lineages()
  for (const statement of text.split(' ').filter(Boolean)) {
    const [left = '', right] = statement.split(/[<=]/)
    if (statement.includes('=')) lineages.learnRetirement({ entry: dotOf(left), last: dotOf(right!) })
    else lineages.learnOpening(dotOf(left), right === undefined ? undefined : dotOf(right))
  }
  return lineages
}
const show = showVector

const RESTARTS = 'a1:1 a2:11<a1:10 a3:15<a2:14 b1:1 b2:6<b1:5'

test.each([
  // statements, vector, folded
  [RESTARTS, 'a1:10 a2:14', 'a2:14'],
  [RESTARTS, 'a1:10 a2:14 a3:15', 'a3:15'],
  [RESTARTS, 'a1:10 b1:5', 'a1:10 b1:5'],
  [RESTARTS, 'a1:7 a3:15', 'a3:15'], // implied: a1:10
  [RESTARTS, 'a1:13 a3:15', 'a1:13 a3:15'], // a1 was rolled back to 10: 11 to 13 are not implied
  [RESTARTS, 'a1:10 a2:10', 'a1:10 a2:10'], // below its opening an entry says nothing
  ['a2:11<a1:10 a3:9<a1:8', 'a1:9 a3:12', 'a1:9 a3:12'], // a cloned disk: two successors
  ['a2:11<a1:10 a3:9<a1:8', 'a1:9 a2:11 a3:12', 'a2:11 a3:12'],
  ['coord1:5=a1:9', 'a1:9 coord1:5', 'coord1:5'],
  ['coord1:5=a1:9', 'a1:9 coord1:4', 'a1:9 coord1:4'],
  ['coord1:5=a1:9', 'a1:10 coord1:5', 'a1:10 coord1:5'], // surplus above the end stays visible
  ['coord1:5=a1:9 coord2:8<coord1:7', 'a1:9 coord2:8', 'coord2:8'],
  ['coord1:5=a1:9 coord1:6=b1:3 b1:1<a1:2', 'a1:9 b1:3 coord1:6', 'coord1:6'],
])('with %s, %s is written %s', (statements, vector, folded) => {
  const lineages = lineagesOf(statements)
  expect(show(lineages.fold(vectorOf(vector)))).toBe(folded)
})

test.each([
  // statements, vector, what its reader holds, how it is spelled out
  [RESTARTS, 'a3:15', '', 'a1:10 a2:14 a3:15'],
  [RESTARTS, 'a3:15', 'a1:4', 'a1:10 a2:14 a3:15'],
  [RESTARTS, 'a3:15', 'a2:12', 'a2:14 a3:15'], // it has seen how a2 began
  [RESTARTS, 'a3:15 b1:5', 'a3:15', 'a3:15 b1:5'],
  [RESTARTS, 'a1:13 a3:15', '', 'a1:13 a2:14 a3:15'],
])('with %s, %s for a reader who holds %s is spelled out as %s', (statements, vector, reader, spelled) => {
  const lineages = lineagesOf(statements)
  expect(show(lineages.spellOut(vectorOf(vector), vectorOf(reader)))).toBe(spelled)
  expect(show(lineages.fold(lineages.spellOut(vectorOf(vector), vectorOf(reader))))).toBe(vector)
})

test.each([
  // statements, left, right, does left hold all of right?
  [RESTARTS, 'a3:15', 'a1:10 a2:14', true],
  [RESTARTS, 'a3:15', 'a1:11', false], // never implied: a rollback lost it
  [RESTARTS, 'a3:15', 'a2:15', false],
  [RESTARTS, 'a2:14 b2:6', 'a1:3 b1:5', true],
  [RESTARTS, 'a1:10', 'a2:11', false],
  [RESTARTS, 'a1:10', 'c1:1', false], // an origin never heard of
  [RESTARTS, '', '', true],
  ['a2:11<a1:10 a3:9<a1:8', 'a3:12', 'a1:9', false],
  ['a2:11<a1:10 a3:9<a1:8', 'a3:12', 'a1:8', true],
  ['coord1:5=a1:9 coord2:8<coord1:7', 'coord2:9', 'a1:9', true],
  ['coord1:5=a1:9 coord2:8<coord1:4', 'coord2:9', 'a1:9', false],
])('with %s, whether %s holds %s: %s', (statements, left, right, expected) => {
  const lineages = lineagesOf(statements)
  expect(lineages.dominates(vectorOf(left), vectorOf(right))).toBe(expected)
  expect(lineages.missing(vectorOf(left), vectorOf(right)).size === 0).toBe(expected)
})

test('a statement heard twice is heard once; a second opening of one origin changes nothing', () => {
  const lineages = lineagesOf('a2:11<a1:10 a2:11<a1:10 a2:21<a1:20 coord1:5=b1:9 coord1:5=b1:9')
  expect(lineages.openingOf(originOf('a2'))).toEqual({ seq: 11, predecessor: dotOf('a1:10') })
  expect(show(lineages.unfold(vectorOf('a2:30 coord1:5')))).toBe('a1:10 a2:30 b1:9 coord1:5')
  expect(lineages.retiredAt(originOf('b1'))).toBe(9)
  expect(lineages.retiredAt(originOf('a1'))).toBeUndefined()
  expect(() => lineages.learnRetirement({ entry: dotOf('coord1:7'), last: dotOf('b1:8') })).toThrow('two places')
})

test('a circle of forged openings ends every walk', () => {
  const lineages = lineagesOf('a1:2<a2:1 a2:2<a1:1 a3:2<a2:9')
  expect(show(lineages.unfold(vectorOf('a1:5')))).toBe('a1:5 a2:1')
  expect(lineages.valueIn(vectorOf('a3:4'), originOf('a1'))).toBe(1)
})

test('a line of 20,000 restarts is seen through', () => {
  const lineages = new Lineages()
  const at = (index: number): OriginId => makeOrigin('a', index.toString(16).padStart(16, '0'))
  for (let index = 1; index <= 20_000; index++) {
    lineages.learnOpening(
      { origin: at(index), seq: index },
      index === 1 ? undefined : { origin: at(index - 1), seq: index - 1 },
    )
  }
  const vector = new Map([[at(20_000), 20_000]])
  expect(lineages.valueIn(vector, at(1))).toBe(1)
  expect(lineages.unfold(vector).size).toBe(20_000)
})

describe('laws', () => {
  /** Histories as they can arise: restarts, rollbacks, clones, lost disks, and retirements. */
  const SHORT = ['a1', 'a2', 'a3', 'a4', 'b1', 'b2', 'coord1', 'coord2'].map(originOf)
  const statements = fc
    .array(fc.tuple(fc.nat({ max: 5 }), fc.nat({ max: 5 }), fc.integer({ min: 1, max: 6 }), fc.boolean()), {
      maxLength: 6,
    })
    .map((all) => {
      const list: { learn: (lineages: Lineages) => void; key: string }[] = []
      const seen = new Set<string>()
      for (const [later, earlier, seq, retires] of all) {
        const last = { origin: SHORT[earlier]!, seq }
        const entry = { origin: SHORT[retires ? 6 + (later % 2) : later]!, seq: retires ? later + 1 : seq + 1 }
        const key = retires ? `end ${earlier}` : `open ${later}`
        if ((!retires && later <= earlier) || seen.has(key)) continue
        seen.add(key)
        list.push({
          key,
          learn: (lineages) =>
            retires ? lineages.learnRetirement({ entry, last }) : lineages.learnOpening(entry, last),
        })
      }
      return list
    })
  const vector: fc.Arbitrary<VersionVector> = fc
    .uniqueArray(fc.tuple(fc.constantFrom(...SHORT), fc.integer({ min: 1, max: 8 })), { selector: ([name]) => name })
    .map((entries) => new Map(entries))
  const learned = (list: { learn: (lineages: Lineages) => void }[]): Lineages => {
    const lineages = new Lineages()
    for (const { learn } of list) learn(lineages)
    return lineages
  }
  /** Entry by entry, without any folding: slow and obvious. */
  const plainlyDominates = (left: VersionVector, right: VersionVector): boolean =>
    [...right].every(([origin, seq]) => (left.get(origin) ?? 0) >= seq)

  test('folding and unfolding change how a vector is written, never what it holds', () => {
    fc.assert(
      fc.property(statements, vector, (list, value) => {
        const lineages = learned(list)
        const folded = lineages.fold(value)
        const unfolded = lineages.unfold(value)
        expect(folded.size).toBeLessThanOrEqual(value.size)
        expect(show(lineages.unfold(folded))).toBe(show(unfolded))
        expect(show(lineages.fold(unfolded))).toBe(show(folded))
        expect(show(lineages.fold(folded))).toBe(show(folded))
        for (const origin of SHORT) expect(lineages.valueIn(value, origin)).toBe(unfolded.get(origin) ?? 0)
      }),
    )
  })

  test('comparing is comparing what is implied, entry by entry', () => {
    fc.assert(
      fc.property(statements, vector, vector, (list, left, right) => {
        const lineages = learned(list)
        expect(lineages.dominates(left, right)).toBe(plainlyDominates(lineages.unfold(left), lineages.unfold(right)))
      }),
    )
  })

  test('merging is the least vector that holds both: commutative, associative, idempotent', () => {
    fc.assert(
      fc.property(statements, vector, vector, vector, (list, a, b, c) => {
        const lineages = learned(list)
        const ab = lineages.merge(a, b)
        expect(show(lineages.unfold(ab))).toBe(show(maxVector(lineages.unfold(a), lineages.unfold(b))))
        expect(sameVector(ab, lineages.merge(b, a))).toBe(true)
        expect(show(lineages.merge(ab, c))).toBe(show(lineages.merge(a, lineages.merge(b, c))))
        expect(show(lineages.merge(a, a))).toBe(show(lineages.fold(a)))
      }),
    )
  })

  test('who knows fewer statements never claims more', () => {
    fc.assert(
      fc.property(statements, fc.nat({ max: 6 }), vector, vector, (list, known, left, right) => {
        if (learned(list.slice(0, known)).dominates(left, right)) {
          expect(learned(list).dominates(left, right)).toBe(true)
        }
      }),
    )
  })

  test('a coordination entry is claimed only as far as the lineages it ends are held, and no less', () => {
    fc.assert(
      fc.property(statements, vector, fc.integer({ min: 1, max: 8 }), (list, ops, seq) => {
        const lineages = learned(list.filter(({ key }) => key.startsWith('end')))
        lineages.learnOpening(dotOf('coord2:4'), dotOf('coord1:3'))
        const held = new Map([...ops].filter(([origin]) => !origin.startsWith(COORDINATION_NAME)))
        const applied = { origin: originOf('coord2'), seq }
        const isHonest = (claim: Dot): boolean =>
          plainlyDominates(
            lineages.unfold(held),
            new Map(
              [...lineages.unfold(new Map([[claim.origin, claim.seq]]))].filter(
                ([origin]) => !origin.startsWith(COORDINATION_NAME),
              ),
            ),
          )
        const claim = lineages.claimable(held, applied)
        if (claim) expect(isHonest(claim)).toBe(true)
        const lower = ['coord1:1', 'coord1:2', 'coord1:3'].map(dotOf)
        const upper = Array.from({ length: seq }, (_, index) => ({ ...applied, seq: index + 1 })).slice(3)
        const honest = [...lower, ...upper].filter((dot) => seq >= 4 && isHonest(dot))
        if (seq >= 4) expect(claim).toEqual(honest.at(-1))
      }),
    )
  })
})

describe('limits', () => {
  const lost = (count: number): VersionVector =>
    new Map(Array.from({ length: count }, (_, index) => [originOf(`a${index + 1}`), 5]))

  test('a lost disk may open a lineage below the limit only; coordination entries are not counted', () => {
    const lineages = new Lineages()
    const below = new Map([...lost(LINEAGES_LIMIT - 1), [originOf('coord1'), 9] as const])
    expect(countLineages(below)).toBe(LINEAGES_LIMIT - 1)
    expect(lineages.checkOpening(below, undefined)).toBeUndefined()
    expect(lineages.checkOpening(lost(LINEAGES_LIMIT), undefined)).toMatchObject({
      code: 'cell/too-many-lineages',
      details: { lineages: LINEAGES_LIMIT },
    })
    expect(LINEAGES_ALARM).toBeLessThan(LINEAGES_LIMIT)
  })

  test('a restart replaces an entry, and always may', () => {
    const lineages = new Lineages()
    expect(lineages.checkOpening(lost(LINEAGES_LIMIT + 3), dotOf('a1:5'))).toBeUndefined()
  })

  test('a disk that was rolled back, or cloned, adds a lineage', () => {
    const full = lost(LINEAGES_LIMIT)
    expect(new Lineages().checkOpening(full, dotOf('a1:4'))).toMatchObject({ code: 'cell/too-many-lineages' })
    // a1:5 was already continued by another incarnation, which implies it.
    const cloned = lineagesOf('b1:6<a1:5')
    const vector = cloned.merge(full, vectorOf('b1:6'))
    expect(cloned.checkOpening(vector, dotOf('a1:5'))).toMatchObject({ code: 'cell/too-many-lineages' })
  })

  test('lineages that the cell has retired are not counted', () => {
    const lineages = lineagesOf('coord1:1=a1:5 coord1:2=a2:5')
    expect(lineages.checkOpening(maxVector(lost(LINEAGES_LIMIT), vectorOf('coord1:2')), undefined)).toBeUndefined()
    expect(lineages.checkOpening(EMPTY_VECTOR, undefined)).toBeUndefined()
  })
})
