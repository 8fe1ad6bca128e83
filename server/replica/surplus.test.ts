import { describe, expect, test } from 'vitest'
import { Lineages } from '../../shared/clock/lineages.js'
import type { Op } from '../../shared/protocol/op.js'
import { dotOf, opOf, originOf, showDot, vectorOf } from '../../test/support/causal-text.js'
import { isLost, retirable, surplusOf } from './surplus.js'

describe('a lineage is retired', () => {
  const members = (...reports: (readonly [name: string, origin: string, durable: string] | undefined)[]) =>
    reports.map((report) => {
      return report && { name: report[0], origin: originOf(report[1]), durable: vectorOf(report[2]) }
    })

  test.each([
    // what each member has on disk, U, retired
    [members(['a', 'a2', 'a1:5 a2:3 b1:1'], ['b', 'b1', 'a1:5 a2:3 b1:1']), 'a1:5 a2:3 b1:1', 'a1:5'],
    // not while members show different ends
    [members(['a', 'a2', 'a1:5 a2:3 b1:1'], ['b', 'b1', 'a1:4 a2:3 b1:1']), 'a1:4 a2:3 b1:1', ''],
    // not even where a majority is level: the rest may hold more of it, or less
    [members(['a', 'a2', 'a1:5 a2:3'], ['b', 'b1', 'a1:5 a2:3 b1:1'], ['c', 'c1', 'a1:4 a2:3 c1:1']), 'a1:5 a2:3', ''],
    // not above U
    [members(['a', 'a2', 'a1:5 a2:3 b1:1'], ['b', 'b1', 'a1:5 a2:3 b1:1']), 'a1:4 a2:3 b1:1', ''],
    // not while a member is away
    [members(['a', 'a2', 'a1:5 a2:3 b1:1'], ['b', 'b1', 'a1:5 a2:3 b1:1'], undefined), 'a1:5 a2:3 b1:1', ''],
    // not while the running process may still continue it
    [members(['a', 'a2', 'a1:5 b1:1'], ['b', 'b1', 'a1:5 b1:1']), 'a1:5 b1:1', ''],
    [members(['a', 'a2', 'a1:5 a2:3 b1:1'], ['b', 'b1', 'a1:5 b1:1']), 'a1:5 b1:1', ''],
    // of a replica that is no member any more
    [
      members(['a', 'a2', 'a2:3 b1:1 x1:7 coord1:9'], ['b', 'b1', 'a2:3 b1:1 x1:7 coord1:9']),
      'a2:3 b1:1 x1:7 coord1:9',
      'x1:7',
    ],
  ])('%j under %s: %s', (reports, majority, expected) => {
    expect(retirable(reports, vectorOf(majority), new Lineages()).map(showDot).join(' ')).toBe(expected)
  })

  test('once', () => {
    const lineages = new Lineages()
    const all = 'a1:5 a2:3'
    const reports = members(['a', 'a2', all])
    expect(retirable(reports, vectorOf(all), lineages)).toHaveLength(1)
    lineages.learnRetirement({ entry: dotOf('coord1:1'), last: dotOf('a1:5') })
    expect(retirable(reports, vectorOf(all), lineages)).toEqual([])
  })
})

test.each([
  // dot, who runs and what each holds, lost?
  [
    'x1:5',
    [
      ['a1', 'a1:1'],
      ['b1', 'x1:4'],
    ],
    true,
  ],
  [
    'x1:5',
    [
      ['a1', 'a1:1'],
      ['b1', 'x1:5'],
    ],
    false,
  ],
  ['x1:5', [['a1', 'a1:1'], undefined], false], // who is away may hold it
  [
    'x1:5',
    [
      ['a1', 'a1:1'],
      ['x1', 'x1:4'],
    ],
    false,
  ], // its own process is there
  [
    'x1:5',
    [
      ['a1', 'a1:1'],
      ['x2', 'x1:4 x2:5'],
    ],
    true,
  ],
  ['y1:3', [undefined], true], // above the end of a retired lineage
  ['y1:2', [['a1', 'a1:1']], false],
] as const)('[SG1-SG4] %s, while %j: lost %s', (dot, running, expected) => {
  const lineages = new Lineages()
  lineages.learnRetirement({ entry: dotOf('coord1:1'), last: dotOf('y1:2') })
  const members = running.map((member) => {
    if (!member) return undefined
    const [origin, durable] = member
    return { name: origin[0]!, origin: originOf(origin), durable: vectorOf(durable) }
  })
  expect(isLost(dotOf(dot), members, lineages)).toBe(expected)
})

describe('surplus', () => {
  const again: Op = {
    ...opOf('d1:6'),
    kind: 're-originated',
    was: dotOf('x1:9'),
    parts: [{ document: 'n', generation: 0, update: new Uint8Array(1) }],
  }
  const log = [opOf('open d1:1'), opOf('d1:4'), opOf('e1:2'), opOf('d1:5 after e1:2'), again, opOf('open d2:7 of d1:6')]

  test('is what the cell does not hold, in the order of delivery, each under its first dot', () => {
    const found = [...surplusOf(log, vectorOf('d1:4 e1:1'), new Lineages())]
    expect(found.map(({ was }) => showDot(was))).toEqual(['e1:2', 'd1:5', 'x1:9'])
    expect(found[0]!.parts).toEqual(log[2]!.kind === 'open' ? [] : (log[2] as Extract<Op, { kind: 'data' }>).parts)
  })

  test('is nothing where the cell holds all', () => {
    expect([...surplusOf(log, vectorOf('d1:6 e1:2'), new Lineages())]).toEqual([])
  })
})
