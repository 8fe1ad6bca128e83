import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dotOf, opOf, originOf, showDot, showVector, textChain, vectorOf } from '../../test/support/causal-text.js'
import type { OriginId } from '../clock/dot.js'
import type { HybridTime } from '../clock/hybrid-clock.js'
import { Lineages } from '../clock/lineages.js'
import { EMPTY_VECTOR, type VersionVector } from '../clock/version-vector.js'
import type { Op } from '../protocol/op.js'
import { CausalDelivery, type CausalEffect, type CausalInput, type CausalLimits, type Head } from './delivery.js'
import type { Run } from './hold-back.js'

const OWN = originOf('z9')

/** Ops in order, each origin's with its chain: what some replica's log holds. */
class TextLog {
  readonly ops: Op[] = []
  readonly chains = new Map<Op, Uint8Array>()
  private readonly last = new Map<OriginId, Uint8Array>()

  constructor(...texts: string[]) {
    for (const text of texts) this.add(opOf(text))
  }

  add(op: Op): void {
    const chain = textChain(this.last.get(op.dot.origin), op)
    this.last.set(op.dot.origin, chain)
    this.ops.push(op)
    this.chains.set(op, chain)
  }

  /** The ops as runs, in the order of the log, cut where the origin changes. */
  runs(ops: readonly Op[] = this.ops): Run[] {
    const runs: { origin: OriginId; ops: Op[] }[] = []
    for (const op of ops) {
      const last = runs.at(-1)
      if (last?.origin === op.dot.origin && last.ops.at(-1)!.dot.seq === op.dot.seq - 1) last.ops.push(op)
      else runs.push({ origin: op.dot.origin, ops: [op] })
    }
    return runs.map((run) => ({ ...run, chain: this.chains.get(run.ops.at(-1)!)!, bytes: 100 * run.ops.length }))
  }

  run(first: string, last: string = first): Run {
    const [from, to] = [dotOf(first), dotOf(last)]
    const ops = this.ops.filter(({ dot }) => dot.origin === from.origin && dot.seq >= from.seq && dot.seq <= to.seq)
    return this.runs(ops)[0]!
  }

  heads(): Map<OriginId, Head> {
    const heads = new Map<OriginId, Head>()
    for (const [op, chain] of this.chains) heads.set(op.dot.origin, { seq: op.dot.seq, chain })
    return heads
  }
}

const make = (limits: Partial<CausalLimits> = {}, lineages = new Lineages()): CausalDelivery =>
  new CausalDelivery({ own: OWN, lineages, chain: textChain, vector: EMPTY_VECTOR, heads: new Map(), limits })

const showOne = (effect: CausalEffect): string => {
  switch (effect.type) {
    case 'deliver':
      return effect.ops.map(({ op }) => showDot(op.dot)).join(' ')
    case 'request':
      return `ask ${effect.from} beyond [${showVector(effect.beyond)}] up to [${showVector(effect.upTo)}]`
    case 'refuse-peer':
      return `refuse ${effect.peer}: ${effect.error.code}`
    case 'surplus':
      return `surplus ${effect.peer} ${showDot(effect.dot)}`
  }
}
const show = (effects: readonly CausalEffect[]): string[] => effects.map(showOne)

const received = (runs: readonly Run[], from = 'b', nowMs = 0): CausalInput => ({
  type: 'runs-received',
  from,
  runs,
  nowMs,
})

const LOG = new TextLog(
  'open a1:1',
  'open b1:1',
  'a1:2 after b1:1',
  'a1:3 after b1:1',
  'b1:2 after a1:3',
  'open b2:3 of b1:2 after a1:3',
  'b2:4 after a1:3',
  'a1:4 after b2:4',
)

describe('[CD] no op is delivered before its causes', () => {
  test.each([
    // runs in the order they come (first-last), what is delivered at each
    [
      ['a1:1', 'b1:1', 'a1:2'],
      ['a1:1', 'b1:1', 'a1:2'],
    ],
    [
      ['a1:1', 'a1:2', 'b1:1'],
      ['a1:1', '', 'b1:1 a1:2'],
    ],
    [
      ['a1:1', 'a1:2-a1:3', 'b1:1'],
      ['a1:1', '', 'b1:1 a1:2 a1:3'],
    ],
    [
      ['a1:1-a1:3', 'b1:1'],
      ['a1:1', 'b1:1 a1:2 a1:3'],
    ], // a run is delivered as far as it can be
    [
      ['a1:3', 'a1:1', 'b1:1', 'a1:2'],
      ['', 'a1:1', 'b1:1', 'a1:2 a1:3'],
    ], // a gap
    [
      ['b2:3', 'a1:1-a1:3', 'b1:1', 'b1:2'],
      ['', 'a1:1', 'b1:1 a1:2 a1:3', 'b1:2 b2:3'],
    ], // an opening needs what it names
    [
      ['a1:1', 'a1:1', 'a1:1'],
      ['a1:1', '', ''],
    ], // duplicates
    [
      ['a1:3', 'a1:3', 'b1:1', 'a1:1-a1:3'],
      ['', '', 'b1:1', 'a1:1 a1:2 a1:3'],
    ],
    [
      ['a1:1', 'b1:1', 'a1:2-a1:3', 'a1:1-a1:3', 'b1:2'],
      ['a1:1', 'b1:1', 'a1:2 a1:3', '', 'b1:2'],
    ],
  ])('%j', (runs, delivered) => {
    const causal = make()
    const seen = runs.map((text) => {
      const [first = '', last] = text.split('-')
      return show(causal.step(received([LOG.run(first, last)]))).join(' ')
    })
    expect(seen).toEqual(delivered)
  })

  test('a predecessor is folded away when its successor is delivered', () => {
    const causal = make()
    causal.step(received(LOG.runs()))
    expect(showVector(causal.cut)).toBe('a1:4 b2:4')
    expect(causal.blocked).toEqual([])
  })

  test('an opening waits for what it names even where its deps forget it', () => {
    const log = new TextLog('open b1:1', 'b1:2')
    const opening: Op = { ...opOf('open b2:3 of b1:2'), deps: EMPTY_VECTOR }
    log.add(opening)
    const causal = make()
    expect(show(causal.step(received([log.run('b1:1')])))).toEqual(['b1:1'])
    expect(show(causal.step(received([log.run('b2:3')])))).toEqual([])
    expect(causal.blocked.map(({ waitsFor }) => showVector(waitsFor))).toEqual(['b1:2'])
    expect(show(causal.step(received([log.run('b1:2')])))).toEqual(['b1:2 b2:3'])
  })

  test('after a rollback the rest of the old life is delivered beside the new one', () => {
    const log = new TextLog('open a1:1', 'a1:2', 'a1:3', 'open a2:2 of a1:1', 'a2:3')
    const causal = make()
    causal.step(received(log.runs().reverse()))
    expect(showVector(causal.cut)).toBe('a1:3 a2:3')
    const late = make()
    late.step(received([log.run('a1:1'), log.run('a2:2', 'a2:3')]))
    expect(showVector(late.cut)).toBe('a2:3')
    expect(show(late.step(received([log.run('a1:2', 'a1:3')])))).toEqual(['a1:2 a1:3'])
    expect(showVector(late.cut)).toBe('a1:3 a2:3')
  })

  test('own ops count as causes once they are durable', () => {
    const causal = make()
    const own = opOf('open z9:1')
    causal.step(received([new TextLog('open a1:1 after z9:1').run('a1:1')]))
    expect(causal.blocked).toHaveLength(1)
    expect(show(causal.step({ type: 'own-committed', op: own, chain: textChain(undefined, own) }))).toEqual(['a1:1'])
  })

  test('[RB] an op waits for the coordination entry it depends on', () => {
    const causal = make()
    const coordination = dotOf('coord1:5')
    causal.step(received([new TextLog('open a1:1 after coord1:4').run('a1:1')]))
    expect(show(causal.step({ type: 'coordination-applied', applied: dotOf('coord1:3'), retirements: [] }))).toEqual([])
    expect(show(causal.step({ type: 'coordination-applied', applied: coordination, retirements: [] }))).toEqual([
      'a1:1',
    ])
    expect(showVector(causal.cut)).toBe('a1:1 coord1:5')
  })

  test('an entry that ends a lineage counts only once the lineage is here', () => {
    const causal = make()
    const retirements = [{ entry: dotOf('coord1:4'), last: dotOf('x1:2') }]
    causal.step({ type: 'coordination-applied', applied: dotOf('coord1:5'), retirements })
    expect(showVector(causal.cut)).toBe('coord1:3')
    causal.step(received([new TextLog('open a1:1 after coord1:4').run('a1:1')]))
    const lost = new TextLog('open x1:1', 'x1:2', 'x1:3')
    expect(show(causal.step(received([lost.run('x1:1', 'x1:2')])))).toEqual(['x1:1 x1:2 a1:1'])
    expect(showVector(causal.cut)).toBe('a1:1 coord1:5')
    // What lies above its end is nobody's any more: whoever holds it offers it anew.
    expect(show(causal.step(received([lost.run('x1:3')], 'c')))).toEqual(['surplus c x1:3'])
  })

  test('an epoch of the coordination store that names its predecessor counts for it', () => {
    const causal = make()
    causal.step(received([new TextLog('open a1:1 after coord1:4').run('a1:1')]))
    const opening = { dot: dotOf('coord2:6'), predecessor: dotOf('coord1:5') }
    expect(
      show(causal.step({ type: 'coordination-applied', applied: dotOf('coord2:6'), opening, retirements: [] })),
    ).toEqual(['a1:1'])
  })
})

describe('different ops under one dot', () => {
  const log = new TextLog('open a1:1', 'a1:2', 'a1:3')
  const forged = new TextLog('open a1:1', 'a1:2 after b1:7', 'a1:3')

  test('nothing of a run that does not fit is delivered, and its sender is refused, both sides shown', () => {
    const causal = make()
    causal.step(received([log.run('a1:1')]))
    const wrong = { ...log.run('a1:2', 'a1:3'), chain: forged.run('a1:3').chain }
    const effects = causal.step(received([wrong], 'c'))
    expect(show(effects)).toEqual(['refuse c: cell/forked'])
    expect(effects[0]).toMatchObject({
      error: { details: { origin: originOf('a1'), seq: 3, ours: expect.any(String) } },
    })
    expect(showVector(causal.cut)).toBe('a1:1')
    expect(show(causal.step(received([log.run('a1:2', 'a1:3')])))).toEqual(['a1:2 a1:3'])
  })

  test('a run that was held back is verified when its gap is filled, and before any of it is delivered', () => {
    const causal = make()
    causal.step(received([{ ...log.run('a1:2', 'a1:3'), chain: new Uint8Array(16) }], 'c'))
    expect(show(causal.step(received([log.run('a1:1')], 'b')))).toEqual(['refuse c: cell/forked', 'a1:1'])
  })

  test('a head that differs is found even where nothing is new', () => {
    const causal = make()
    causal.step(received(log.runs()))
    expect(show(causal.step(received([forged.run('a1:1', 'a1:3')], 'c')))).toEqual(['refuse c: cell/forked'])
    expect(show(causal.step(received([log.run('a1:1', 'a1:3')], 'c')))).toEqual([])
  })

  test('a second opening, an opening in the middle, and ops under our own name are refused', () => {
    const causal = make()
    causal.step(received(log.runs()))
    const twice = new TextLog('open a1:4 of b1:3')
    expect(show(causal.step(received(twice.runs(), 'c')))).toEqual(['refuse c: cell/forked'])
    const middle = new TextLog('open d1:1', 'open d1:2 of b1:1')
    expect(show(causal.step(received(middle.runs(), 'c')))).toEqual(['refuse c: cell/forked'])
    expect(show(causal.step(received(new TextLog('open z9:1').runs(), 'c')))).toEqual(['refuse c: cell/forked'])
    expect(showVector(causal.cut)).toBe('a1:3')
  })
})

describe('what is missing is asked of the sender of the blocked op', () => {
  test('after 200 ms, and again only after a second', () => {
    const causal = make()
    causal.step(received([LOG.run('a1:1')], 'b', 1_000))
    causal.step(received([LOG.run('a1:3')], 'b', 1_000))
    causal.step(received([LOG.run('b2:4')], 'c', 1_100))
    const tick = (nowMs: number): string[] => show(causal.step({ type: 'tick', nowMs }))
    expect(tick(1_199)).toEqual([])
    expect(tick(1_200)).toEqual(['ask b beyond [a1:1] up to [a1:2 b1:1]'])
    expect(tick(1_300)).toEqual(['ask c beyond [a1:1] up to [a1:3 b2:3]'])
    expect(tick(2_199)).toEqual([])
    expect(tick(2_200)).toEqual(['ask b beyond [a1:1] up to [a1:2 b1:1]'])
    expect(
      causal.blocked.map(({ dot, from, sinceMs, waitsFor }) => [showDot(dot), from, sinceMs, showVector(waitsFor)]),
    ).toEqual([
      ['a1:3', 'b', 1_000, 'a1:2 b1:1'],
      ['b2:4', 'c', 1_100, 'a1:3 b2:3'],
    ])
  })

  test('one request for all that one sender owes', () => {
    const causal = make()
    causal.step(received([LOG.run('a1:3'), LOG.run('b2:4')], 'b', 0))
    expect(show(causal.step({ type: 'tick', nowMs: 500 }))).toEqual(['ask b beyond [] up to [a1:3 b1:1 b2:3]'])
  })

  test('a lost sender takes along what it sent', () => {
    const causal = make()
    causal.step(received([LOG.run('a1:3')], 'b'))
    causal.step(received([LOG.run('b2:4')], 'c'))
    causal.step({ type: 'peer-lost', peer: 'b' })
    expect(causal.blocked.map(({ from }) => from)).toEqual(['c'])
    expect(causal.figures.heldOps).toBe(1)
  })
})

describe('bounds', () => {
  test('a flood of one origin displaces only itself, from its far end', () => {
    const causal = make({ ops: 10 })
    const flood = new TextLog(
      ...Array.from({ length: 30 }, (_, index) => (index === 0 ? 'open a1:1' : `a1:${index + 1}`)),
    )
    causal.step(received([LOG.run('b2:4')]))
    for (let seq = 2; seq <= 30; seq++) causal.step(received([flood.run(`a1:${seq}`)], 'c'))
    expect(causal.figures).toMatchObject({ heldOps: 10, dropped: 20 })
    expect(causal.blocked.map(({ dot }) => showDot(dot)).sort()).toEqual(['a1:2', 'b2:4'])
    expect(show(causal.step(received([flood.run('a1:1')])))).toEqual([
      'a1:1 a1:2 a1:3 a1:4 a1:5 a1:6 a1:7 a1:8 a1:9 a1:10',
    ])
    expect(causal.figures.heldOps).toBe(1)
  })

  test('bytes are bounded as ops are, and what can be delivered at once needs no room', () => {
    const causal = make({ bytes: 250 })
    const log = new TextLog('open a1:1', 'a1:2', 'a1:3', 'a1:4')
    causal.step(received([log.run('a1:3')]))
    causal.step(received([log.run('a1:4')]))
    causal.step(received([log.run('a1:2')]))
    expect(causal.figures).toMatchObject({ heldBytes: 200, dropped: 1 })
    expect(show(make({ bytes: 250 }).step(received(log.runs())))).toEqual(['a1:1 a1:2 a1:3 a1:4'])
  })
})

test('the same run twice takes room once', () => {
  const causal = make()
  causal.step(received([LOG.run('a1:2', 'a1:3')], 'b'))
  causal.step(received([LOG.run('a1:3')], 'c'))
  causal.step(received([LOG.run('a1:2', 'a1:3')], 'c'))
  expect(causal.figures).toMatchObject({ heldOps: 2, heldBytes: 200, duplicates: 3 })
})

test('also where runs before it came between', () => {
  const causal = make()
  const log = new TextLog('open a1:1', 'a1:2', 'a1:3', 'a1:4')
  for (const dot of ['a1:4', 'a1:2', 'a1:4', 'a1:2', 'a1:3', 'a1:4']) causal.step(received([log.run(dot)], 'b'))
  expect(causal.figures).toMatchObject({ heldOps: 3, heldBytes: 300, duplicates: 3 })
})

test('who takes most of either limit is cut: a few large ops go before many small ones', () => {
  const causal = make({ ops: 100, bytes: 10_000 })
  const small = new TextLog(
    ...Array.from({ length: 11 }, (_, index) => (index === 0 ? 'open a1:1' : `a1:${index + 1}`)),
  )
  const large = new TextLog('open b1:1', 'b1:2', 'b1:3')
  for (let seq = 2; seq <= 11; seq++) causal.step(received([small.run(`a1:${seq}`)]))
  for (const dot of ['b1:2', 'b1:3']) causal.step(received([{ ...large.run(dot), bytes: 5_000 }], 'c'))
  expect(causal.figures).toMatchObject({ heldOps: 11, heldBytes: 6_000, dropped: 1 })
})

test('after a failed commit the cut is back where the disk is, and the same ops are delivered again', () => {
  const causal = make()
  const log = new TextLog('open a1:1', 'a1:2', 'a1:3')
  causal.step(received([log.run('a1:1')]))
  const durable = { vector: causal.cut, heads: new Map([[originOf('a1'), { seq: 1, chain: log.run('a1:1').chain }]]) }
  causal.step(received([log.run('a1:2')]))
  causal.step({ type: 'rewound', ...durable })
  expect(showVector(causal.cut)).toBe('a1:1')
  expect(show(causal.step(received([log.run('a1:3')])))).toEqual([])
  expect(show(causal.step(received([log.run('a1:2')])))).toEqual(['a1:2 a1:3'])
})

test('after a failed commit no coordination entry counts that ends a lineage which is gone again', () => {
  const causal = make()
  const lost = new TextLog('open x1:1', 'x1:2')
  const retirements = [{ entry: dotOf('coord1:4'), last: dotOf('x1:2') }]
  causal.step({ type: 'coordination-applied', applied: dotOf('coord1:5'), retirements })
  causal.step(received([lost.run('x1:1', 'x1:2')]))
  expect(showVector(causal.cut)).toBe('coord1:5')
  causal.step({ type: 'rewound', vector: EMPTY_VECTOR, heads: new Map() })
  causal.step(received([lost.run('x1:1')]))
  expect(showVector(causal.cut)).toBe('coord1:3 x1:1')
})

test('after a failed commit a run that was used in part is used again from its start', () => {
  const causal = make()
  const log = new TextLog('open a1:1', 'a1:2', 'a1:3 after b1:1')
  causal.step(received([log.run('a1:1')]))
  const durable = { vector: causal.cut, heads: new Map([[originOf('a1'), { seq: 1, chain: log.run('a1:1').chain }]]) }
  expect(show(causal.step(received([log.run('a1:2', 'a1:3')])))).toEqual(['a1:2'])
  causal.step({ type: 'rewound', ...durable })
  expect(show(causal.step({ type: 'tick', nowMs: 0 }))).toEqual(['a1:2'])
  expect(causal.blocked.map(({ dot }) => showDot(dot))).toEqual(['a1:3'])
})

test('state transfer raises the cut, and what waited for it goes on', () => {
  const causal = make()
  causal.step(received([LOG.run('a1:4')]))
  const before = new TextLog(
    'open a1:1',
    'open b1:1',
    'a1:2 after b1:1',
    'a1:3 after b1:1',
    'b1:2 after a1:3',
    'open b2:3 of b1:2 after a1:3',
    'b2:4 after a1:3',
  )
  expect(show(causal.step({ type: 'joined', vector: vectorOf('a1:3 b2:4'), heads: before.heads() }))).toEqual(['a1:4'])
  expect(showVector(causal.cut)).toBe('a1:4 b2:4')
  // A head of the donor's that is older than ours changes nothing.
  causal.step({ type: 'joined', vector: vectorOf('a1:3 c1:1'), heads: before.heads() })
  expect(showVector(causal.cut)).toBe('a1:4 b2:4 c1:1')
  const longer = new TextLog('open a1:1', 'a1:2 after b1:1', 'a1:3 after b1:1', 'a1:4 after b2:4', 'a1:5')
  expect(show(causal.step(received([longer.run('a1:5')])))).toEqual(['a1:5'])
})

describe('any order, any loss', () => {
  /** A history of three replicas that edit and exchange; some restart in between. */
  const history = fc.array(
    fc.record({
      at: fc.nat({ max: 2 }),
      act: fc.constantFrom('edit', 'edit', 'meet', 'restart'),
      with: fc.nat({ max: 2 }),
    }),
    {
      minLength: 1,
      maxLength: 40,
    },
  )

  interface Writer {
    log: TextLog
    vector: Map<OriginId, number>
    origin: OriginId
    seq: number
    predecessor: Op['dot'] | undefined
    opened: boolean
  }

  const play = (
    steps: readonly { at: number; act: string; with: number }[],
  ): { logs: TextLog[]; past: Map<string, Set<string>> } => {
    const past = new Map<string, Set<string>>()
    const lineages = new Lineages()
    let starts = 0
    const writers = ['a', 'b', 'c'].map((name): Writer => {
      return {
        log: new TextLog(),
        vector: new Map(),
        origin: originOf(`${name}${++starts}`),
        seq: 0,
        predecessor: undefined,
        opened: false,
      }
    })
    const take = (writer: Writer, op: Op): void => {
      writer.log.add(op)
      writer.vector = new Map(lineages.merge(writer.vector, new Map([[op.dot.origin, op.dot.seq]])))
    }
    for (const { at, act, with: other } of steps) {
      const writer = writers[at]!
      if (act === 'meet') {
        for (const op of writers[other]!.log.ops) if (!lineages.includes(writer.vector, op.dot)) take(writer, op)
        continue
      }
      if (act === 'restart') {
        if (!writer.opened) continue
        writer.predecessor = { origin: writer.origin, seq: writer.seq }
        writer.origin = originOf(`${'abc'[at]}${++starts}`)
        writer.opened = false
        continue
      }
      const deps = new Map(writer.vector)
      deps.delete(writer.origin)
      const dot = { origin: writer.origin, seq: ++writer.seq }
      past.set(showDot(dot), new Set(writer.log.ops.map((op) => showDot(op.dot))))
      const hlc = past.size as HybridTime
      if (writer.opened)
        take(writer, {
          kind: 'data',
          dot,
          deps,
          hlc,
          parts: [{ document: 'x', generation: 0, update: new Uint8Array(1) }],
        })
      else {
        const predecessor = writer.predecessor === undefined ? {} : { predecessor: writer.predecessor }
        lineages.learnOpening(dot, writer.predecessor)
        take(writer, { kind: 'open', dot, deps, hlc, ...predecessor })
        writer.opened = true
      }
    }
    return { logs: writers.map(({ log }) => log), past }
  }

  /** What a replica answers to a request, in the order of its log. */
  const answer = (log: TextLog, beyond: VersionVector, upTo: VersionVector): Run[] => {
    const lineages = new Lineages()
    for (const op of log.ops) if (op.kind === 'open') lineages.learnOpening(op.dot, op.predecessor)
    const ops = log.ops.filter(({ dot }) => lineages.includes(upTo, dot) && !lineages.includes(beyond, dot))
    return log.runs(ops)
  }

  test('[CD] each op is delivered once, after its past; and all of them, whatever is lost, doubled or dropped', () => {
    const disorder = fc.array(
      fc.record({ log: fc.nat({ max: 2 }), at: fc.nat(), length: fc.integer({ min: 1, max: 5 }) }),
      { maxLength: 40 },
    )
    fc.assert(
      fc.property(history, disorder, fc.constantFrom(2, 5, 1_000), (steps, sends, ops) => {
        const { logs, past } = play(steps)
        const causal = make({ ops })
        const seen = new Set<string>()
        const requests: Extract<CausalEffect, { type: 'request' }>[] = []
        const step = (input: CausalInput): void => {
          for (const effect of causal.step(input)) {
            if (effect.type === 'request') requests.push(effect)
            else if (effect.type !== 'deliver') throw new Error(`unexpected ${effect.type}`)
            else {
              for (const { op } of effect.ops) {
                const dot = showDot(op.dot)
                expect(seen.has(dot)).toBe(false)
                for (const cause of past.get(dot)!) expect(seen.has(cause)).toBe(true)
                seen.add(dot)
              }
            }
          }
          expect(causal.figures.heldOps).toBeLessThanOrEqual(ops)
        }
        for (const [index, { log, at, length }] of sends.entries()) {
          const all = logs[log]!.ops
          if (all.length === 0) continue
          const from = at % all.length
          step(received(logs[log]!.runs(all.slice(from, from + length)), String(log), index))
        }
        // The newest op of each origin arrives at last: all else is fetched through what waits.
        for (let round = 1; round <= 60 && seen.size < past.size; round++) {
          for (const [index, log] of logs.entries()) {
            const newest = new Map(log.ops.map((op) => [op.dot.origin, op]))
            for (const op of newest.values()) step(received(log.runs([op]), String(index), 10_000 * round))
          }
          step({ type: 'tick', nowMs: 10_000 * round + 5_000 })
          for (const { from, beyond, upTo } of requests.splice(0)) {
            for (const run of answer(logs[Number(from)]!, beyond, upTo))
              step(received([run], from, 10_000 * round + 6_000))
          }
        }
        const union = new Set(logs.flatMap((log) => log.ops.map(({ dot }) => showDot(dot))))
        expect(seen.size).toBe(union.size)
        expect(causal.blocked).toEqual([])
      }),
      { numRuns: 300 },
    )
  })
})
