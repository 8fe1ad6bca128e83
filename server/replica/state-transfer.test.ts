import { describe, expect, test } from 'vitest'
import type { PeerMessage } from '../../shared/protocol/peer.js'
import { showVector, vectorOf } from '../../test/support/causal-text.js'
import { type DonorEffect, type ReceiverEffect, StateDonor, StateReceiver } from './state-transfer.js'

const BYTES = new Uint8Array(10)
const RECEIPT = { connection: 1, cost: 74 }
const showMessage = (message: PeerMessage): string => {
  switch (message.type) {
    case 'state-request':
      return `request ${message.transfer} from ${message.next}`
    case 'state-begin':
      return `begin ${message.transfer} at ${showVector(message.cut)}`
    case 'state-chunk':
      return `chunk ${message.index} of ${message.transfer}${message.isLast ? ', the last' : ''}`
    default:
      return message.type
  }
}
const show = (effect: DonorEffect | ReceiverEffect): string => {
  switch (effect.type) {
    case 'send':
      return showMessage(effect.message)
    case 'read-chunk':
      return `read ${effect.index} of ${effect.transfer}`
    case 'open-cut':
    case 'close-cut':
      return `${effect.type} ${effect.transfer}`
    case 'begin-state':
    case 'join-state':
      return `${effect.type} ${showVector(effect.cut)}`
    case 'store-chunk':
      return `store ${effect.index}`
    default:
      return effect.type
  }
}

describe('giving', () => {
  const make = (amount = 1_000_000) => {
    const credit = { amount }
    const donor = new StateDonor(credit)
    const step = (act: (effects: DonorEffect[]) => void): string[] => {
      const effects: DonorEffect[] = []
      act(effects)
      return effects.map(show)
    }
    return {
      donor,
      credit,
      step,
      request: (transfer: number, next: number, nowMs = 0) =>
        step((out) => donor.request({ type: 'state-request', transfer, next }, nowMs, out)),
      opened: (transfer: number, cut: string | undefined) =>
        step((out) => donor.cutOpened(transfer, cut === undefined ? undefined : vectorOf(cut), out)),
      read: (transfer: number, index: number, isLast = false) =>
        step((out) => donor.chunkRead(transfer, index, BYTES, isLast, out)),
      granted: (amount: number, nowMs = 0) =>
        step((out) => {
          credit.amount += amount
          donor.granted(nowMs, out)
        }),
      tick: (nowMs: number) => step((out) => donor.tick(nowMs, out)),
    }
  }

  test('one cut, chunk after chunk, closed when it is taken', () => {
    const { request, opened, read, step, donor } = make()
    expect(request(0, 0)).toEqual(['open-cut 1'])
    expect(opened(1, 'a1:5')).toEqual(['begin 1 at a1:5', 'read 0 of 1'])
    expect(read(1, 0)).toEqual(['chunk 0 of 1', 'read 1 of 1'])
    expect(read(1, 1, true)).toEqual(['chunk 1 of 1, the last'])
    expect(step((out) => donor.taken({ type: 'state-taken', transfer: 1 }, out))).toEqual(['close-cut 1'])
    expect(request(1, 1)).toEqual(['open-cut 2'])
  })

  test('chunks wait for credit, and a chunk is read only when it can be sent', () => {
    const { request, opened, read, granted } = make(0)
    request(0, 0)
    expect(opened(1, 'a1:5')).toEqual(['begin 1 at a1:5'])
    expect(granted(10)).toEqual(['read 0 of 1'])
    expect(read(1, 0)).toEqual(['chunk 0 of 1'])
    expect(granted(10)).toEqual([])
    expect(granted(100)).toEqual(['read 1 of 1'])
  })

  test('after a break it goes on with the same cut, from the chunk that is asked for', () => {
    const { request, opened, read, donor } = make()
    request(0, 0)
    opened(1, 'a1:5')
    read(1, 0)
    donor.disconnected()
    expect(read(1, 1)).toEqual([])
    expect(request(1, 1)).toEqual(['begin 1 at a1:5', 'read 1 of 1'])
    // Read for the connection before.
    expect(read(1, 2)).toEqual([])
    expect(read(1, 1)).toEqual(['chunk 1 of 1', 'read 2 of 1'])
    // A transfer that it does not know begins anew.
    expect(request(7, 3)).toEqual(['close-cut 1', 'open-cut 2'])
    expect(read(1, 2)).toEqual([])
  })

  test('a cut whose receiver is silent is given up; one that returns credit is kept', () => {
    const { request, opened, granted, tick } = make()
    request(0, 0)
    opened(1, 'a1:5')
    expect(tick(59_999)).toEqual([])
    granted(0, 30_000)
    expect(tick(60_000)).toEqual([])
    expect(tick(90_000)).toEqual(['close-cut 1'])
    expect(tick(200_000)).toEqual([])
  })

  test('a cut that cannot be opened is said; one that was asked for anew meanwhile is closed', () => {
    const { request, opened } = make()
    request(0, 0)
    expect(opened(1, undefined)).toEqual(['state-refused'])
    request(0, 0)
    request(0, 0)
    expect(opened(2, 'a1:5')).toEqual(['close-cut 2'])
    expect(opened(3, 'a1:6')).toEqual(['begin 3 at a1:6', 'read 0 of 3'])
  })
})

describe('taking', () => {
  const make = () => {
    const receiver = new StateReceiver()
    const step = (act: (effects: ReceiverEffect[]) => void): string[] => {
      const effects: ReceiverEffect[] = []
      act(effects)
      return effects.map(show)
    }
    return {
      take: (donor = 'x') => step((out) => receiver.take(donor, out)),
      connected: (donor = 'x') => step((out) => receiver.connected(donor, out)),
      begun: (transfer: number, cut: string) =>
        step((out) => receiver.begun({ type: 'state-begin', transfer, cut: vectorOf(cut) }, out)),
      chunk: (transfer: number, index: number, isLast = false) =>
        step((out) => {
          const isWanted = receiver.chunk({ type: 'state-chunk', transfer, index, isLast, bytes: BYTES }, RECEIPT, out)
          expect(isWanted).toBe(out.length > 0)
        }),
      stored: (index: number) => step((out) => receiver.chunkStored(index, out)),
      refused: () => step((out) => receiver.refused(out)),
      abandon: () => step((out) => receiver.abandon(out)),
    }
  }

  test('nothing is joined before the last chunk is stored, and then everything at once', () => {
    const { take, begun, chunk, stored } = make()
    expect(take()).toEqual(['request 0 from 0'])
    expect(begun(4, 'a1:5')).toEqual(['begin-state a1:5'])
    expect([chunk(4, 0), chunk(4, 1), chunk(4, 2, true)].flat()).toEqual(['store 0', 'store 1', 'store 2'])
    expect([stored(0), stored(1)].flat()).toEqual([])
    expect(stored(2)).toEqual(['state-taken', 'join-state a1:5'])
    expect(stored(2)).toEqual([])
  })

  test('a broken transfer goes on behind what is stored', () => {
    const { take, begun, chunk, stored, connected } = make()
    take()
    begun(4, 'a1:5')
    chunk(4, 0)
    chunk(4, 1, true)
    stored(0)
    expect(connected()).toEqual(['request 4 from 1'])
    expect(begun(4, 'a1:5')).toEqual([])
    expect(chunk(4, 1, true)).toEqual(['store 1'])
    expect(stored(1)).toEqual(['state-taken', 'join-state a1:5'])
  })

  test('where the donor has another cut by now, what was stored is dropped', () => {
    const { take, begun, chunk, stored, connected } = make()
    take()
    begun(4, 'a1:5')
    chunk(4, 0)
    stored(0)
    connected()
    expect(begun(5, 'a1:9')).toEqual(['discard-state', 'begin-state a1:9'])
    expect(chunk(4, 1)).toEqual([])
    expect(chunk(5, 0, true)).toEqual(['store 0'])
    expect(stored(0)).toEqual(['state-taken', 'join-state a1:9'])
  })

  test('another process of the donor, a refusal, and giving up end it', () => {
    const { take, begun, connected, refused, abandon, chunk } = make()
    take('x')
    begun(4, 'a1:5')
    expect(connected('y')).toEqual(['discard-state', 'state-failed'])
    expect(refused()).toEqual([])
    take('y')
    expect(refused()).toEqual(['state-failed'])
    take('y')
    begun(5, 'a1:5')
    expect(abandon()).toEqual(['discard-state'])
    expect(chunk(5, 0)).toEqual([])
    expect(connected('y')).toEqual([])
  })

  test('chunks out of order, behind the last, or of nothing are no honest donor', () => {
    const { take, begun, chunk } = make()
    expect(() => begun(1, 'a1:1')).toThrow('could not be decoded')
    take()
    begun(4, 'a1:5')
    expect(() => chunk(4, 1)).toThrow('could not be decoded')
    chunk(4, 0, true)
    expect(() => chunk(4, 1)).toThrow('could not be decoded')
  })
})
