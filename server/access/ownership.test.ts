import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Ownership, type OwnershipLimits } from './ownership.js'

const ROOMY: OwnershipLimits = { idsPerUser: 100, idsPerDocument: 100 }

describe('[SEC] an owned client id', () => {
  test('belongs to the first who announces it, whoever else does', () => {
    const ownership = new Ownership()
    expect(ownership.announce(7, 'ada')).toEqual({ type: 'owned' })
    expect(ownership.announce(7, 'eve')).toEqual({ type: 'refused', reason: 'taken' })
    expect(ownership.announce(7, 'ada')).toEqual({ type: 'known' })
    expect(ownership.ownerOf(7)?.user).toBe('ada')
  })

  test.each([
    // owner, author, foreign?
    ['ada', 'ada', false],
    ['ada', 'eve', true],
    ['ada', undefined, true],
    [undefined, 'eve', false],
    [undefined, undefined, false],
  ])('of %s, extended by %s, is foreign: %s', (owner, author, expected) => {
    const ownership = new Ownership(owner === undefined ? [] : [{ client: 7, user: owner }])
    expect(ownership.isForeign(7, author)).toBe(expected)
  })

  test.each(['', 'u'.repeat(257), 'half \ud83d of a pair'])('is not given to a user named %j', (user) => {
    expect(new Ownership().announce(7, user)).toEqual({ type: 'refused', reason: 'nobody' })
  })

  test('is kept by its owner whatever is relayed under it', () => {
    const ownership = new Ownership([{ client: 7, user: 'ada' }])
    expect(ownership.relay(7, 5)).toBe(true)
    expect(ownership.relay(7, 9)).toBe(false)
    expect(ownership.relay(7, 3)).toBe(true)
    expect(ownership.ownerOf(7)).toEqual({ user: 'ada', relayedFrom: 3 })
  })
})

describe('[DU3] what others brought under an id', () => {
  test('is doubtful for its owner, from the first of it on, until confirmed; and again when more comes', () => {
    const ownership = new Ownership([{ client: 7, user: 'ada' }])
    expect(ownership.doubtfulOf('ada').size).toBe(0)
    ownership.relay(7, 5)
    ownership.relay(7, 9)
    expect([...ownership.doubtfulOf('ada')]).toEqual([[7, 5]])
    expect([ownership.doubtfulOf('eve').size, ownership.doubtfulOf(undefined).size]).toEqual([0, 0])
    ownership.confirm(7)
    expect(ownership.doubtfulOf('ada').size).toBe(0)
    expect(ownership.relay(7, 12)).toBe(false)
    expect([...ownership.doubtfulOf('ada')]).toEqual([[7, 12]])
    expect(ownership.ownerOf(7)).toEqual({ user: 'ada', relayedFrom: 5 })
  })

  test('is doubtful again after a restart, and no more when its commit failed or the id is evicted', () => {
    const ownership = new Ownership([{ client: 7, user: 'ada', relayedFrom: 5 }], { idsPerUser: 1, idsPerDocument: 9 })
    expect([...ownership.doubtfulOf('ada')]).toEqual([[7, 5]])
    ownership.announce(8, 'ada')
    expect(ownership.doubtfulOf('ada').size).toBe(0)
    ownership.settle()
    ownership.relay(8, 1)
    ownership.rollBack()
    expect(ownership.doubtfulOf('ada').size).toBe(0)
  })
})

describe('limits', () => {
  test('[SEC] who announces without end sheds only what is theirs', () => {
    const ownership = new Ownership([{ client: 1, user: 'ada' }], { idsPerUser: 3, idsPerDocument: 100 })
    const evicted = Array.from({ length: 6 }, (_, index) => ownership.announce(10 + index, 'eve'))
    expect(evicted.map((made) => (made.type === 'owned' ? made.evicts : made))).toEqual([
      undefined,
      undefined,
      undefined,
      10,
      11,
      12,
    ])
    expect(ownership.ownerOf(1)?.user).toBe('ada')
    expect(ownership.size).toBe(4)
  })

  test('[SEC] in a full document newcomers own nothing, and nobody loses what is theirs', () => {
    const ownership = new Ownership([], { idsPerUser: 3, idsPerDocument: 4 })
    for (let id = 0; id < 4; id++) ownership.announce(id, `user ${id}`)
    expect(ownership.announce(9, 'late')).toEqual({ type: 'refused', reason: 'full' })
    expect([0, 1, 2, 3].map((id) => ownership.ownerOf(id)?.user)).toEqual(['user 0', 'user 1', 'user 2', 'user 3'])
  })
})

describe('a failed commit', () => {
  test('takes back what was announced and relayed, an eviction included', () => {
    const ownership = new Ownership([{ client: 1, user: 'ada' }], { idsPerUser: 1, idsPerDocument: 9 })
    ownership.announce(2, 'ada')
    ownership.relay(2, 4)
    expect(ownership.hasInFlight).toBe(true)
    ownership.rollBack()
    expect([ownership.ownerOf(1), ownership.ownerOf(2), ownership.hasInFlight]).toEqual([
      { user: 'ada' },
      undefined,
      false,
    ])
  })

  test('leaves exactly what is durable, whatever was in flight', () => {
    interface Change {
      readonly client: number
      readonly user: string
      readonly relayedFrom: number | null
    }
    const change: fc.Arbitrary<Change> = fc.record({
      client: fc.nat({ max: 4 }),
      user: fc.constantFrom('ada', 'bob', 'eve'),
      relayedFrom: fc.option(fc.nat({ max: 4 })),
    })
    const perform = (ownership: Ownership, { client, user, relayedFrom }: Change): void => {
      if (relayedFrom === null) ownership.announce(client, user)
      else if (ownership.isForeign(client, user)) ownership.relay(client, relayedFrom)
    }
    const limits = { idsPerUser: 2, idsPerDocument: 4 }
    const show = (ownership: Ownership) => [ownership.size, ...[0, 1, 2, 3, 4].map((id) => ownership.ownerOf(id))]
    fc.assert(
      fc.property(fc.array(change, { maxLength: 12 }), fc.array(change, { maxLength: 12 }), (durable, failed) => {
        const expected = new Ownership([], limits)
        const ownership = new Ownership([], limits)
        for (const one of durable) {
          perform(expected, one)
          perform(ownership, one)
        }
        while (ownership.hasInFlight) ownership.settle()
        for (const one of failed) perform(ownership, one)
        ownership.rollBack()
        expect(show(ownership)).toEqual(show(expected))
      }),
    )
  })

  test('of nothing changes nothing', () => {
    const ownership = new Ownership([{ client: 1, user: 'ada', relayedFrom: 2 }], ROOMY)
    ownership.rollBack()
    expect(ownership.ownerOf(1)).toEqual({ user: 'ada', relayedFrom: 2 })
  })
})
