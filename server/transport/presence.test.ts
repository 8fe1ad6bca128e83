import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { Awareness, applyAwarenessUpdate, encodeAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness'
import { Doc } from 'yjs'
import { type AwarenessEntry, decodeAwareness, encodeAwareness } from '../../shared/protocol/awareness.js'
import { PRESENCE_LIMITS, Presence, type PresenceStamp } from './presence.js'

const NOBODY: PresenceStamp = {}
const ADA: PresenceStamp = { userId: 'user-ada', name: 'Ada' }
const EVE: PresenceStamp = { userId: 'user-eve', name: 'Eve' }

const entry = (clientId: number, clock: number, state: unknown): AwarenessEntry => ({
  clientId,
  clock,
  json: state === null ? null : JSON.stringify(state),
})
const say = (...entries: AwarenessEntry[]): Uint8Array => encodeAwareness(entries)

/** `5@3 {"a":1}`, `5@4 gone`. */
function show(update: Uint8Array | undefined): string[] {
  return decodeAwareness(update ?? say(), 10_000).map(({ clientId, clock, json }) => {
    const text = new TextDecoder().decode(json)
    return `${clientId}@${clock} ${text === 'null' ? 'gone' : text}`
  })
}

/** A presence with `owners` connections, numbered from 1. */
function presenceOf(owners: number, limits = PRESENCE_LIMITS): Presence {
  const presence = new Presence(limits)
  for (let n = 0; n < owners; n++) presence.join()
  return presence
}

test('a state is shown to everybody, and to whoever joins later', () => {
  const presence = presenceOf(3)
  presence.receive(1, NOBODY, say(entry(5, 3, { a: 1 })), 0)
  expect(show(presence.takeChanges())).toEqual(['5@3 {"a":1}'])
  expect(presence.takeChanges()).toBeUndefined()
  expect(show(presence.states())).toEqual(['5@3 {"a":1}'])
  presence.receive(1, NOBODY, say(entry(5, 4, { a: 2 })), 0)
  expect(show(presence.states())).toEqual(['5@4 {"a":2}'])
})

test('changes of one turn leave as one update, the latest of each id', () => {
  const presence = presenceOf(3)
  presence.receive(1, NOBODY, say(entry(5, 1, { a: 1 })), 0)
  presence.receive(2, NOBODY, say(entry(6, 1, { b: 1 })), 0)
  presence.receive(1, NOBODY, say(entry(5, 2, { a: 2 })), 0)
  expect(show(presence.takeChanges())).toEqual(['5@2 {"a":2}', '6@1 {"b":1}'])
})

test('[SEC] the identity in a state is the token’s, whatever the client wrote', () => {
  const presence = presenceOf(3)
  presence.receive(1, EVE, say(entry(5, 1, { user: { id: 'user-ada', name: 'Ada', color: 'red' }, cursor: 7 })), 0)
  expect(show(presence.takeChanges())).toEqual(['5@1 {"user":{"id":"user-eve","name":"Eve","color":"red"},"cursor":7}'])
  presence.receive(2, ADA, say(entry(6, 1, { user: 'me' }), entry(7, 1, {})), 0)
  expect(show(presence.takeChanges())).toEqual([
    '6@1 {"user":{"id":"user-ada","name":"Ada"}}',
    '7@1 {"user":{"id":"user-ada","name":"Ada"}}',
  ])
})

test('[SEC] nobody can replace, end or renew the presence of another connection', () => {
  const presence = presenceOf(3)
  presence.receive(1, ADA, say(entry(5, 1, { a: 1 })), 0)
  const before = show(presence.takeChanges())
  for (const forged of [entry(5, 9, { a: 2 }), entry(5, 9, null), entry(5, 1, null), entry(5, 1, { a: 1 })]) {
    presence.receive(2, EVE, say(forged), 0)
    presence.receive(3, NOBODY, say(forged), 0)
  }
  expect(presence.takeChanges()).toBeUndefined()
  expect(show(presence.states())).toEqual(before)
})

test('the same person on a new connection takes over, while the old one is not yet known to be dead', () => {
  const presence = presenceOf(3)
  presence.receive(1, ADA, say(entry(5, 1, { a: 1 })), 0)
  presence.receive(2, ADA, say(entry(5, 1, { a: 'stale' })), 0)
  expect(show(presence.takeChanges())).toEqual(['5@1 {"a":1,"user":{"id":"user-ada","name":"Ada"}}'])
  presence.receive(2, ADA, say(entry(5, 2, { a: 2 })), 0)
  presence.takeChanges()
  presence.leave(1)
  expect(presence.takeChanges(), 'the old connection ends nothing any more').toBeUndefined()
  presence.leave(2)
  expect(show(presence.takeChanges())).toEqual(['5@3 gone'])
})

test('every id seen with a state on a connection is gone when it closes', () => {
  const presence = presenceOf(3)
  presence.receive(1, NOBODY, say(entry(5, 3, { a: 1 }), entry(6, 1, { b: 1 })), 0)
  presence.receive(2, NOBODY, say(entry(7, 1, {})), 0)
  presence.takeChanges()
  presence.leave(1)
  presence.leave(1)
  expect(show(presence.takeChanges())).toEqual(['5@4 gone', '6@2 gone'])
  expect(show(presence.states())).toEqual(['7@1 {}'])
})

test('[SEC] the own id of a connection is the first that it showed, whatever it says of others', () => {
  const presence = presenceOf(4)
  expect(presence.ownIdOf(1)).toBeUndefined()
  presence.receive(1, ADA, say(entry(5, 1, { a: 1 })), 0)
  presence.receive(1, ADA, say(entry(6, 1, { a: 1 })), 0)
  expect(presence.ownIdOf(1)).toBe(5)
  // What is said of somebody present, or that somebody is gone, announces nothing.
  presence.receive(2, EVE, say(entry(5, 9, { a: 2 }), entry(7, 1, null)), 0)
  expect(presence.ownIdOf(2)).toBeUndefined()
  presence.leave(1)
  // Nor does what was heard of somebody who has left meanwhile.
  presence.receive(2, EVE, say(entry(5, 1, { a: 1 })), 0)
  expect(presence.ownIdOf(2)).toBeUndefined()
  presence.receive(2, EVE, say(entry(8, 1, {})), 0)
  expect([presence.ownIdOf(1), presence.ownIdOf(2)]).toEqual([undefined, 8])
})

test('a client that says goodbye is gone at its own clock', () => {
  const presence = presenceOf(3)
  presence.receive(1, NOBODY, say(entry(5, 3, {})), 0)
  presence.receive(1, NOBODY, say(entry(5, 4, null)), 0)
  expect(show(presence.takeChanges())).toEqual(['5@4 gone'])
  presence.leave(1)
  expect(presence.takeChanges()).toBeUndefined()
  expect(presence.isAtRest).toBe(true)
})

test('who returns with the clock it left with is visible at once, and is nudged over it', () => {
  const presence = presenceOf(3)
  presence.receive(1, NOBODY, say(entry(5, 3, { a: 1 })), 0)
  presence.leave(1)
  presence.takeChanges()
  const owner = presence.join()
  presence.receive(owner, NOBODY, say(entry(5, 3, { a: 1 })), 0)
  expect([...presence.takeNudges()].map(([owner, update]) => [owner, show(update)])).toEqual([[owner, ['5@5 gone']]])
  expect(show(presence.takeChanges())).toEqual(['5@5 {"a":1}'])
})

test('what somebody sends back of a person that has left meanwhile makes no ghost', () => {
  const presence = presenceOf(2)
  presence.receive(1, NOBODY, say(entry(5, 3, { a: 1 })), 0)
  presence.takeChanges()
  presence.leave(1)
  expect(show(presence.takeChanges())).toEqual(['5@4 gone'])
  presence.receive(2, NOBODY, say(entry(5, 3, { a: 1 })), 0)
  expect(presence.takeChanges()).toBeUndefined()
  expect(presence.states()).toBeUndefined()
})

test('a state that is only an echo changes nothing, a renewal is passed on', () => {
  const presence = presenceOf(3)
  presence.receive(1, ADA, say(entry(5, 1, { a: 1 })), 0)
  presence.takeChanges()
  for (const owner of [1, 2]) {
    presence.receive(owner, ADA, say(entry(5, 1, { a: 1 })), 0)
    presence.receive(owner, ADA, say(entry(5, 1, { a: 1, user: { id: 'user-ada', name: 'Ada' } })), 0)
  }
  expect(presence.takeNudges().size).toBe(0)
  expect(presence.takeChanges()).toBeUndefined()
  presence.receive(1, ADA, say(entry(5, 2, { a: 1 })), 0)
  expect(show(presence.takeChanges())).toEqual(['5@2 {"a":1,"user":{"id":"user-ada","name":"Ada"}}'])
  expect(show(presence.states())).toEqual(['5@2 {"a":1,"user":{"id":"user-ada","name":"Ada"}}'])
})

test('30 s of silence end a state, and a late renewal brings it back', () => {
  const presence = presenceOf(3)
  presence.receive(1, NOBODY, say(entry(5, 1, {})), 0)
  presence.receive(1, NOBODY, say(entry(6, 1, {})), 15_000)
  presence.takeChanges()
  presence.tick(29_999)
  expect(presence.takeChanges()).toBeUndefined()
  presence.tick(30_000)
  expect(show(presence.takeChanges())).toEqual(['5@1 gone'])
  presence.receive(1, NOBODY, say(entry(5, 2, {})), 40_000)
  expect(presence.takeNudges().size).toBe(0)
  expect(show(presence.takeChanges())).toEqual(['5@2 {}'])
})

test('of changes beyond the rate the latest is shown later, and the last word is never lost', () => {
  const presence = presenceOf(3, { ...PRESENCE_LIMITS, changes: { perSecond: 1, burst: 2 } })
  for (let clock = 1; clock <= 9; clock++) presence.receive(1, NOBODY, say(entry(5, clock, { clock })), 0)
  expect(show(presence.takeChanges())).toEqual(['5@2 {"clock":2}'])
  presence.tick(500)
  presence.tick(1500)
  expect(show(presence.takeChanges())).toEqual(['5@9 {"clock":9}'])
  presence.tick(9000)
  expect(presence.takeChanges()).toBeUndefined()
})

test('what was held back is forgotten when newer is shown, or its id is gone', () => {
  const presence = presenceOf(3, { ...PRESENCE_LIMITS, changes: { perSecond: 1, burst: 1 } })
  presence.receive(1, NOBODY, say(entry(5, 1, { n: 1 })), 0)
  presence.receive(1, NOBODY, say(entry(5, 2, { n: 2 })), 0)
  presence.receive(1, NOBODY, say(entry(5, 3, { n: 3 })), 2000)
  presence.tick(4000)
  expect(show(presence.takeChanges())).toEqual(['5@3 {"n":3}'])
  presence.receive(1, NOBODY, say(entry(5, 4, { n: 4 })), 4000)
  presence.receive(1, NOBODY, say(entry(5, 5, { n: 5 })), 4000)
  presence.receive(1, NOBODY, say(entry(5, 6, null)), 4000)
  presence.tick(9000)
  expect(show(presence.takeChanges())).toEqual(['5@6 gone'])
})

test.each([
  ['a state of more than 16 KiB', entry(9, 1, { a: 'x'.repeat(17_000) })],
  ['nesting of more than 8', entry(9, 1, { a: [[[[[[[[1]]]]]]]] })],
  ['a clock that nobody counted up to', entry(9, 2 ** 40, {})],
])('[SEC] %s is refused, and disturbs nothing', (_, hostile) => {
  const presence = presenceOf(3)
  expect(presence.receive(1, NOBODY, say(entry(5, 1, {}), hostile, entry(6, 1, {})), 0)).toBe(1)
  expect(show(presence.takeChanges())).toEqual(['5@1 {}', '6@1 {}'])
})

test('[SEC] ids of a connection and of a document are bounded', () => {
  const presence = presenceOf(3, { ...PRESENCE_LIMITS, idsPerConnection: 2, idsPerDocument: 3 })
  const many = (from: number) => say(entry(from, 1, {}), entry(from + 1, 1, {}), entry(from + 2, 1, {}))
  expect(presence.receive(1, NOBODY, many(10), 0)).toBe(1)
  expect(presence.receive(2, NOBODY, many(20), 0)).toBe(2)
  expect(show(presence.states())).toHaveLength(3)
  for (let n = 0; n < 100; n++) {
    const owner = presence.join()
    presence.receive(owner, NOBODY, say(entry(1000 + n, 1, {})), 0)
    presence.leave(owner)
    presence.takeChanges()
  }
  expect((presence as unknown as { gone: Map<number, unknown> }).gone.size).toBeLessThanOrEqual(3)
})

test('[SEC] the states of a document are bounded together, and room comes back', () => {
  const presence = presenceOf(3, { ...PRESENCE_LIMITS, bytesPerDocument: 300 })
  const large = (clientId: number, clock: number) => say(entry(clientId, clock, { a: 'x'.repeat(130) }))
  expect(presence.receive(1, NOBODY, large(5, 1), 0)).toBe(0)
  expect(presence.receive(1, NOBODY, large(5, 2), 0)).toBe(0)
  expect(presence.receive(2, NOBODY, large(6, 1), 0)).toBe(0)
  expect(presence.receive(3, NOBODY, large(7, 1), 0)).toBe(1)
  presence.leave(1)
  expect(presence.receive(3, NOBODY, large(7, 2), 0)).toBe(0)
})

test('[SEC] a large state costs as much of the rate as many small ones', () => {
  const presence = presenceOf(1, { ...PRESENCE_LIMITS, changes: { perSecond: 1, burst: 8 } })
  presence.receive(1, NOBODY, say(entry(5, 1, { a: 'x'.repeat(10_000) })), 0)
  presence.takeChanges()
  presence.receive(1, NOBODY, say(entry(5, 2, { a: 1 })), 1000)
  expect(presence.takeChanges()).toBeUndefined()
  presence.tick(10_000)
  expect(show(presence.takeChanges())).toEqual(['5@2 {"a":1}'])
})

test('[SEC] an update that is no awareness update is a bad message', () => {
  const presence = presenceOf(3)
  const badMessage = expect.objectContaining({ code: 'protocol/bad-message' })
  expect(() => presence.receive(1, NOBODY, Uint8Array.of(3, 1), 0)).toThrow(badMessage)
  expect(() => presence.receive(1, NOBODY, say({ clientId: 1, clock: 1, json: '{' }), 0)).toThrow(badMessage)
})

/** Real clients of y-protocols around one presence, as stock providers wire them. */
class Circle {
  readonly presence = new Presence()
  readonly clients: { awareness: Awareness; owner: number | undefined; outbox: Uint8Array[]; inbox: Uint8Array[] }[] =
    []

  /** `tabs`: the first two clients are tabs of one browser, which tell each other what they say and hear. */
  constructor(size: number, tabs = false) {
    for (let n = 0; n < size; n++) {
      const doc = new Doc()
      doc.clientID = n + 1
      const client = { awareness: new Awareness(doc), owner: undefined, outbox: [], inbox: [] } as Circle['clients'][0]
      // Clock 0 is shown to nobody by y-protocols itself.
      client.awareness.setLocalState({})
      client.awareness.on('update', ({ added, updated, removed }: Record<string, number[]>) => {
        // As y-websocket has it: what was received is sent back, too.
        const ids = [...added!, ...updated!, ...removed!]
        const update = encodeAwarenessUpdate(client.awareness, ids)
        if (client.owner !== undefined) client.outbox.push(update)
        if (tabs && n < 2) this.clients[1 - n]!.inbox.push(update)
      })
      this.clients.push(client)
    }
  }

  connect(n: number): void {
    const client = this.clients[n]!
    if (client.owner !== undefined) return
    client.owner = this.presence.join()
    const states = this.presence.states()
    if (states) client.inbox.push(states)
    if (client.awareness.getLocalState() === null) return
    client.outbox.push(encodeAwarenessUpdate(client.awareness, [client.awareness.clientID]))
  }

  drop(n: number): void {
    const client = this.clients[n]!
    if (client.owner === undefined) return
    this.presence.leave(client.owner)
    client.owner = undefined
    client.inbox.length = 0
    client.outbox.length = 0
    const others = [...client.awareness.getStates().keys()].filter((id) => id !== client.awareness.clientID)
    removeAwarenessStates(client.awareness, others, this)
    this.flush()
  }

  serverReads(n: number): void {
    const { owner, outbox } = this.clients[n]!
    const update = outbox.shift()
    if (owner === undefined || update === undefined) return
    this.presence.receive(owner, NOBODY, update, 0)
    this.flush()
  }

  clientReads(n: number): void {
    const { awareness, inbox } = this.clients[n]!
    const update = inbox.shift()
    if (update) applyAwarenessUpdate(awareness, update, this)
  }

  private flush(): void {
    for (const [owner, update] of this.presence.takeNudges()) {
      this.clients.find((client) => client.owner === owner)?.inbox.push(update)
    }
    const update = this.presence.takeChanges()
    if (update) for (const { owner, inbox } of this.clients) if (owner !== undefined) inbox.push(update)
  }

  settle(): void {
    for (let round = 0; round < 100; round++) {
      for (let n = 0; n < this.clients.length; n++) {
        while (this.clients[n]!.outbox.length > 0) this.serverReads(n)
        while (this.clients[n]!.inbox.length > 0) this.clientReads(n)
      }
    }
    expect(
      this.clients.every(({ inbox, outbox }) => inbox.length + outbox.length === 0),
      'nobody is told for ever',
    ).toBe(true)
  }

  destroy(): void {
    for (const { awareness } of this.clients) awareness.destroy()
  }
}

const circles: Circle[] = []
afterEach(() => {
  for (const circle of circles.splice(0)) circle.destroy()
})

const action = fc.record({
  which: fc.nat(2),
  what: fc.constantFrom('set', 'set', 'clear', 'connect', 'drop', 'serverReads', 'serverReads', 'clientReads'),
})

/** Runs actions, lets everything arrive, and returns the states that connected clients have, and what each sees. */
function play(circle: Circle, actions: readonly { which: number; what: string }[], whileRunning: () => void) {
  circles.push(circle)
  let count = 0
  for (const { which, what } of actions) {
    if (what === 'set') circle.clients[which]!.awareness.setLocalState({ count: ++count })
    else if (what === 'clear') circle.clients[which]!.awareness.setLocalState(null)
    else circle[what as 'connect'](which)
    whileRunning()
  }
  circle.settle()
  const connected = circle.clients.filter(({ owner }) => owner !== undefined).map(({ awareness }) => awareness)
  const states = connected.flatMap((own) => (own.getLocalState() ? [[own.clientID, own.getLocalState()]] : []))
  const seen = connected.map((own) => Object.fromEntries(own.getStates()))
  circle.destroy()
  return { states: Object.fromEntries(states), seen }
}

test('whatever happens, connected clients end with the same presence, their own states untouched', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 50 }), (actions) => {
      const circle = new Circle(3)
      const own = circle.clients.map(({ awareness }) => awareness.getLocalState())
      for (const [n, { awareness }] of circle.clients.entries()) {
        const set = awareness.setLocalState.bind(awareness)
        awareness.setLocalState = (state) => {
          own[n] = state
          set(state)
        }
      }
      const { states, seen } = play(circle, actions, () => {
        expect(circle.clients.map(({ awareness }) => awareness.getLocalState())).toEqual(own)
      })
      for (const view of seen) expect(view).toEqual(states)
    }),
    { numRuns: 500 },
  )
})

test('tabs that tell each other what they hear come to rest, too', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 50 }), (actions) => {
      play(new Circle(3, true), actions, () => {})
    }),
    { numRuns: 500 },
  )
})
