import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { Awareness, applyAwarenessUpdate, encodeAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness'
import { Doc } from 'yjs'
import { decodeAwareness, encodeAwareness } from '../../shared/protocol/awareness.js'
import { FrameReader } from '../../shared/protocol/frame-reader.js'
import { decodeHocuspocusMessage } from '../../shared/protocol/hocuspocus.js'
import { decodeTelling, encodeTelling, type PresenceTelling } from '../../shared/protocol/peer-presence.js'
import { decodeYMessage } from '../../shared/protocol/sync.js'
import { FakeTalk } from '../../test/support/fake-talk.js'
import { type AudienceMember, Audiences, type WireForm } from './audience.js'
import { NO_LOG } from './observer.js'
import { PEER_AUDIENCE_LIMITS, PeerAudiences } from './peer-audiences.js'
import { PRESENCE_LIMITS, type PresenceStamp } from './presence.js'
import { Turn } from './turn.js'

const NAMES = ['a', 'b', 'c']
const ADA: PresenceStamp = { userId: 'user-ada', name: 'Ada' }
const EVE: PresenceStamp = { userId: 'user-eve', name: 'Eve' }
const Y: WireForm = { key: 'y', prefix: new Uint8Array(), hasStateless: false }
const H: WireForm = { key: 'h', prefix: new Uint8Array(), hasStateless: true }

/** What stands behind the header of a frame that is not masked. */
function bodyOf(frame: Uint8Array): Uint8Array {
  const short = frame[1] as number
  return frame.subarray(short < 126 ? 2 : short === 126 ? 4 : 10)
}

/** A connection of a client at one replica; what it is told becomes `got`. */
class Member implements AudienceMember {
  readonly form: WireForm
  presenceOwner = 0
  readonly replica: Replica
  readonly document: string
  readonly stamp: PresenceStamp
  readonly got: Uint8Array[] = []
  readonly stateless: string[] = []

  constructor(replica: Replica, stamp: PresenceStamp, document: string, form: WireForm) {
    this.replica = replica
    this.stamp = stamp
    this.document = document
    this.form = form
    const audience = replica.audiences.of(document)
    this.presenceOwner = audience.nextOwner()
    audience.join(this)
    const frame = audience.presentFrame(this)
    if (frame) this.send(frame)
  }

  say(update: Uint8Array): void {
    this.replica.audiences.of(this.document).receive(this, this.stamp, update, this.replica.nowMs)
  }

  show(clientId: number, clock: number, state: unknown): void {
    this.say(encodeAwareness([{ clientId, clock, json: state === null ? null : JSON.stringify(state) }]))
  }

  tell(payload: string): void {
    this.replica.audiences.of(this.document).tell(this, payload)
  }

  leave(): void {
    this.replica.audiences.leave(this.replica.audiences.of(this.document), this)
  }

  send(frame: Uint8Array): void {
    const body = bodyOf(frame)
    if (this.form === H) {
      const message = decodeHocuspocusMessage(new FrameReader(body))
      if (message.type === 'stateless') this.stateless.push(message.payload)
      if (message.type === 'awareness') this.got.push(message.update.slice())
    } else {
      const message = decodeYMessage(new FrameReader(body))
      if (message.type === 'awareness') this.got.push(message.update.slice())
    }
  }

  /** `5@3 {"a":1}`, `5@4 gone`; forgets it. */
  heard(): string[] {
    return this.got.splice(0).flatMap((update) => decodeAwareness(update, 10_000).map(text))
  }
}

function text({ clientId, clock, json }: { clientId: number; clock: number; json: Uint8Array }): string {
  const state = new TextDecoder().decode(json)
  return `${clientId}@${clock} ${state === 'null' ? 'gone' : state}`
}

/** One replica's transport without its sockets. */
class Replica {
  readonly audiences: Audiences
  readonly counts: string[] = []
  readonly peers: PeerAudiences
  private readonly deferred: (() => void)[] = []
  nowMs = 0

  constructor(cell: FakeTalk, name: string, limits = PRESENCE_LIMITS, peerLimits = PEER_AUDIENCE_LIMITS) {
    const turn = new Turn((run) => this.deferred.push(run))
    const metrics = { count: (event: string, by = 1) => void this.counts.push(...Array<string>(by).fill(event)) }
    const wall = (): number => 1_700_000_000_000 + this.nowMs
    const salt = NAMES.indexOf(name) / NAMES.length
    const talk = cell.of(name)
    this.peers = new PeerAudiences({ talk, now: wall, salt, nowMs: 0, metrics, log: NO_LOG, limits: peerLimits })
    this.audiences = new Audiences({ limits, turn, metrics, peers: this.peers })
  }

  endTurn(): void {
    for (const run of this.deferred.splice(0)) run()
  }

  tick(nowMs: number): void {
    this.nowMs = nowMs
    this.audiences.tick(nowMs)
  }

  /** Everybody shown in a document. */
  shown(document = 'doc'): string[] {
    const audience = this.audiences.of(document)
    const frame = audience.presentFrame({ form: Y, presenceOwner: -1, send: () => {} })
    const message = frame && decodeYMessage(new FrameReader(bodyOf(frame)))
    const update = message?.type === 'awareness' ? message.update : Uint8Array.of(0)
    return decodeAwareness(update, 10_000).map(text).sort()
  }
}

/** Three replicas, all linked. */
class Cell {
  readonly talk = new FakeTalk(NAMES)
  readonly replicas: Replica[]
  nowMs = 0

  constructor(limits = PRESENCE_LIMITS, peerLimits = PEER_AUDIENCE_LIMITS) {
    this.replicas = NAMES.map((name) => new Replica(this.talk, name, limits, peerLimits))
  }

  open(replica: number, stamp: PresenceStamp = {}, form = Y, document = 'doc'): Member {
    return new Member(this.replicas[replica]!, stamp, document, form)
  }

  /** Everything that was said arrives everywhere. */
  settle(): void {
    for (let round = 0; round < 200; round++) {
      for (const replica of this.replicas) replica.endTurn()
      if (this.talk.inFlight.length === 0) return
      // What is told in return waits for the next round.
      for (let left = this.talk.inFlight.length; left > 0; left--) this.talk.deliver()
    }
    throw new Error('replicas tell each other for ever')
  }

  /** A second at a time. */
  pass(seconds: number): void {
    for (let second = 0; second < seconds; second++) {
      this.nowMs += 1000
      for (const replica of this.replicas) replica.tick(this.nowMs)
      this.settle()
    }
  }

  told(): PresenceTelling[] {
    return this.talk.inFlight.filter(({ topic }) => topic === 'presence').map(({ payload }) => decodeTelling(payload))
  }
}

describe('presence across replicas', () => {
  test('a state is shown at every replica, and gone everywhere when its connection closes', () => {
    const cell = new Cell()
    const [one, two, three] = [cell.open(0), cell.open(1), cell.open(2)]
    one.show(5, 3, { a: 1 })
    cell.settle()
    for (const member of [one, two, three]) expect(member.heard()).toEqual(['5@3 {"a":1}'])
    one.leave()
    cell.settle()
    for (const member of [two, three]) expect(member.heard()).toEqual(['5@4 gone'])
  })

  test('the first client of a document here sees who is there elsewhere', () => {
    const cell = new Cell()
    cell.open(0).show(5, 3, { a: 1 })
    cell.open(0).show(6, 1, { b: 1 })
    cell.settle()
    const late = cell.open(1)
    cell.settle()
    expect(late.heard()).toEqual(['5@3 {"a":1}', '6@1 {"b":1}'])
    expect(cell.replicas[1]!.shown()).toEqual(['5@3 {"a":1}', '6@1 {"b":1}'])
  })

  test('[SEC] the identity stamped where a client is connected is shown as it is, to everybody', () => {
    const cell = new Cell()
    const [ada, other] = [cell.open(0, ADA), cell.open(1, EVE)]
    ada.show(5, 1, { user: { id: 'user-eve', color: 'red' } })
    cell.settle()
    expect(other.heard()).toEqual(['5@1 {"user":{"id":"user-ada","color":"red","name":"Ada"}}'])
    expect(cell.open(1).heard()).toEqual(['5@1 {"user":{"id":"user-ada","color":"red","name":"Ada"}}'])
  })

  test('[SEC] nobody can replace, end or renew the presence of somebody at another replica', () => {
    const cell = new Cell()
    const [ada, eve, third] = [cell.open(0, ADA), cell.open(1, EVE), cell.open(2)]
    ada.show(5, 1, { a: 1 })
    cell.settle()
    third.heard()
    for (const [clock, state] of [
      [9, { a: 2 }],
      [9, null],
      [1, null],
    ] as const)
      eve.show(5, clock, state)
    cell.settle()
    expect(third.heard()).toEqual([])
    expect(cell.replicas.map((replica) => replica.shown())).toEqual(
      Array(3).fill(['5@1 {"a":1,"user":{"id":"user-ada","name":"Ada"}}']),
    )
  })

  test('[SEC] who shows an id where its owner is not known yet gives way, and the owner is seen by everybody', () => {
    const cell = new Cell()
    const ada = cell.open(0, ADA)
    ada.show(5, 1, { a: 1 })
    cell.settle()
    cell.pass(1)
    const eve = cell.open(1, EVE)
    const third = cell.open(2)
    eve.show(5, 9, { a: 'forged' })
    cell.settle()
    const owned = '5@10 {"a":1,"user":{"id":"user-ada","name":"Ada"}}'
    expect(cell.replicas.map((replica) => replica.shown())).toEqual(Array(3).fill([owned]))
    expect(third.heard().at(-1)).toBe(owned)
    eve.show(5, 11, { a: 'again' })
    eve.leave()
    cell.settle()
    expect(third.heard()).toEqual([])
    expect(cell.replicas[2]!.shown()).toEqual([owned])
  })

  test('who moves to another replica is kept there, and the late end of the old connection ends nothing', () => {
    const cell = new Cell()
    const [old, third] = [cell.open(0, ADA), cell.open(2)]
    old.show(5, 3, { at: 'a' })
    cell.settle()
    const moved = cell.open(1, ADA)
    cell.settle()
    moved.show(5, 4, { at: 'b' })
    cell.settle()
    third.heard()
    old.leave()
    cell.settle()
    expect(third.heard()).toEqual([])
    const now = ['5@4 {"at":"b","user":{"id":"user-ada","name":"Ada"}}']
    for (const replica of cell.replicas.slice(1)) expect(replica.shown()).toEqual(now)
    moved.leave()
    cell.settle()
    expect(third.heard()).toEqual(['5@5 gone'])
  })

  test('who comes with the clock it left another replica with is nudged, and seen', () => {
    const cell = new Cell()
    const [old, third] = [cell.open(0), cell.open(2)]
    old.show(5, 3, { a: 1 })
    cell.settle()
    old.leave()
    const moved = cell.open(1)
    moved.show(5, 3, { a: 1 })
    cell.settle()
    expect(moved.heard()).toContain('5@5 gone')
    expect(third.heard().at(-1)).toBe('5@5 {"a":1}')
    expect(cell.replicas[2]!.shown()).toEqual(['5@5 {"a":1}'])
  })

  test('an end that is overtaken by a newer state on its way removes nothing', () => {
    const cell = new Cell()
    const [one, third] = [cell.open(0), cell.open(2)]
    cell.settle()
    one.show(5, 3, { a: 1 })
    one.show(5, 4, null)
    cell.replicas[0]!.endTurn()
    one.show(5, 5, { a: 2 })
    cell.replicas[0]!.endTurn()
    while (cell.talk.deliver(cell.talk.inFlight.length - 1));
    cell.settle()
    expect(third.heard().at(-1)).toBe('5@5 {"a":2}')
    expect(cell.replicas[2]!.shown()).toEqual(['5@5 {"a":2}'])
  })

  test('when a link is lost its ids stand for a moment, and are gone; when it is back they are seen at once', () => {
    const cell = new Cell()
    const [one, two] = [cell.open(0), cell.open(1)]
    one.show(5, 3, { a: 1 })
    cell.settle()
    two.heard()
    cell.talk.unlink('a', 'b')
    cell.pass(4)
    expect(two.heard()).toEqual([])
    cell.pass(1)
    expect(two.heard()).toEqual(['5@3 gone'])
    cell.talk.link('a', 'b')
    cell.settle()
    // Its clients have heard of an end at 3.
    expect(one.heard().slice(-2)).toEqual(['5@4 gone', '5@4 {"a":1}'])
    expect(two.heard()).toEqual(['5@4 {"a":1}'])
  })

  test('a link that comes back in time changes nothing but what has changed', () => {
    const cell = new Cell()
    const [one, leaver, two] = [cell.open(0), cell.open(0), cell.open(1)]
    one.show(5, 3, { a: 1 })
    leaver.show(6, 1, {})
    cell.settle()
    two.heard()
    cell.talk.unlink('a', 'b')
    cell.pass(1)
    leaver.leave()
    cell.settle()
    cell.talk.link('a', 'b')
    cell.settle()
    cell.pass(10)
    expect(two.heard()).toEqual(['6@1 gone'])
  })

  test('silence ends what was told, too', () => {
    const cell = new Cell()
    const [one, two] = [cell.open(0), cell.open(1)]
    one.show(5, 3, {})
    cell.settle()
    two.heard()
    cell.talk.inFlight.length = 0
    one.leave()
    cell.talk.inFlight.length = 0
    cell.pass(29)
    expect(two.heard()).toEqual([])
    cell.pass(1)
    expect(two.heard()).toEqual(['5@3 gone'])
  })

  test('two tabs of a person at two replicas, which hand each other’s states round, come to rest', () => {
    const cell = new Cell()
    // Their tokens differ in what changes nothing of who it is.
    const [tab1, tab2] = [cell.open(0, ADA), cell.open(1, { ...ADA, name: 'Ada L.' })]
    for (let clock = 1; clock < 20; clock++) {
      // Both say the same, at each replica in another order than the peer's word about it arrives.
      tab1.show(5, clock, { clock })
      if (clock % 2 === 0) cell.settle()
      tab2.show(5, clock, { clock })
      cell.settle()
      expect([...tab1.heard(), ...tab2.heard()].filter((line) => line.endsWith('gone'))).toEqual([])
      for (const replica of cell.replicas.slice(0, 2)) {
        expect(replica.shown()).toEqual([
          expect.stringContaining(`5@${clock} {"clock":${clock},"user":{"id":"user-ada"`),
        ])
      }
    }
  })
})

describe('where messages are lost or late', () => {
  const ADAS = '{"a":1,"user":{"id":"user-ada","name":"Ada"}}'
  /** Ada is at `a`, and neither `b` nor who comes there has heard of it. */
  function unheard(): { cell: Cell; ada: Member; eve: Member } {
    const cell = new Cell()
    const ada = cell.open(0, ADA)
    cell.open(2)
    ada.show(5, 3, { a: 1 })
    cell.settle()
    cell.pass(1)
    const eve = cell.open(1, EVE)
    cell.talk.inFlight.length = 0
    return { cell, ada, eve }
  }

  test.each([
    [1, '5@3'],
    [3, '5@4'],
    [9, '5@10'],
  ])('[SEC] a stranger who shows an id at clock %i hears of its owner in return, who is seen at %s', (clock, seen) => {
    const { cell, eve } = unheard()
    eve.show(5, clock, { a: 'forged' })
    cell.settle()
    expect(cell.replicas.map((replica) => replica.shown())).toEqual(Array(3).fill([`${seen} ${ADAS}`]))
    expect(eve.heard().at(-1)).toBe(`${seen} ${ADAS}`)
  })

  test('[SEC] who comes first is seen by those who were shown a stranger at a later clock', () => {
    const { cell, ada, eve } = unheard()
    eve.show(5, 9, { a: 'forged' })
    cell.replicas[1]!.endTurn()
    cell.talk.inFlight.length = 0
    eve.heard()
    ada.show(5, 4, { a: 1 })
    cell.pass(2)
    expect(eve.heard().at(-1)).toBe(`5@10 ${ADAS}`)
    expect(ada.heard()).toContain('5@10 gone')
  })

  test('one that lets go of an id says so to those who have not heard who has it', () => {
    const cell = new Cell()
    cell.talk.unlink('a', 'c')
    cell.pass(5)
    cell.open(0, ADA).show(5, 3, { a: 1 })
    const third = cell.open(2)
    cell.settle()
    const eve = cell.open(1, EVE)
    cell.talk.inFlight.length = 0
    eve.show(5, 9, { a: 'forged' })
    cell.settle()
    expect(third.heard()).toEqual([expect.stringContaining('5@9 {"a":"forged"'), '5@9 gone'])
    expect(cell.replicas.map((replica) => replica.shown())).toEqual([[`5@10 ${ADAS}`], [`5@10 ${ADAS}`], []])
  })

  test('an end elsewhere is stepped over by who shows the id here', () => {
    const cell = new Cell()
    const [old, , moved, third] = [cell.open(0), cell.open(0), cell.open(1), cell.open(2)]
    cell.settle()
    for (const member of [old, moved]) {
      member.show(5, 3, { a: 1 })
      member.replica.endTurn()
      cell.talk.inFlight.length = 0
    }
    old.leave()
    cell.settle()
    expect(moved.heard()).toContain('5@5 gone')
    expect(third.heard().at(-1)).toBe('5@5 {"a":1}')
  })

  test('an end that comes before what it ends is not undone by it', () => {
    const cell = new Cell()
    const [one, third] = [cell.open(0), cell.open(2)]
    cell.settle()
    one.show(5, 3, {})
    cell.replicas[0]!.endTurn()
    one.show(5, 4, null)
    cell.replicas[0]!.endTurn()
    while (cell.talk.deliver(cell.talk.inFlight.length - 1));
    cell.settle()
    expect(third.heard()).toEqual([])
    expect(cell.replicas[2]!.shown()).toEqual([])
  })

  test('who was here before the end of its old connection is heard of is seen with its old clock', () => {
    const cell = new Cell()
    const [old, , moved] = [cell.open(0), cell.open(0), cell.open(1)]
    cell.settle()
    old.show(5, 3, {})
    cell.replicas[0]!.endTurn()
    cell.talk.inFlight.length = 0
    old.leave()
    cell.settle()
    moved.show(5, 3, {})
    cell.settle()
    expect(cell.replicas.slice(0, 2).map((replica) => replica.shown())).toEqual([['5@5 {}'], ['5@5 {}']])
  })

  test('a list that comes late ends nobody who has come since', () => {
    const cell = new Cell()
    const one = cell.open(0)
    cell.settle()
    const two = cell.open(1)
    while (cell.talk.inFlight.some(({ to }) => to === 'a')) cell.talk.deliver()
    one.show(5, 1, {})
    cell.replicas[0]!.endTurn()
    while (cell.talk.deliver(cell.talk.inFlight.length - 1));
    cell.settle()
    expect(two.heard()).toEqual(['5@1 {}'])
  })

  test('who is on the list stays, even if what else was told is lost', () => {
    const cell = new Cell()
    const [one, two] = [cell.open(0), cell.open(1)]
    one.show(5, 1, {})
    cell.settle()
    two.heard()
    cell.talk.unlink('a', 'b')
    cell.talk.link('a', 'b')
    const isChange = ({ payload }: { payload: Uint8Array }) => decodeTelling(payload).type === 'changes'
    while (cell.talk.inFlight.length > 0) {
      const change = cell.talk.inFlight.findIndex(isChange)
      if (change >= 0) cell.talk.lose(change)
      else cell.talk.deliver()
    }
    cell.settle()
    expect(two.heard()).toEqual([])
  })

  test('when the last client has left, all of its replica are gone', () => {
    const cell = new Cell()
    const [one, two] = [cell.open(0), cell.open(1)]
    one.show(5, 1, {})
    cell.settle()
    two.heard()
    one.leave()
    cell.talk.lose(cell.told().findIndex(({ type }) => type === 'changes'))
    cell.settle()
    expect(two.heard()).toEqual(['5@1 gone'])
  })

  test('who comes as the last one leaves is told, in whatever order the two are heard of', () => {
    const cell = new Cell()
    const [one, leaver] = [cell.open(0), cell.open(1)]
    cell.settle()
    leaver.leave()
    const comer = cell.open(1)
    while (cell.talk.deliver(cell.talk.inFlight.length - 1));
    cell.settle()
    one.show(5, 1, {})
    cell.settle()
    expect(comer.heard()).toEqual(['5@1 {}'])
  })
})

describe('whom we tell', () => {
  test('a replica without clients in a document is told once in vain, and again when it has some', () => {
    const cell = new Cell()
    const one = cell.open(0)
    cell.settle()
    one.show(5, 1, {})
    cell.replicas[0]!.endTurn()
    expect(cell.told()).toEqual([])
    const two = cell.open(1)
    cell.settle()
    expect(two.heard()).toEqual(['5@1 {}'])
    one.show(5, 2, {})
    cell.replicas[0]!.endTurn()
    expect(cell.talk.inFlight.map(({ to }) => to)).toEqual(['b'])
    cell.settle()
    two.leave()
    cell.settle()
    one.show(5, 3, {})
    cell.replicas[0]!.endTurn()
    expect(cell.told()).toEqual([])
  })

  test('a question that is lost is repeated, more and more rarely, until it is answered', () => {
    const cell = new Cell()
    cell.open(0).show(5, 1, {})
    cell.settle()
    const two = cell.open(1)
    const askedAt: number[] = []
    for (let second = 0; second < 70; second++) {
      if (cell.told().some(({ type }) => type === 'ask')) askedAt.push(second)
      cell.talk.inFlight.length = 0
      cell.nowMs += 1000
      for (const replica of cell.replicas) replica.tick(cell.nowMs)
    }
    expect(askedAt).toEqual([0, 2, 6, 14, 30, 60])
    cell.pass(30)
    two.heard()
    cell.pass(100)
    expect(cell.talk.inFlight).toEqual([])
  })

  test('what changes in a turn is told in one message', () => {
    const cell = new Cell()
    const one = cell.open(0)
    cell.open(1)
    cell.settle()
    for (let clock = 1; clock < 10; clock++) one.show(5, clock, { clock })
    one.show(6, 1, {})
    cell.replicas[0]!.endTurn()
    expect(cell.told()).toEqual([
      {
        type: 'changes',
        stamp: expect.any(Number),
        entries: [
          { clientId: 5, clock: 9, json: '{"clock":9}', since: expect.any(Number) },
          { clientId: 6, clock: 1, json: '{}', since: expect.any(Number) },
        ],
      },
    ])
  })

  test('when a link comes up, documents are asked about so many at a time', () => {
    const cell = new Cell(PRESENCE_LIMITS, { ...PEER_AUDIENCE_LIMITS, asksPerTick: 10 })
    cell.talk.unlink('a', 'b')
    cell.talk.unlink('a', 'c')
    for (let n = 0; n < 35; n++) cell.open(0, {}, Y, `doc/${n}`)
    cell.talk.link('a', 'b')
    const asked = [cell.talk.inFlight.length]
    for (let second = 1; second < 5; second++) {
      cell.talk.inFlight.length = 0
      cell.replicas[0]!.tick(second)
      asked.push(cell.talk.inFlight.length)
    }
    expect(asked).toEqual([10, 10, 10, 5, 0])
  })
})

describe('[SEC] what a peer tells is bounded', () => {
  test('ids and bytes of a document, without taking room from clients here', () => {
    const cell = new Cell({ ...PRESENCE_LIMITS, idsPerDocument: 3, bytesPerDocument: 40 })
    const [one, two, three] = [cell.open(0), cell.open(1), cell.open(2)]
    cell.settle()
    for (const id of [1, 2, 3]) one.show(id, 1, {})
    cell.settle()
    two.show(4, 1, {})
    cell.settle()
    expect(cell.replicas.map((replica) => replica.shown().length)).toEqual([4, 4, 3])
    expect(cell.replicas[2]!.counts).toEqual(['presence-refused'])
    one.show(1, 2, null)
    cell.settle()
    two.show(4, 2, { large: 'x'.repeat(25) })
    cell.settle()
    expect(cell.replicas[2]!.shown()).toHaveLength(2)
    three.show(9, 1, {})
    expect(cell.replicas[2]!.shown()).toHaveLength(3)
  })

  test('bytes of a peer in all documents, which come back when their clients are gone', () => {
    const cell = new Cell(PRESENCE_LIMITS, { ...PEER_AUDIENCE_LIMITS, bytesPerPeer: 700 })
    const documents = ['x', 'y', 'z']
    const here = documents.map((document) => cell.open(0, {}, Y, document))
    let there = documents.map((document) => cell.open(1, {}, Y, document))
    cell.settle()
    for (const [n, member] of here.entries()) member.show(n + 1, 1, {})
    cell.settle()
    const shown = () => documents.map((document) => cell.replicas[1]!.shown(document).length)
    expect(shown()).toEqual([1, 1, 0])
    here[0]!.leave()
    here[2]!.show(3, 2, {})
    cell.settle()
    expect(shown()).toEqual([0, 1, 1])
    for (const member of there) member.leave()
    cell.settle()
    expect((cell.replicas[1]!.peers as unknown as { bytes: Map<string, number> }).bytes.size).toBe(0)
    there = documents.map((document) => cell.open(1, {}, Y, document))
    cell.settle()
    expect(shown()).toEqual([0, 1, 1])
  })

  test('what cannot be read is counted, and changes nothing', () => {
    const cell = new Cell()
    const [one, two] = [cell.open(0), cell.open(1, {}, H)]
    one.show(5, 1, {})
    cell.settle()
    for (const topic of ['presence', 'stateless'] as const) {
      cell.talk.of('a').tell(topic, 'doc', Uint8Array.of(3, 255, 255), 'b')
    }
    cell.settle()
    expect(cell.replicas[1]!.counts).toEqual(['telling-refused', 'telling-refused'])
    expect(cell.replicas[1]!.shown()).toEqual(['5@1 {}'])
    expect(two.stateless).toEqual([])
  })

  test('a peer’s word about the ids of others changes nothing', () => {
    const cell = new Cell()
    const [one, two] = [cell.open(0), cell.open(1)]
    one.show(5, 3, {})
    two.show(6, 3, {})
    cell.settle()
    const roll = encodeTelling({ type: 'roll', stamp: Number.MAX_SAFE_INTEGER, clientIds: new Set() })
    cell.talk.of('c').tell('presence', 'doc', roll, 'b')
    cell.settle()
    expect(cell.replicas[1]!.shown()).toEqual(['5@3 {}', '6@3 {}'])
  })
})

describe('stateless messages', () => {
  test('go once to every other client of the document that hears them, at every replica', () => {
    const cell = new Cell()
    const members = [0, 0, 1, 1, 2].map((replica) => cell.open(replica, {}, H))
    const [y, elsewhere] = [cell.open(1), cell.open(1, {}, H, 'another')]
    cell.settle()
    members[0]!.tell('hello')
    members[2]!.tell('back')
    cell.settle()
    expect(members.map(({ stateless }) => stateless.sort())).toEqual([
      ['back'],
      ['back', 'hello'],
      ['hello'],
      ['back', 'hello'],
      ['back', 'hello'],
    ])
    expect([y.stateless, elsewhere.stateless]).toEqual([[], []])
  })

  test('what is larger than a peer may be told stays here, and is counted', () => {
    const cell = new Cell()
    const [one, here, two] = [cell.open(0, {}, H), cell.open(0, {}, H), cell.open(1, {}, H)]
    cell.settle()
    one.tell('x'.repeat(262_145))
    one.tell('y'.repeat(262_144))
    cell.settle()
    expect([here, two].map(({ stateless }) => stateless.map((payload) => payload[0]))).toEqual([['x', 'y'], ['y']])
    expect(cell.replicas[0]!.counts).toEqual(['telling-too-large'])
  })
})

/** Real clients of y-protocols around three replicas, as stock providers wire them. */
class World {
  readonly cell = new Cell()
  readonly clients: {
    readonly awareness: Awareness
    readonly stamp: PresenceStamp
    member: Member | undefined
    readonly outbox: Uint8Array[]
  }[] = []
  /** Connections whose clients have left them, which their replica has not noticed. */
  readonly halfOpen: Member[] = []

  /** `tabs`: the first two clients are tabs of one browser and tell each other what they say and hear. */
  constructor(size: number, isNamed: boolean, tabs: boolean) {
    for (let n = 0; n < size; n++) {
      const doc = new Doc()
      doc.clientID = n + 1
      const userId = `user-${tabs && n < 2 ? 0 : n}`
      const client = {
        awareness: new Awareness(doc),
        stamp: isNamed ? { userId } : {},
        member: undefined,
        outbox: [],
      } as World['clients'][0]
      client.awareness.setLocalState({})
      client.awareness.on('update', ({ added, updated, removed }: Record<string, number[]>, origin: unknown) => {
        const update = encodeAwarenessUpdate(client.awareness, [...added!, ...updated!, ...removed!])
        if (client.member) client.outbox.push(update)
        if (tabs && n < 2 && origin !== this) applyAwarenessUpdate(this.clients[1 - n]!.awareness, update, this)
        else if (tabs && n < 2)
          this.handed.push(() => applyAwarenessUpdate(this.clients[1 - n]!.awareness, update, this))
      })
      this.clients.push(client)
    }
  }

  /** What a tab tells the other. */
  private readonly handed: (() => void)[] = []

  connect(n: number, replica: number): void {
    const client = this.clients[n]!
    if (client.member) return
    client.member = this.cell.open(replica, client.stamp)
    if (client.awareness.getLocalState() === null) return
    client.outbox.push(encodeAwarenessUpdate(client.awareness, [client.awareness.clientID]))
  }

  /** The client is cut off; its replica notices, or not yet. */
  drop(n: number, isNoticed: boolean): void {
    const client = this.clients[n]!
    const { member } = client
    if (member === undefined) return
    if (isNoticed) member.leave()
    else this.halfOpen.push(member)
    client.member = undefined
    client.outbox.length = 0
    const others = [...client.awareness.getStates().keys()].filter((id) => id !== client.awareness.clientID)
    removeAwarenessStates(client.awareness, others, this)
  }

  hop(n: number, replica: number, isNoticed: boolean): void {
    this.drop(n, isNoticed)
    this.connect(n, replica)
  }

  reap(): void {
    for (const member of this.halfOpen.splice(0)) member.leave()
  }

  serverReads(n: number): void {
    const { member, outbox } = this.clients[n]!
    const update = outbox.shift()
    if (member && update) member.say(update)
  }

  clientReads(n: number): void {
    const { member, awareness } = this.clients[n]!
    const update = member?.got.shift()
    if (update) applyAwarenessUpdate(awareness, update, this)
  }

  settle(): void {
    for (let round = 0; round < 100; round++) {
      let isMoving = false
      for (const [n, client] of this.clients.entries()) {
        while (client.outbox.length > 0) {
          isMoving = true
          this.serverReads(n)
        }
      }
      this.cell.settle()
      for (const [n, client] of this.clients.entries()) {
        while (client.member && client.member.got.length > 0) {
          isMoving = true
          this.clientReads(n)
        }
      }
      for (const hand of this.handed.splice(0)) {
        isMoving = true
        hand()
      }
      if (!isMoving) return
    }
    throw new Error('somebody is told for ever')
  }

  /** Long enough for what was lost: clients renew their states every 15 s, and 30 s of silence end one. */
  pass(seconds: number): void {
    for (let second = 1; second <= seconds; second++) {
      this.cell.pass(1)
      if (second % 15 !== 0) continue
      for (const { awareness } of this.clients) {
        const state = awareness.getLocalState()
        if (state !== null) awareness.setLocalState(state)
      }
      this.settle()
    }
    this.settle()
  }

  /** What connected clients see, and the states that they have. */
  views(): { seen: unknown[]; states: unknown } {
    const connected = this.clients.filter(({ member }) => member !== undefined)
    const states = connected.flatMap(({ awareness, stamp }) => {
      const state = awareness.getLocalState()
      if (state === null) return []
      const { userId } = stamp
      return [[awareness.clientID, userId === undefined ? state : { ...state, user: { id: userId } }]]
    })
    const seen = connected.map(({ awareness, stamp }) => {
      // Its own is not stamped.
      const own = awareness.getLocalState()
      const { userId } = stamp
      return Object.fromEntries(
        [...awareness.getStates()].map(([id, state]) =>
          id === awareness.clientID && own !== null && userId !== undefined
            ? [id, { ...own, user: { id: userId } }]
            : [id, state],
        ),
      )
    })
    return { seen, states: Object.fromEntries(states) }
  }
}

const worlds: World[] = []
afterEach(() => {
  for (const world of worlds.splice(0)) for (const { awareness } of world.clients) awareness.destroy()
})

const SIZE = 4
const step = fc.record({
  which: fc.nat(SIZE - 1),
  replica: fc.nat(NAMES.length - 1),
  pick: fc.nat(1000),
  what: fc.constantFrom(
    ...(['set', 'set', 'set', 'clear', 'connect', 'connect', 'drop', 'hop', 'serverReads', 'serverReads'] as const),
    ...(['clientReads', 'clientReads', 'turn', 'turn', 'deliver', 'deliver', 'deliver'] as const),
    ...(['lose', 'unlink', 'link', 'dropUnnoticed', 'hopUnnoticed', 'reap', 'second', 'late'] as const),
  ),
})
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

/** Steps that lose nothing, and let each link keep its order. */
const ORDERLY: ReadonlySet<Step['what']> = new Set([
  ...(['set', 'clear', 'connect', 'drop', 'hop', 'serverReads', 'clientReads', 'turn', 'deliver'] as const),
])

function play(world: World, steps: readonly Step[], whileRunning: () => void = () => {}): void {
  worlds.push(world)
  const { cell, clients } = world
  let count = 0
  for (const { which, replica, pick, what } of steps) {
    const [one, other] = [NAMES[replica]!, NAMES[(replica + 1) % NAMES.length]!]
    switch (what) {
      case 'set':
        clients[which]!.awareness.setLocalState({ count: ++count })
        break
      case 'clear':
        clients[which]!.awareness.setLocalState(null)
        break
      case 'connect':
        world.connect(which, replica)
        break
      case 'drop':
      case 'dropUnnoticed':
        world.drop(which, what === 'drop')
        break
      case 'hop':
      case 'hopUnnoticed':
        world.hop(which, replica, what === 'hop')
        break
      case 'serverReads':
      case 'clientReads':
        world[what](which)
        break
      case 'turn':
        cell.replicas[replica]!.endTurn()
        break
      case 'deliver': {
        // The oldest of a link.
        const told = cell.talk.inFlight.find(({ from, to }) => from === one || to === other)
        if (told)
          cell.talk.deliver(cell.talk.inFlight.findIndex(({ from, to }) => from === told.from && to === told.to))
        break
      }
      case 'late':
        if (cell.talk.inFlight.length > 0) cell.talk.deliver(pick % cell.talk.inFlight.length)
        break
      case 'lose':
        if (cell.talk.inFlight.length > 0) cell.talk.lose(pick % cell.talk.inFlight.length)
        break
      case 'unlink':
      case 'link':
        cell.talk[what](one, other)
        break
      case 'reap':
        world.reap()
        break
      case 'second':
        cell.nowMs += 1000
        for (const each of cell.replicas) each.tick(cell.nowMs)
        break
    }
    whileRunning()
  }
  for (const [n, one] of NAMES.entries()) cell.talk.link(one, NAMES[(n + 1) % NAMES.length]!)
  world.reap()
  world.settle()
}

const expectAlike = (world: World): void => {
  const { seen, states } = world.views()
  for (const view of seen) expect(view).toEqual(states)
}

describe.each([
  ['people with names', true],
  ['people without', false],
])('%s', (_, isNamed) => {
  test('whatever is lost, late or cut, everybody ends with exactly the states of open connections', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const world = new World(SIZE, isNamed, false)
        const own = world.clients.map(({ awareness }) => awareness.getLocalState())
        for (const [n, { awareness }] of world.clients.entries()) {
          const set = awareness.setLocalState.bind(awareness)
          awareness.setLocalState = (state) => {
            own[n] = state
            set(state)
          }
        }
        const expectOwn = () => expect(world.clients.map(({ awareness }) => awareness.getLocalState())).toEqual(own)
        play(world, steps, expectOwn)
        world.pass(62)
        expectOwn()
        expectAlike(world)
      }),
      { numRuns: 200 },
    )
  })

  test('where nothing is lost, they do so at once', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const world = new World(SIZE, isNamed, false)
        play(
          world,
          steps.filter(({ what }) => ORDERLY.has(what)),
        )
        expectAlike(world)
      }),
      { numRuns: 200 },
    )
  })
})

// Who is present then is not so clear: a tab shows the other one, too, also where that is not connected.
test('tabs at two replicas that tell each other what they hear come to rest, and everybody sees the same', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.boolean(), (steps, isNamed) => {
      const world = new World(SIZE, isNamed, true)
      play(world, steps)
      world.pass(62)
      // But for who they are: what a tab hears from the other is not stamped.
      const [first, ...others] = world.clients
        .filter(({ member }) => member !== undefined)
        .map(({ awareness }) => [...awareness.getStates()].map(([id, { count }]) => `${id} ${count}`).sort())
      for (const view of others) expect(view).toEqual(first)
    }),
    { numRuns: 200 },
  )
})
