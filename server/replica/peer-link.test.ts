import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CellId } from '../../shared/clock/cell.js'
import { Lineages } from '../../shared/clock/lineages.js'
import { flowCost, PEER_LIMITS, type PeerMessage } from '../../shared/protocol/peer.js'
import { dotOf, opOf, originOf, showVector, textChain, vectorOf } from '../../test/support/causal-text.js'
import { TextCell } from '../../test/support/text-cell.js'
import { DEFAULT_LINK_LIMITS, type LinkEffect, type LinkInput, type OwnFacts, PeerLink } from './peer-link.js'

const everywhere = (cell: TextCell): void => {
  for (const replica of cell.all) {
    expect([...replica.disk.ops.keys()].sort()).toEqual([...cell.written.keys()].sort())
    expect(replica.causal.blocked).toEqual([])
    expect(replica.errors).toEqual([])
  }
}

describe('a cell of three', () => {
  test('an edit travels once to each peer, and never back', () => {
    const cell = new TextCell()
    cell.connectAll()
    cell.run(500)
    for (let count = 0; count < 20; count++) {
      for (const replica of cell.all) replica.write()
      cell.run(100)
    }
    everywhere(cell)
    for (const { name, arrivals } of cell.all) {
      for (const [dot, count] of arrivals) {
        expect(count).toBe(1)
        expect(dot.startsWith(name)).toBe(false)
      }
    }
  })

  test('without a link between two, the third relays within a gossip interval', () => {
    const cell = new TextCell()
    cell.connect('a', 'b')
    cell.connect('b', 'c')
    cell.run(500)
    cell.replica('a').write()
    cell.run(150)
    cell.replica('a').write()
    for (let moves = 0; cell.move(moves); moves++);
    everywhere(cell)
    for (const { arrivals } of cell.all) for (const count of arrivals.values()) expect(count).toBe(1)
    expect(cell.replica('a').arrivals.size).toBe(0)
    // The direct link comes back: nobody relays any more.
    cell.connect('a', 'c')
    cell.run(500)
    cell.replica('a').write()
    cell.run(500)
    for (const { arrivals } of cell.all) for (const count of arrivals.values()) expect(count).toBe(1)
  })

  test('who comes back pulls what it missed from one peer alone', () => {
    const cell = new TextCell()
    cell.connect('a', 'b')
    cell.run(200)
    for (let count = 0; count < 50; count++) {
      cell.replica('a').write()
      cell.replica('b').write()
      cell.run(50)
    }
    cell.connectAll()
    cell.run(1_000)
    everywhere(cell)
    const counts = [...cell.replica('c').arrivals.values()]
    expect(counts).toHaveLength(100)
    expect(Math.max(...counts)).toBe(1)
  })

  test('a restart goes on under a new incarnation, and vectors stay as wide as the cell', () => {
    const cell = new TextCell()
    for (let round = 0; round < 5; round++) {
      cell.connectAll()
      cell.run(300)
      for (const replica of cell.all) replica.write()
      for (const replica of cell.all) replica.write()
      cell.run(300)
      for (const name of cell.names) cell.restart(name)
    }
    cell.connectAll()
    cell.run(500)
    everywhere(cell)
    for (const { disk } of cell.all) expect(disk.vector.size).toBe(3)
  })

  test('below the start of the logs the state is taken, and joined to what only the receiver had', () => {
    const cell = new TextCell()
    cell.connect('a', 'b')
    cell.run(200)
    for (let count = 0; count < 20; count++) {
      cell.replica('a').write()
      cell.run(50)
    }
    cell.replica('c').write()
    cell.replica('c').write()
    cell.replica('a').prune()
    cell.replica('b').prune()
    cell.connectAll()
    cell.run(3_000)
    expect(cell.replica('c').statesTaken).toBe(1)
    everywhere(cell)
  })

  test('a state transfer that breaks off goes on where it was', () => {
    const cell = new TextCell({ names: ['a', 'b', 'c'] })
    cell.connect('a', 'c')
    cell.run(200)
    for (let count = 0; count < 31; count++) cell.replica('a').write()
    cell.run(500)
    cell.replica('a').prune()
    cell.cut('a', 'c')
    const chunks: number[] = []
    cell.onSend = (_from, _to, message) => {
      if (message.type === 'state-chunk') chunks.push(message.index)
    }
    cell.connect('a', 'b')
    for (let moves = 0; chunks.length < 5; moves++) if (!cell.move(moves)) cell.tick(50)
    cell.cut('a', 'b')
    cell.run(200)
    cell.connect('a', 'b')
    cell.run(1_000)
    everywhere(cell)
    expect(cell.replica('b').statesTaken).toBe(1)
    expect(chunks.at(-1)).toBe(10)
    // At most the chunks that were under way are sent again.
    expect(chunks.filter((index) => index === 0)).toHaveLength(1)
    expect(chunks.length).toBeLessThan(5 + 11)
  })

  test('credit bounds what a slow receiver has to keep', () => {
    const window = 4_000
    const cell = new TextCell({ names: ['a', 'b'], linkLimits: { window, messageCost: 1_000 }, updateBytes: 200 })
    cell.connectAll()
    cell.run(200)
    let sent = 0
    let returned = 0
    cell.onSend = (from, _to, message) => {
      if (from === 'a') sent += flowCost(message)
      else if (message.type === 'credit') returned += message.amount
      expect(sent - returned).toBeLessThanOrEqual(window + 1_600)
    }
    for (let count = 0; count < 100; count++) cell.replica('a').write()
    expect(sent).toBeGreaterThan(window / 2)
    cell.run(2_000)
    everywhere(cell)
    expect(sent).toBeGreaterThan(10 * window)
  })

  test('[CD] whatever breaks, each op is delivered once after its past; once it holds, everybody has everything', () => {
    const act = fc.record({
      type: fc.constantFrom('write', 'write', 'move', 'move', 'move', 'tick', 'cut', 'connect', 'restart', 'prune'),
      at: fc.nat({ max: 2 }),
      choice: fc.nat({ max: 20 }),
    })
    const world = fc.record({
      holdBackOps: fc.constantFrom(3, 10_000),
      linkLimits: fc.constantFrom({}, { window: 2_000, messageCost: 800, messageOps: 2 }),
    })
    fc.assert(
      fc.property(world, fc.array(act, { maxLength: 120 }), (options, acts) => {
        const cell = new TextCell(options)
        cell.connectAll()
        for (const { type, at, choice } of acts) {
          const name = cell.names[at]!
          const other = cell.names[(at + 1 + (choice % 2)) % 3]!
          switch (type) {
            case 'write':
              cell.replica(name).write()
              break
            case 'move':
              for (let moves = 0; moves < choice; moves++) cell.move(moves * 7 + choice)
              break
            case 'tick':
              cell.tick(choice * 20)
              break
            case 'cut':
              cell.cut(name, other)
              break
            case 'connect':
              cell.connect(name, other)
              break
            case 'restart':
              cell.restart(name)
              break
            case 'prune':
              cell.replica(name).prune()
              break
          }
        }
        cell.connectAll()
        cell.run(15_000)
        everywhere(cell)
        expect(new Set(cell.all.map(({ disk }) => showVector(disk.vector))).size).toBe(1)
      }),
      { numRuns: 100 },
    )
  })
})

describe('one link', () => {
  const IDENTITY = { cell: 'c0'.repeat(16) as CellId, epoch: { ordinal: 2, id: 'e0'.repeat(8) } }
  const CHAIN = new Uint8Array(16).fill(7)
  const factsOf = (name: string, change: Partial<OwnFacts> = {}): OwnFacts => ({
    identity: IDENTITY,
    configEpoch: 1,
    name,
    incarnation: '0'.repeat(15) + (name === 'a' ? '1' : '2'),
    standing: 'active',
    life: 1,
    durable: vectorOf('a1:3 b2:5'),
    heads: [
      { origin: originOf('a1'), seq: 3, chain: CHAIN },
      { origin: originOf('b2'), seq: 5, chain: CHAIN },
    ],
    claims: new Map(),
    ...change,
  })
  const helloOf = (
    change: Partial<OwnFacts> & { oldest?: number; newest?: number; window?: number } = {},
  ): PeerMessage => ({
    type: 'hello',
    oldest: 1,
    newest: 1,
    window: 10_000,
    ...factsOf('b', change),
  })
  const connected = (change: Partial<OwnFacts> = {}): LinkInput => ({
    type: 'connected',
    facts: factsOf('a', change),
    position: 9,
    nowMs: 0,
  })
  const received = (message: PeerMessage, nowMs = 0): LinkInput => ({ type: 'received', message, nowMs })
  const make = (): PeerLink => new PeerLink({ peer: 'b', ownName: 'a', lineages: new Lineages() })
  const open = (): PeerLink => {
    const link = make()
    link.step(connected())
    link.step(received(helloOf()))
    link.step({ type: 'chains-read', chains: [CHAIN, CHAIN] })
    link.step(received({ type: 'ready' }))
    expect(link.isOpen).toBe(true)
    return link
  }
  const types = (effects: readonly LinkEffect[]): string[] =>
    effects.map((effect) => (effect.type === 'send' ? `send ${effect.message.type}` : effect.type))
  const errorOf = (effects: readonly LinkEffect[]): unknown => {
    const close = effects.find((effect) => effect.type === 'close')
    return close?.type === 'close' ? { code: close.error.code, ...close.error.details } : undefined
  }
  const edit = (seq: number) => {
    const op = opOf(`b2:${seq}`)
    return {
      type: 'ops',
      pull: 0,
      urgent: false,
      ops: [op],
      chains: new Map([[op.dot.origin, textChain(undefined, op)]]),
    } as const
  }

  test('hello, chain heads, ready: nothing is exchanged before both have checked', () => {
    const link = make()
    expect(types(link.step(connected()))).toEqual(['send hello'])
    const asked = link.step(
      received(
        helloOf({
          durable: vectorOf('a1:2 b2:7'),
          heads: [
            { origin: originOf('a1'), seq: 2, chain: CHAIN },
            { origin: originOf('b2'), seq: 7, chain: CHAIN },
          ],
        }),
      ),
    )
    // Where the peer is ahead, the peer compares.
    expect(asked).toEqual([{ type: 'read-chains', dots: [dotOf('a1:2')] }])
    expect(types(link.step({ type: 'chains-read', chains: [CHAIN] }))).toEqual(['send ready'])
    expect(types(link.step(received({ type: 'ready' })))).toEqual(['opened'])
    expect(link.isOpen).toBe(true)
  })

  test('what a vector leaves out is told to a peer that has not seen why', () => {
    const lineages = new Lineages()
    lineages.learnOpening(dotOf('c2:8'), dotOf('c1:7'))
    const link = new PeerLink({ peer: 'b', ownName: 'a', lineages })
    link.step(connected({ durable: vectorOf('a1:2 c2:9'), heads: [] }))
    link.step(received(helloOf({ durable: vectorOf('a1:2 c1:3'), heads: [] })))
    const told = link.step(received({ type: 'ready' })).flatMap((effect) => {
      return effect.type === 'send' && effect.message.type === 'durable' ? [showVector(effect.message.vector)] : []
    })
    expect(told).toEqual(['a1:2 c1:7 c2:9'])
    const [pull] = link.step({ type: 'pull', pull: 1, beyond: vectorOf('a1:2 c2:9') })
    expect(pull?.type === 'send' && pull.message.type === 'pull' && showVector(pull.message.beyond)).toBe(
      'a1:2 c1:7 c2:9',
    )
    // Once it holds an op of the new incarnation it knows.
    link.step(
      received({
        type: 'durable',
        probe: 0,
        standing: 'active',
        life: 0,
        vector: vectorOf('a1:2 c2:9'),
        claims: new Map(),
      }),
    )
    const [again] = link.step({ type: 'pull', pull: 2, beyond: vectorOf('a1:2 c2:9') })
    expect(again?.type === 'send' && again.message.type === 'pull' && showVector(again.message.beyond)).toBe(
      'a1:2 c2:9',
    )
  })

  test('the peer may be ready first', () => {
    const link = make()
    link.step(connected())
    link.step(received(helloOf()))
    expect(types(link.step(received({ type: 'ready' })))).toEqual([])
    expect(types(link.step({ type: 'chains-read', chains: [CHAIN, undefined] }))).toEqual(['send ready', 'opened'])
  })

  test('another history under one dot ends the link, both sides shown', () => {
    const link = make()
    link.step(connected())
    link.step(received(helloOf()))
    const effects = link.step({ type: 'chains-read', chains: [CHAIN, new Uint8Array(16)] })
    expect(types(effects)).toEqual(['send refuse', 'close'])
    expect(errorOf(effects)).toEqual({
      code: 'cell/forked',
      origin: originOf('b2'),
      seq: 5,
      ours: '00'.repeat(16),
      theirs: '07'.repeat(16),
    })
    expect(types(link.step(received({ type: 'ready' })))).toEqual([])
  })

  test.each<[string, PeerMessage, unknown]>([
    ['another cell', helloOf({ identity: { ...IDENTITY, cell: 'd0'.repeat(16) as CellId } }), { code: 'cell/foreign' }],
    [
      'the other side of a split',
      helloOf({ identity: { ...IDENTITY, epoch: { ordinal: 2, id: 'f0'.repeat(8) } } }),
      { code: 'cell/foreign' },
    ],
    ['another name', helloOf({ name: 'c' }), { code: 'cell/foreign', expected: 'b', name: 'c' }],
    [
      'a newer protocol',
      helloOf({ oldest: 2, newest: 3 }),
      { code: 'protocol/version-unsupported', older: 'a', ours: '1-1', theirs: '2-3' },
    ],
    ['ops before hello', edit(6), { code: 'protocol/bad-message', reason: 'unexpected ops' }],
    [
      'something told before hello',
      { type: 'tell', topic: 'presence', document: 'a', payload: new Uint8Array(0) },
      { code: 'protocol/bad-message', reason: 'unexpected tell' },
    ],
    [
      'a question before hello',
      { type: 'ask', ask: 1, subject: 'status', question: new Uint8Array(0) },
      { code: 'protocol/bad-message', reason: 'unexpected ask' },
    ],
    ['ready before hello', { type: 'ready' }, { code: 'protocol/bad-message', reason: 'unexpected ready' }],
  ])('%s is refused', (_, message, error) => {
    const link = make()
    link.step(connected())
    expect(errorOf(link.step(received(message)))).toMatchObject(error as object)
    expect(link.isOpen).toBe(false)
  })

  test.each<[string, PeerMessage]>([
    ['a second hello', helloOf()],
    ['a second ready', { type: 'ready' }],
    ['more credit than there is', { type: 'credit', amount: 1 }],
    ['a state that nobody asked for', { type: 'state-begin', transfer: 1, cut: vectorOf('a1:1') }],
    ['an answer that nobody asked for', { type: 'answer', ask: 1, answer: new Uint8Array(0) }],
  ])('%s ends the link alone', (_, message) => {
    const effects = open().step(received(message))
    expect(types(effects)).toEqual(['send refuse', 'close'])
    expect(errorOf(effects)).toMatchObject({ code: 'protocol/bad-message' })
  })

  test('a peer of another epoch may take our state, and its ops are refused', () => {
    for (const [ordinal, relation] of [
      [1, 'older'],
      [3, 'newer'],
    ] as const) {
      const link = make()
      link.step(connected())
      link.step(received(helloOf({ identity: { ...IDENTITY, epoch: { ordinal, id: '01'.repeat(8) } } })))
      link.step({ type: 'chains-read', chains: [CHAIN, CHAIN] })
      expect(link.step(received({ type: 'ready' }))).toMatchObject([{ type: 'opened', relation }])
      expect(types(link.step(received({ type: 'state-request', transfer: 0, next: 0 })))).toEqual(['open-cut'])
      const own = { op: opOf('a1:4'), chain: CHAIN, position: 10 }
      expect(types(link.step({ type: 'committed', ops: [own], position: 10, durable: vectorOf('a1:4 b2:5') }))).toEqual(
        [],
      )
      expect(errorOf(link.step(received(edit(6))))).toMatchObject({ reason: 'unexpected ops' })
    }
  })

  test('a peer without a cell meets one: nothing is exchanged but births', () => {
    const link = make()
    const { identity, ...unborn } = factsOf('a', { durable: new Map(), heads: [], standing: 'empty' })
    link.step({ type: 'connected', facts: unborn, position: 0, nowMs: 0 })
    link.step(received(helloOf()))
    expect(link.step(received({ type: 'ready' }))).toMatchObject([{ type: 'opened', relation: 'unborn' }])
    const birth = { type: 'birth', identity: IDENTITY, isBorn: true } as const
    expect(link.step(received(birth))).toEqual([{ type: 'birth', message: birth }])
    expect(types(link.step({ type: 'offer-birth', message: birth }))).toEqual(['send birth'])
    void identity
  })

  test('silence while greeting ends at its deadline', () => {
    const link = make()
    link.step(connected())
    expect(types(link.step({ type: 'tick', nowMs: DEFAULT_LINK_LIMITS.greetingMs - 1 }))).toEqual([])
    expect(errorOf(link.step({ type: 'tick', nowMs: DEFAULT_LINK_LIMITS.greetingMs }))).toMatchObject({
      code: 'protocol/timeout',
    })
  })

  test('a peer that spends more than its credit ends its link', () => {
    const link = new PeerLink({ peer: 'b', ownName: 'a', lineages: new Lineages(), limits: { window: 1_000 } })
    link.step(connected())
    link.step(received(helloOf()))
    link.step({ type: 'chains-read', chains: [CHAIN, CHAIN] })
    link.step(received({ type: 'ready' }))
    const cost = flowCost(edit(6))
    let sent = 0
    for (; sent * cost < 1_000; sent++) expect(types(link.step(received(edit(6 + sent))))).toEqual(['runs'])
    expect(errorOf(link.step(received(edit(99))))).toMatchObject({ reason: 'over credit' })
  })

  test('credit returns a quarter of the window at once, less with the next tick, and not to a later connection', () => {
    const link = new PeerLink({ peer: 'b', ownName: 'a', lineages: new Lineages(), limits: { window: 4_000 } })
    const reopen = (): void => {
      link.step(connected())
      link.step(received(helloOf()))
      link.step({ type: 'chains-read', chains: [CHAIN, CHAIN] })
      link.step(received({ type: 'ready' }))
    }
    reopen()
    const cost = flowCost(edit(6))
    const receipts = [6, 7, 8, 9].map((seq) => {
      const [runs] = link.step(received(edit(seq)))
      if (runs?.type !== 'runs') throw new Error('no runs')
      return runs.receipt
    })
    const settled = (index: number): LinkEffect[] => link.step({ type: 'settled', receipt: receipts[index]! })
    expect([...settled(0), ...settled(1)]).toEqual([])
    expect(settled(2)).toEqual([{ type: 'send', message: { type: 'credit', amount: 3 * cost } }])
    expect(settled(3)).toEqual([])
    expect(link.step({ type: 'tick', nowMs: 1 })).toEqual([{ type: 'send', message: { type: 'credit', amount: cost } }])
    const [late] = link.step(received(edit(10)))
    reopen()
    for (let seq = 10; seq < 14; seq++) link.step(received(edit(seq)))
    if (late?.type === 'runs') expect(link.step({ type: 'settled', receipt: late.receipt })).toEqual([])
    expect(link.step({ type: 'tick', nowMs: 1 })).toEqual([])
  })

  test('what became durable while the two were greeting is told when they are open', () => {
    const link = make()
    link.step(connected())
    link.step(received(helloOf()))
    link.step({ type: 'committed', ops: [], position: 12, durable: vectorOf('a1:5 b2:5') })
    link.step({ type: 'chains-read', chains: [CHAIN, CHAIN] })
    expect(link.step(received({ type: 'ready' }))).toMatchObject([
      { type: 'opened' },
      { type: 'send', message: { type: 'durable', vector: vectorOf('a1:5 b2:5') } },
    ])
  })

  describe('talk of other parts', () => {
    const BYTES = Uint8Array.of(1)
    const ask = (number: number) => ({ type: 'ask', ask: number, subject: 'status', question: BYTES }) as const
    const answer = (number: number) => ({ type: 'answer', ask: number, answer: BYTES }) as const
    const tell = { type: 'tell', topic: 'presence', document: 'notes', payload: BYTES } as const

    test('passes an open link both ways, and costs no credit', () => {
      const link = open()
      expect(link.step(received(tell))).toEqual([{ ...tell, type: 'told' }])
      expect(link.step(received(ask(4)))).toEqual([{ ...ask(4), type: 'asked' }])
      expect(link.step(answer(4))).toEqual([{ type: 'send', message: answer(4) }])
      expect(link.step(tell)).toEqual([{ type: 'send', message: tell }])
      expect(link.step(ask(9))).toEqual([{ type: 'send', message: ask(9) }])
      expect(link.step(received(answer(9)))).toEqual([{ ...answer(9), type: 'answered' }])
      expect([tell, ask(1), answer(1)].map(flowCost)).toEqual([0, 0, 0])
      expect(link.step({ type: 'tick', nowMs: 1 })).toEqual([])
    })

    test('is dropped where the link is not open', () => {
      const link = make()
      expect([...link.step(tell), ...link.step(ask(1)), ...link.step(answer(1))]).toEqual([])
      link.step(connected())
      expect([...link.step(tell), ...link.step(ask(1)), ...link.step(answer(1))]).toEqual([])
    })

    test('more questions at a time than a peer may have are answered with a code at once', () => {
      const link = open()
      for (let number = 1; number <= PEER_LIMITS.asks; number++) {
        expect(types(link.step(received(ask(number))))).toEqual(['asked'])
      }
      expect(link.step(received(ask(99)))).toMatchObject([
        { type: 'send', message: { type: 'answer', ask: 99, code: 'access/too-many-requests' } },
      ])
      link.step(answer(3))
      expect(types(link.step(received(ask(99))))).toEqual(['asked'])
    })

    test('a number in use, and an answer given twice, end the link alone', () => {
      const link = open()
      link.step(received(ask(1)))
      expect(errorOf(link.step(received(ask(1))))).toMatchObject({ reason: 'unexpected ask' })
      const other = open()
      other.step(ask(1))
      other.step(received(answer(1)))
      expect(errorOf(other.step(received(answer(1))))).toMatchObject({ reason: 'unexpected answer' })
    })

    test('an answer does not reach a later connection, and no question outlives its own', () => {
      const link = open()
      link.step(received(ask(1)))
      link.step(ask(2))
      link.step({ type: 'disconnected' })
      link.step(connected())
      link.step(received(helloOf()))
      link.step({ type: 'chains-read', chains: [CHAIN, CHAIN] })
      link.step(received({ type: 'ready' }))
      expect(link.step(answer(1))).toEqual([])
      expect(errorOf(link.step(received(answer(2))))).toMatchObject({ reason: 'unexpected answer' })
    })
  })

  describe('durable vectors', () => {
    const committed = (position: number): LinkInput => ({
      type: 'committed',
      ops: [],
      position,
      durable: vectorOf(`a1:3 b2:${position}`),
    })

    test('are told every 100 ms where they changed', () => {
      const link = open()
      expect(types(link.step(committed(10)))).toEqual([])
      expect(types(link.step({ type: 'tick', nowMs: 99 }))).toEqual([])
      expect(link.step({ type: 'tick', nowMs: 100 })).toMatchObject([
        { type: 'send', message: { type: 'durable', probe: 0, standing: 'active', vector: vectorOf('a1:3 b2:10') } },
      ])
      expect(types(link.step({ type: 'tick', nowMs: 300 }))).toEqual([])
    })

    test('are told after each commit while somebody here waits, and once where the peer does', () => {
      const link = open()
      link.step({ type: 'urgency-changed', isUrgent: true })
      expect(types(link.step(committed(10)))).toEqual(['send durable'])
      expect(types(link.step(committed(11)))).toEqual(['send durable'])
      link.step({ type: 'urgency-changed', isUrgent: false })
      expect(types(link.step(committed(12)))).toEqual([])
      link.step(received({ ...edit(6), urgent: true }))
      expect(types(link.step(committed(13)))).toEqual(['send durable'])
      expect(types(link.step(committed(14)))).toEqual([])
    })

    test('[SG1-SG4] a probe is answered at once, with its number', () => {
      const link = open()
      link.step(committed(10))
      expect(link.step(received({ type: 'probe', probe: 5 }))).toMatchObject([
        { type: 'send', message: { type: 'durable', probe: 5, vector: vectorOf('a1:3 b2:10') } },
      ])
      const heard = {
        type: 'durable',
        probe: 6,
        standing: 'recovering',
        life: 2,
        vector: vectorOf('b2:9'),
        claims: new Map(),
      } as const
      const { type: _, ...facts } = heard
      expect(link.step(received(heard))).toEqual([{ type: 'heard', ...facts }])
    })

    test('standing is told at once; claims with the next vector, and once', () => {
      const link = open()
      expect(link.step({ type: 'standing-changed', standing: 'recovering', life: 4 })).toMatchObject([
        { message: { standing: 'recovering', life: 4 } },
      ])
      const claims = new Map([['c', { life: 1, vector: vectorOf('c3:1') }]])
      link.step({ type: 'claims-changed', claims })
      expect(link.step({ type: 'tick', nowMs: 200 })).toMatchObject([{ message: { type: 'durable', claims } }])
      expect(types(link.step({ type: 'tick', nowMs: 400 }))).toEqual([])
    })

    test('own ops say that they are urgent while somebody waits', () => {
      const link = open()
      const own = (seq: number, position: number): LinkInput => ({
        type: 'committed',
        ops: [{ op: opOf(`a1:${seq}`), chain: CHAIN, position }],
        position,
        durable: vectorOf(`a1:${seq} b2:5`),
      })
      expect(link.step(own(4, 10))).toMatchObject([{ message: { type: 'ops', urgent: false } }])
      link.step({ type: 'urgency-changed', isUrgent: true })
      expect(link.step(own(5, 11))).toMatchObject([
        { message: { type: 'ops', urgent: true } },
        { message: { type: 'durable' } },
      ])
    })
  })

  test('more pulls than are answered at a time are told to come later', () => {
    const link = open()
    const pull = (id: number): LinkInput =>
      received({ type: 'pull', pull: id, beyond: vectorOf('a1:1'), upTo: vectorOf('a1:3') })
    for (let id = 1; id <= DEFAULT_LINK_LIMITS.pulls; id++) link.step(pull(id))
    expect(link.step(pull(9))).toEqual([{ type: 'send', message: { type: 'pulled', pull: 9, outcome: 'busy' } }])
  })
})
