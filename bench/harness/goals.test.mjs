import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Histogram } from '../load/histogram.mjs'
import { contestants } from '../servers/contestants.mjs'
import { goals, judge } from './goals.mjs'
import { median } from './statistics.mjs'

const ratioGoal = { point: 'p', metric: 'm', subject: 's', peer: 'q' }
const atLeast = { ...ratioGoal, atLeast: true, goal: { factor: 2 }, floor: { factor: 1.3 } }
const atMost = { ...ratioGoal, atLeast: false, goal: { factor: 0.4 }, floor: { factor: 0.6 } }
const late = { ...ratioGoal, atLeast: false, goal: { factor: 1, plus: 20 }, floor: { factor: 2, plus: 50 } }
const nothing = { ...ratioGoal, peer: undefined, atLeast: false, total: true, goal: { plus: 0 }, floor: { plus: 0 } }

test.each([
  // goal, the subject's value in each round, the peer's, verdict
  [atLeast, [20, 30, 10], [10, 10, 10], 'goal met'],
  [atLeast, [19, 30, 10], [10, 10, 10], 'floor held'],
  [atLeast, [12, 30, 10], [10, 10, 10], 'BELOW THE FLOOR'],
  // A noisy round slows both; what counts is the comparison within the round.
  [atLeast, [20, 2, 200], [10, 1, 100], 'goal met'],
  [atMost, [4, 4, 9], [10, 10, 10], 'goal met'],
  [atMost, [5, 6, 9], [10, 10, 10], 'floor held'],
  [atMost, [7, 6.5, 1], [10, 10, 10], 'BELOW THE FLOOR'],
  [late, [28], [8], 'goal met'],
  [late, [60], [8], 'floor held'],
  [late, [67], [8], 'BELOW THE FLOOR'],
  [nothing, [0, 0, 0], [], 'goal met'],
  [nothing, [0, 0, 1], [], 'BELOW THE FLOOR'],
])('%# is judged by the median of its rounds', (goal, subject, peer, verdict) => {
  const records = (contestant, values) =>
    values.map((m, index) => ({ contestant, point: 'p', round: index + 1, values: { m } }))
  expect(judge(goal, [...records('s', subject), ...records('q', peer)])?.verdict).toBe(verdict)
})

test('a goal is not judged where its peer was not measured', () => {
  expect(judge(atLeast, [{ contestant: 's', point: 'p', round: 1, values: { m: 9 } }])).toBeUndefined()
})

test('every goal names contestants that exist', () => {
  for (const { subject, peer } of goals) {
    expect(contestants).toHaveProperty([subject])
    if (peer) expect(contestants).toHaveProperty([peer])
  }
})

test('a percentile is a tenth of a millisecond from the sorted one', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 20_000, noNaN: true }), { minLength: 1 }),
      fc.double({ min: 0.01, max: 1, noNaN: true }),
      (values, share) => {
        const histogram = new Histogram()
        for (const value of values) histogram.record(value)
        const exact = values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1]
        expect(Math.abs(histogram.percentile(share) - exact)).toBeLessThanOrEqual(0.1 + 1e-9)
      },
    ),
    { numRuns: 30 },
  )
})

test.each([
  [[3], 3],
  [[9, 1, 5], 5],
  [[1, 2, 3, 10], 2.5],
])('the median of %j is %j', (values, expected) => expect(median(values)).toBe(expected))
