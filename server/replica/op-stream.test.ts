import { describe, expect, test } from 'vitest'
import { Lineages } from '../../shared/clock/lineages.js'
import type { LoggedOp } from '../../shared/protocol/op-log.js'
import { opCost } from '../../shared/protocol/peer.js'
import { opOf, showDot, showVector, vectorOf } from '../../test/support/causal-text.js'
import { type Credit, OpStream, type StreamEffect } from './op-stream.js'

const CHAIN = new Uint8Array(16)
const logged = (text: string, position: number, from?: string): LoggedOp => {
  return { op: opOf(text), chain: CHAIN, position, ...(from !== undefined && { from }) }
}
const COST = opCost(opOf('a1:2'))

/** The stream of replica `a` to its peer `b`, which holds `a1:1`; the log ends at position 10. */
const make = (limits: { messageCost?: number; messageOps?: number; credit?: number } = {}) => {
  const credit: Credit = { amount: limits.credit ?? 1_000_000 }
  const stream = new OpStream({
    peer: 'b',
    ownName: 'a',
    lineages: new Lineages(),
    credit,
    limits: { messageCost: limits.messageCost ?? 100_000, messageOps: limits.messageOps ?? 1_000, pulls: 2 },
  })
  stream.open(vectorOf('a1:1'), 10)
  const effects: StreamEffect[] = []
  const taken = (): string[] => effects.splice(0).map(show)
  let reads = 0
  const committed = (...ops: LoggedOp[]): string[] => {
    stream.committed(ops, ops.at(-1)?.position ?? 10, effects)
    return taken()
  }
  const read = (
    ops: LoggedOp[],
    change: { position?: number; atEnd?: boolean; isPruned?: boolean; read?: number } = {},
  ) => {
    const position = change.position ?? ops.at(-1)?.position ?? 10
    stream.logRead({ read: ++reads, ops, position, atEnd: true, isPruned: false, ...change }, effects)
    return taken()
  }
  const pull = (id: number, beyond: string, upTo?: string): string[] => {
    stream.pull(id, vectorOf(beyond), upTo === undefined ? undefined : vectorOf(upTo), effects)
    return taken()
  }
  const grant = (amount: number): string[] => {
    credit.amount += amount
    stream.granted(effects)
    return taken()
  }
  return { stream, credit, committed, read, pull, grant }
}

const show = (effect: StreamEffect): string => {
  if (effect.type === 'read-log') {
    const { after, beyond, upTo, names } = effect.range
    const rest = [upTo && `up to [${showVector(upTo)}]`, names && `of ${[...names].join(' ')}`].filter(Boolean)
    return [`read after ${after} beyond [${showVector(beyond)}]`, ...rest].join(' ')
  }
  const { message } = effect
  if (message.type === 'ops')
    return `${message.pull === 0 ? 'push' : `answer ${message.pull}`}: ${message.ops.map(({ dot }) => showDot(dot)).join(' ')}`
  return message.type === 'pulled' ? `pulled ${message.pull} ${message.outcome}` : message.type
}

describe('push', () => {
  test('own ops go out as they become durable; others do not, nor what the peer sent or holds', () => {
    const { committed, stream } = make()
    expect(committed(logged('a1:2', 11), logged('c1:1', 12), logged('b1:1', 13, 'b'))).toEqual(['push: a1:2'])
    expect(committed(logged('c1:2', 14))).toEqual([])
    stream.heard(vectorOf('a1:3'))
    expect(committed(logged('a1:3', 15), logged('a1:4', 16))).toEqual(['push: a1:4'])
  })

  test('of replicas that the peer has no link to, ops are relayed from then on, but never those it sent', () => {
    const { committed, stream } = make()
    expect(committed(logged('c1:1', 11))).toEqual([])
    stream.relay(['c', 'b'])
    expect(committed(logged('c1:2', 12), logged('c1:3', 13, 'b'), logged('b1:1', 14))).toEqual(['push: c1:2'])
    stream.relay([])
    expect(committed(logged('c1:4', 15))).toEqual([])
  })

  test('a message holds consecutive ops of each origin, and not too many', () => {
    const { committed } = make({ messageOps: 2 })
    expect(committed(logged('a1:2', 11), logged('a1:3', 12), logged('a1:4', 13))).toEqual([
      'push: a1:2 a1:3',
      'push: a1:4',
    ])
    expect(committed(logged('a1:5', 14), logged('a1:7', 15))).toEqual(['push: a1:5', 'push: a1:7'])
    expect(make().committed(logged('a1:2', 11), logged('open a1:3 of b1:2', 12))).toEqual(['push: a1:2', 'push: a1:3'])
    expect(
      make({ messageCost: 2 * COST }).committed(logged('a1:2', 11), logged('a1:3', 12), logged('a1:4', 13)),
    ).toEqual(['push: a1:2 a1:3', 'push: a1:4'])
    expect(make({ messageCost: 1 }).committed(logged('a1:2', 11))).toEqual(['push: a1:2'])
  })

  test('without credit it stops, and goes on from the log where it was; nothing is kept here', () => {
    const { committed, grant, read } = make({ credit: 1, messageOps: 1 })
    expect(committed(logged('a1:2', 11), logged('a1:3', 12))).toEqual(['push: a1:2'])
    expect(committed(logged('a1:4', 13))).toEqual([])
    expect(grant(100_000)).toEqual(['read after 11 beyond [a1:1] of a'])
    expect(committed(logged('a1:5', 14))).toEqual([])
    // The read saw the log as it was before the last commit: one more is needed.
    expect(read([logged('a1:3', 12), logged('a1:4', 13)])).toEqual([
      'push: a1:3',
      'push: a1:4',
      'read after 13 beyond [a1:1] of a',
    ])
    expect(read([logged('a1:5', 14)])).toEqual(['push: a1:5'])
    expect(committed(logged('a1:6', 15))).toEqual(['push: a1:6'])
  })

  test('credit that ends within a read leaves the rest in the log', () => {
    const { committed, grant, read } = make({ credit: 1, messageOps: 1 })
    committed(logged('a1:2', 11), logged('a1:3', 12), logged('a1:4', 13))
    expect(grant(COST + 100)).toEqual(['read after 11 beyond [a1:1] of a'])
    expect(read([logged('a1:3', 12), logged('a1:4', 13)])).toEqual(['push: a1:3'])
    expect(grant(100_000)).toEqual(['read after 12 beyond [a1:1] of a'])
    expect(read([logged('a1:4', 13)])).toEqual(['push: a1:4'])
  })

  test('one that the log no longer holds ends: the peer will pull, and be told', () => {
    const { committed, grant, read, pull } = make({ credit: 1 })
    committed(logged('a1:2', 11))
    committed(logged('a1:3', 12))
    grant(100_000)
    expect(read([], { isPruned: true })).toEqual([])
    expect(committed(logged('a1:4', 13))).toEqual(['push: a1:4'])
    expect(pull(1, 'a1:2')).toEqual(['read after 0 beyond [a1:2]'])
    expect(read([], { isPruned: true })).toEqual(['pulled 1 pruned', 'read after 13 beyond [a1:1] of a'])
  })
})

describe('pull', () => {
  test('all that the peer lacks is answered in the order of the log, and pushes go on where it ends', () => {
    const { committed, pull, read } = make()
    expect(pull(1, 'a1:1')).toEqual(['read after 0 beyond [a1:1]'])
    // What becomes durable meanwhile is in the log, and read there.
    expect(committed(logged('a1:4', 11))).toEqual([])
    expect(read([logged('c1:1', 3), logged('a1:2', 4)], { atEnd: false, position: 4 })).toEqual([
      'answer 1: c1:1 a1:2',
      'read after 4 beyond [a1:1]',
    ])
    expect(read([logged('a1:3', 7)], { position: 10 })).toEqual(['answer 1: a1:3', 'read after 10 beyond [a1:1]'])
    expect(read([logged('a1:4', 11)])).toEqual(['answer 1: a1:4', 'pulled 1 complete'])
    expect(committed(logged('a1:5', 12))).toEqual(['push: a1:5'])
  })

  test('the causes of one op are answered beside the pushes', () => {
    const { committed, pull, read } = make()
    expect(pull(1, 'a1:1', 'c1:2')).toEqual(['read after 0 beyond [a1:1] up to [c1:2]'])
    expect(committed(logged('a1:2', 11))).toEqual(['push: a1:2'])
    expect(read([logged('c1:1', 3), logged('c1:2', 4)], { position: 10 })).toEqual([
      'answer 1: c1:1 c1:2',
      'pulled 1 complete',
    ])
  })

  test('several take turns, and too many are told to come later', () => {
    const { pull, read } = make()
    expect(pull(1, '', 'c1:9')).toEqual(['read after 0 beyond [] up to [c1:9]'])
    expect(pull(2, '', 'd1:9')).toEqual([])
    expect(pull(3, '', 'e1:9')).toEqual(['pulled 3 busy'])
    expect(pull(2, '', 'd1:9')).toEqual(['pulled 2 busy'])
    expect(read([logged('c1:1', 3)], { atEnd: false })).toEqual([
      'answer 1: c1:1',
      'read after 0 beyond [] up to [d1:9]',
    ])
    expect(read([logged('d1:1', 4)])).toEqual([
      'answer 2: d1:1',
      'pulled 2 complete',
      'read after 3 beyond [] up to [c1:9]',
    ])
  })

  test('a pull to the end takes over from a push that had fallen back', () => {
    const { committed, grant, pull, read } = make({ credit: 1, messageOps: 1 })
    committed(logged('a1:2', 11), logged('a1:3', 12))
    expect(grant(100_000)).toEqual(['read after 11 beyond [a1:1] of a'])
    expect(pull(1, 'a1:1')).toEqual([])
    // The answer to the push's read belongs to nobody any more.
    expect(read([logged('a1:3', 12)])).toEqual(['read after 0 beyond [a1:1]'])
    expect(read([logged('a1:2', 11), logged('a1:3', 12)])).toEqual([
      'answer 1: a1:2',
      'answer 1: a1:3',
      'pulled 1 complete',
    ])
    expect(committed(logged('a1:4', 13))).toEqual(['push: a1:4'])
  })
})

test('what was read for a connection that ended is not sent on the next one', () => {
  const { stream, pull, read } = make()
  pull(1, 'a1:1')
  stream.close()
  stream.open(vectorOf('a1:1'), 10)
  expect(pull(1, 'a1:2')).toEqual(['read after 0 beyond [a1:2]'])
  expect(read([logged('a1:2', 4)])).toEqual([])
  expect(read([logged('a1:3', 5)], { position: 10 })).toEqual(['answer 1: a1:3', 'pulled 1 complete'])
})
