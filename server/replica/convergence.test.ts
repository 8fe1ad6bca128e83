import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { originOf, vectorOf } from '../../test/support/causal-text.js'
import { Comparison, formReport, type Seen } from './convergence.js'

/** `d1=f1`: digest 1 with fingerprint 1; `d1?` without one in time, `d1!` without one at all; `-`: no such document. */
function seen(text: string): Seen {
  if (text === '-') return null
  const [, digest = '', fingerprint] = /^(d\d)(?:=(f\d)|[?!])$/.exec(text) ?? []
  const none = text.endsWith('?') ? 'late' : 'unavailable'
  return { generation: 0, count: 1, xor: digest, clock: { a: 1 }, fingerprint: fingerprint ?? none }
}

/** `a d1=f1 d2=f2, b d2=f2`: what each replica showed, in order. */
function comparisonOf(text: string): Comparison {
  const comparison = new Comparison()
  for (const each of text.split(', ')) {
    const [replica = '', ...views] = each.split(' ')
    for (const view of views) comparison.see(replica, seen(view))
  }
  return comparison
}

const reportOf = (documents: Readonly<Record<string, string>>, change: { limit?: number; all?: boolean } = {}) =>
  formReport(
    {
      checked: 9,
      comparisons: new Map(Object.entries(documents).map(([name, text]) => [name, comparisonOf(text)])),
      unexamined: 0,
      heldBack: [],
      unreachable: [],
    },
    { limit: 10, all: false, ...change },
  )

test.each([
  ['a d1=f1, b d1=f1, c d1=f1', 'equal'],
  ['a d1=f1, b d2=f1', 'lagging'], // equal by chance
  ['a d1=f1, b d2=f2', 'lagging'], // other ops: their contents say nothing
  ['a d1=f1, b -', 'lagging'],
  ['a d1=f1, b d1=f2', 'diverged'],
  ['a d1=f1, b d2=f2, c d1=f3', 'diverged'], // b lags, and hides nothing
  ['a d1=f1 d2=f2, b d3=f3 d1=f9', 'diverged'], // the same ops at different moments
  ['a d1=f1 d2=f2, b d1=f1 d3=f3', 'lagging'],
  ['a d1=f1 d2=f2, b d3=f3 d2=f2', 'equal'], // caught up
  ['a d1=f1 d2=f2, b d1=f9 d2=f2', 'diverged'], // equal again, but it happened
  ['a d1=f1, b d1?', 'late'],
  ['a d1=f1, b d1!', 'unknown'],
  ['a d1?, b d1!', 'unknown'],
  ['a d1?, b d2!', 'lagging'],
  ['a d1? d1=f1, b d1=f1', 'equal'],
  ['a d1=f1', 'equal'], // nobody else answered
])('%s is %s', (text, state) => {
  expect(comparisonOf(text).state).toBe(state)
})

test('contents that are functions of the ops never diverge, whoever showed them and when', () => {
  const view = fc
    .integer({ min: 1, max: 4 })
    .chain((digest) => fc.constantFrom(`d${digest}=f${digest}`, `d${digest}?`, '-'))
  const shown = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), view))
  fc.assert(
    fc.property(shown, (views) => {
      const comparison = new Comparison()
      for (const [replica, text] of views) comparison.see(replica, seen(text))
      expect(comparison.state).not.toBe('diverged')
    }),
  )
})

describe('a document that was found diverged', () => {
  test.each([
    ['a d1=f1, b d2=f2', 'diverged'], // nothing that heals it was seen
    ['a d1=f1, b d1?', 'diverged'],
    ['a d1=f1, b d1=f1', 'equal'],
  ])('is, with %s seen now, %s', (text, state) => {
    const comparison = comparisonOf(text)
    comparison.recall()
    expect(comparison.state).toBe(state)
  })
})

test('what a replica showed counts no more once it cannot be reached', () => {
  const comparison = comparisonOf('a d1=f1, b d1=f2, c d1=f1')
  expect(comparison.conflict).toEqual(['a', 'b'])
  comparison.forget('b')
  expect(comparison.state).toBe('equal')
})

describe('the report', () => {
  const documents = {
    equal: 'a d1=f1, b d1=f1',
    late: 'a d1=f1, b d1?',
    lagging: 'a d1=f1, b d2=f2',
    unknown: 'a d1=f1, b d1!',
    diverged: 'a d1=f1, b d1=f2',
    nowhere: 'a -, b -',
  }
  const only = (...names: (keyof typeof documents)[]) =>
    Object.fromEntries(names.map((name) => [name, documents[name]]))

  test.each([
    [only('equal', 'late', 'nowhere'), 'equal'],
    [only('equal', 'lagging'), 'lagging'],
    [only('equal', 'unknown'), 'lagging'], // not shown to be equal
    [only('lagging', 'diverged'), 'diverged'],
  ])('of %o says %s', (given, verdict) => {
    expect(reportOf(given).verdict).toBe(verdict)
  })

  test('names the worst first, and no more than asked for; all that diverged have their names in it', () => {
    const report = reportOf(documents, { limit: 2 })
    expect(report.documents.map(({ document }) => document)).toEqual(['diverged', 'lagging'])
    expect(reportOf({ x: documents.diverged, y: documents.diverged }, { limit: 1 })).toMatchObject({
      diverged: ['x', 'y'],
      documents: [{ document: 'x' }],
    })
  })

  test('lists equal documents only where all are wanted', () => {
    const statesOf = (all: boolean) =>
      reportOf(documents, { all }).documents.map(({ document, state }) => [document, state])
    expect(statesOf(false)).toEqual([
      ['diverged', 'diverged'],
      ['lagging', 'lagging'],
      ['unknown', 'unknown'],
    ])
    expect(statesOf(true).slice(2)).toEqual([
      ['late', 'unknown'],
      ['unknown', 'unknown'],
      ['equal', 'equal'],
    ])
  })

  test('shows per replica the clock and the fingerprint, empty where there is none', () => {
    expect(reportOf({ x: 'a d1=f1, b d1!, c -' }).documents[0]!.replicas).toEqual({
      a: { clock: { a: 1 }, fingerprint: 'f1' },
      b: { clock: { a: 1 }, fingerprint: '' },
      c: null,
    })
  })

  test('names what is held back and who did not answer; the first means lag, the second nothing', () => {
    const compared = { checked: 0, comparisons: new Map(), unexamined: 0, heldBack: [], unreachable: ['c', 'b'] }
    const wanted = { limit: 1, all: false }
    expect(formReport(compared, wanted)).toMatchObject({ verdict: 'equal', unreachable: ['b', 'c'] })
    const dot = { origin: originOf('a1'), seq: 9 }
    const heldBack = [{ replica: 'b', dot, waitsFor: vectorOf('c1:4 d1:1 d2:2') }]
    expect(formReport({ ...compared, heldBack }, wanted)).toMatchObject({
      verdict: 'lagging',
      heldBack: [{ replica: 'b', dot: 'a:9', waitsFor: { c: 4, 'd.0000': 2 } }],
    })
    expect(formReport({ ...compared, unexamined: 1 }, wanted).verdict).toBe('lagging')
  })
})
