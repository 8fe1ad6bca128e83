import { describe, expect, test } from 'vitest'
import { Lineages } from '../../shared/clock/lineages.js'
import { showVector, vectorOf } from '../../test/support/causal-text.js'
import { CatchUp, type CatchUpEffect, DEFAULT_CATCH_UP_LIMITS } from './catch-up.js'

const { stalledMs, silentMs, abandonMs } = DEFAULT_CATCH_UP_LIMITS

const show = (effect: CatchUpEffect): string => {
  switch (effect.type) {
    case 'pull': {
      const upTo = effect.upTo ? ` up to [${showVector(effect.upTo)}]` : ''
      return `pull ${effect.pull} from ${effect.peer} beyond [${showVector(effect.beyond)}]${upTo}`
    }
    case 'relay':
      return `relay ${effect.names.join(' ') || 'nothing'} through ${effect.peer}`
    case 'take-state':
    case 'abandon-state':
      return `${effect.type} ${effect.peer}`
  }
}

const make = () => {
  const catchUp = new CatchUp({ lineages: new Lineages() })
  const step = (input: Parameters<CatchUp['step']>[0]): string[] => catchUp.step(input).map(show)
  return {
    step,
    open: (peer: string, vector: string, nowMs = 0) =>
      step({ type: 'link-opened', peer, vector: vectorOf(vector), nowMs }),
    close: (peer: string, nowMs = 0) => step({ type: 'link-closed', peer, nowMs }),
    heard: (peer: string, vector: string) => step({ type: 'heard', peer, vector: vectorOf(vector) }),
    advanced: (cut: string, nowMs = 0, floor = '') =>
      step({ type: 'advanced', cut: vectorOf(cut), floor: vectorOf(floor), nowMs }),
    pulled: (peer: string, pull: number, outcome: 'complete' | 'pruned' | 'busy', nowMs = 0) =>
      step({ type: 'pulled', peer, pull, outcome, nowMs }),
    tick: (nowMs: number) => step({ type: 'tick', nowMs }),
    blocked: (peer: string, upTo: string) =>
      step({ type: 'blocked', peer, beyond: vectorOf(''), upTo: vectorOf(upTo) }),
  }
}

describe('behind', () => {
  test('a peer that holds more when it is met is pulled from at once; one that does not, is not', () => {
    const { open, advanced } = make()
    advanced('a1:3')
    expect(open('b', 'a1:3')).toEqual([])
    expect(open('c', 'a1:4')).toEqual(['pull 1 from c beyond [a1:3]'])
  })

  test('one at a time, from the one that holds most; the next when the first is done', () => {
    const { open, advanced, pulled } = make()
    expect(open('b', 'a1:3')).toEqual(['pull 1 from b beyond []'])
    expect(open('c', 'a1:9')).toEqual([])
    expect(open('d', 'a1:9 d1:1')).toEqual([])
    advanced('a1:3')
    expect(pulled('b', 1, 'complete')).toEqual(['pull 2 from d beyond [a1:3]'])
    advanced('a1:9 d1:1')
    expect(pulled('d', 2, 'complete')).toEqual([])
  })

  test('what is only under way is not pulled: an entry has to stand still for a while', () => {
    const { open, heard, advanced, tick } = make()
    open('b', '')
    heard('b', 'a1:1')
    expect(tick(1_000)).toEqual([])
    advanced('a1:1', 1_100)
    heard('b', 'a1:2')
    expect(tick(1_200)).toEqual([])
    expect(tick(1_200 + stalledMs - 1)).toEqual([])
    expect(tick(1_200 + stalledMs)).toEqual(['pull 1 from b beyond [a1:1]'])
  })

  test('entries that move are not behind, however long they lag', () => {
    const { open, heard, advanced, tick } = make()
    open('b', '')
    for (let at = 1; at < 20; at++) {
      heard('b', `a1:${at + 1}`)
      advanced(`a1:${at}`)
      expect(tick(at * stalledMs)).toEqual([])
    }
  })

  test('a pull that brings nothing is given up, and another peer asked; arrivals keep it', () => {
    const { open, tick, step } = make()
    open('b', 'a1:9')
    open('c', 'a1:8')
    expect(tick(silentMs - 1)).toEqual([])
    step({ type: 'arrived', peer: 'b', nowMs: 1_000 })
    expect(tick(silentMs)).toEqual([])
    expect(tick(silentMs + 1_000)).toEqual(['pull 2 from c beyond []'])
  })

  test('when the link of a pull ends, another peer is asked at once', () => {
    const { open, close } = make()
    open('b', 'a1:9')
    open('c', 'a1:8')
    expect(close('b')).toEqual(['pull 2 from c beyond []'])
  })

  test('a busy peer is asked again after a while', () => {
    const { open, pulled, tick } = make()
    open('b', 'a1:9')
    expect(pulled('b', 1, 'busy', 100)).toEqual([])
    expect(tick(100 + silentMs - 1)).toEqual([])
    expect(tick(100 + silentMs)).toEqual(['pull 2 from b beyond []'])
  })

  test('an answer that was no longer waited for changes nothing', () => {
    const { open, pulled } = make()
    open('b', 'a1:9')
    expect(pulled('b', 7, 'pruned')).toEqual([])
    expect(pulled('c', 1, 'pruned')).toEqual([])
  })
})

describe('blocked ops', () => {
  test('their causes are asked of the sender, one question at a time', () => {
    const { open, blocked, pulled } = make()
    open('b', '')
    expect(blocked('b', 'a1:2')).toEqual(['pull 1 from b beyond [] up to [a1:2]'])
    expect(blocked('b', 'a1:3')).toEqual([])
    expect(pulled('b', 1, 'complete')).toEqual([])
    expect(blocked('b', 'a1:3')).toEqual(['pull 2 from b beyond [] up to [a1:3]'])
    expect(blocked('x', 'a1:3')).toEqual([])
  })

  test('not while a pull or a state is coming that brings them anyway', () => {
    const { open, blocked, pulled } = make()
    open('b', 'a1:9')
    expect(blocked('b', 'a1:2')).toEqual([])
    expect(pulled('b', 1, 'pruned')).toEqual(['take-state b'])
    expect(blocked('b', 'a1:2')).toEqual([])
  })

  test('causes that are pruned at their sender come as its state', () => {
    const { open, blocked, pulled } = make()
    open('b', '')
    blocked('b', 'a1:2')
    expect(pulled('b', 1, 'pruned')).toEqual(['take-state b'])
  })
})

describe('state', () => {
  test('is taken where the log does not reach back; nothing is pulled before it has come', () => {
    const { open, pulled, tick, step, advanced } = make()
    open('b', 'a1:9')
    open('c', 'a1:10')
    expect(pulled('b', 1, 'pruned')).toEqual(['take-state b'])
    expect(tick(abandonMs - 1)).toEqual([])
    advanced('a1:9')
    expect(step({ type: 'state-ended', isJoined: true, nowMs: 5_000 })).toEqual(['pull 2 from c beyond [a1:9]'])
  })

  test('is not taken from a peer that lacks what our own log no longer holds', () => {
    const { open, pulled, advanced, tick } = make()
    advanced('b1:5', 0, 'b1:4')
    open('c', 'a1:9 b1:3')
    expect(pulled('c', 1, 'pruned', 0)).toEqual([])
    expect(tick(silentMs - 1)).toEqual([])
    expect(tick(silentMs)).toEqual(['pull 2 from c beyond [b1:5]'])
  })

  test('that does not come is abandoned, and another way tried', () => {
    const { open, pulled, step, tick } = make()
    open('b', 'a1:9')
    open('c', 'a1:10')
    pulled('b', 1, 'pruned')
    step({ type: 'arrived', peer: 'b', nowMs: 1_000 })
    expect(tick(abandonMs)).toEqual([])
    expect(tick(abandonMs + 1_000)).toEqual(['abandon-state b', 'pull 2 from c beyond []'])
  })

  test('that could not be had is asked of another first', () => {
    const { open, pulled, step } = make()
    open('b', 'a1:9')
    open('c', 'a1:8')
    pulled('b', 1, 'pruned')
    expect(step({ type: 'state-ended', isJoined: false, nowMs: 0 })).toEqual(['pull 2 from c beyond []'])
  })
})

describe('relays', () => {
  const members = (...names: string[]) => ({ type: 'members-changed', names: new Set(names) }) as const

  test('a member without a link is relayed by the peer that holds most of it, until there is a link', () => {
    const { open, step, tick, heard } = make()
    step(members('b', 'c', 'd'))
    expect(open('b', 'd1:3')).toEqual(['relay c d through b', 'pull 1 from b beyond []'])
    expect(open('c', 'd1:9')).toEqual(['relay d through b'])
    heard('c', 'd1:99')
    expect(tick(10)).toEqual([])
    expect(open('d', '')).toEqual(['relay nothing through b'])
  })

  test('when the relaying peer goes, another takes over', () => {
    const { open, close, step, advanced } = make()
    step(members('b', 'c', 'd', 'e'))
    advanced('d1:9 e1:9')
    open('b', 'd1:3')
    open('c', 'd1:9 e1:4')
    open('e', '')
    expect(close('b')).toEqual(['relay b d through c'])
  })
})
