/** [SEC] Presence cannot be forged or ended by others, and never gets in the way of documents. */
import { encodeUtf8 } from 'lib0/string'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Awareness, applyAwarenessUpdate } from 'y-protocols/awareness'
import * as Y from 'yjs'
import { encodeAwareness } from '../../../shared/protocol/awareness.js'
import { bytesOf, concat, varUint } from '../../fuzz/update-bytes.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'
import { Stranger } from '../../support/stranger.js'
import { isBack } from './paths.js'
import { newMarker } from './room.js'

const directory = temporaryDirectory()
let replica: ReplicaProcess
beforeAll(async () => {
  replica = await ReplicaProcess.start({ port: await freePort(), data: directory.path })
})
afterAll(async () => {
  await replica.end('SIGKILL')
  directory.remove()
})

const VICTIM = 77
const SHOWN = { user: { name: 'Vera' }, cursor: 1 }
const MOVED = { user: { name: 'Vera' }, cursor: 2 }
/** Ids of one connection, one of the documented limits. */
const IDS_LIMIT = 64

const entry = (clientId: number, clock: number, state: unknown): Uint8Array =>
  encodeAwareness([{ clientId, clock, json: JSON.stringify(state) }])
const raw = (clientId: number, clock: number, json: string): Uint8Array => {
  const text = encodeUtf8(json)
  return bytesOf((writer) => {
    writer.byte(1)
    writer.varUint(clientId)
    writer.varUint(clock)
    writer.varUint(text.length)
    writer.bytes(text)
  })
}

const hostile: readonly (readonly [name: string, update: Uint8Array])[] = [
  ['kick-victim', entry(VICTIM, 1_000, null)],
  ['kick-victim at its own clock', entry(VICTIM, 1, null)],
  ['spoof-victim', entry(VICTIM, 1_000, { user: { name: 'Mallory' } })],
  ['spoof-victim far ahead', entry(VICTIM, 2 ** 47, { user: { name: 'Mallory' } })],
  ['clock-2e53', entry(6, Number.MAX_SAFE_INTEGER, { user: 'x' })],
  ['state-deep', raw(6, 1, `{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}`)],
  ['state-60KB', entry(6, 1, { user: 'x'.repeat(60_000) })],
  [
    'ids-6000',
    encodeAwareness(Array.from({ length: 6_000 }, (_, at) => ({ clientId: 1_000 + at, clock: 1, json: '{}' }))),
  ],
  [
    'ids-20000',
    encodeAwareness(Array.from({ length: 20_000 }, (_, at) => ({ clientId: 1_000 + at, clock: 1, json: '{}' }))),
  ],
  [
    'one id 6,000 times',
    encodeAwareness(Array.from({ length: 6_000 }, (_, at) => ({ clientId: 6, clock: at, json: '{}' }))),
  ],
  ['a number', raw(6, 1, '1')],
  ['a list', raw(6, 1, '[]')],
  ['no JSON', raw(6, 1, '{"user":')],
  ['no UTF-8', concat(varUint(1), [6, 1, 2, 0xc3, 0x28])],
  ['a prototype', raw(6, 1, '{"__proto__":{"isAdmin":true}}')],
  ['count-2e53', concat(varUint(Number.MAX_SAFE_INTEGER), [6, 1, 2, 0x7b, 0x7d])],
  ['truncated', entry(6, 1, { user: 'x' }).slice(0, 5)],
  ['empty', new Uint8Array()],
]

/** How a stranger says it, and whether what it wrote afterwards was stored. */
const ways: readonly {
  readonly name: string
  say(document: string, awareness: Uint8Array, marker: Uint8Array): Promise<Stranger>
}[] = [
  {
    name: '/y',
    async say(document, update, marker) {
      const stranger = await Stranger.at(`${replica.url}/y/${document}`)
      stranger.sayY({ type: 'awareness', update }, { type: 'update', update: marker })
      await stranger.until(() => isBack(stranger, marker))
      return stranger
    },
  },
  {
    name: '/hocuspocus',
    async say(document, update, marker) {
      const stranger = await Stranger.at(`${replica.url}/hocuspocus`)
      stranger.say(
        document,
        { type: 'token', token: '' },
        { type: 'awareness', update },
        { type: 'update', update: marker },
      )
      await stranger.until(() => stranger.statuses(document).length > 0)
      return stranger
    },
  },
]

describe.each(ways)('$name', ({ name, say }) => {
  test.each(hostile)('[SEC] %s: others see whom they saw, and everybody writes on', async (attack, update) => {
    const document = `presence${name}/${attack.replaceAll(/\W/g, '-')}`
    const room = await PresenceRoom.open(document)
    const stranger = await say(document, update, newMarker())
    expect(stranger.closed).toBeUndefined()
    await room.victimMoves()
    expect(room.states.get(VICTIM)).toEqual(MOVED)
    expect(room.states.size).toBeLessThanOrEqual(1 + IDS_LIMIT)
    for (const state of room.states.values()) expect((state as { isAdmin?: boolean }).isAdmin).toBeUndefined()
    stranger.leave()
    // Whoever the stranger showed goes with it.
    await room.until(() => room.states.size === 1)
    expect([...room.states.keys()]).toEqual([VICTIM])
    room.close()
  })
})

/** Two people who see each other, as stock clients do. */
class PresenceRoom {
  private readonly awareness = new Awareness(new Y.Doc())
  private readonly victim: Stranger
  private readonly observer: Stranger
  private readonly document: string
  private applied = 0

  private constructor(document: string, victim: Stranger, observer: Stranger) {
    this.document = document
    this.victim = victim
    this.observer = observer
    this.awareness.setLocalState(null)
  }

  static async open(document: string): Promise<PresenceRoom> {
    const url = `${replica.url}/y/${document}`
    const room = new PresenceRoom(document, await Stranger.at(url), await Stranger.at(url))
    room.victim.sayY({ type: 'awareness', update: entry(VICTIM, 1, SHOWN) })
    await room.until(() => room.states.get(VICTIM) !== undefined)
    return room
  }

  get states(): Map<number, unknown> {
    const messages = this.observer.y
    for (; this.applied < messages.length; this.applied++) {
      const message = messages[this.applied]
      if (message?.type === 'awareness') applyAwarenessUpdate(this.awareness, message.update, 'replica')
    }
    return this.awareness.getStates()
  }

  async victimMoves(): Promise<void> {
    this.victim.sayY({ type: 'awareness', update: entry(VICTIM, 2, MOVED) })
    const isMoved = (): boolean => (this.states.get(VICTIM) as typeof MOVED | undefined)?.cursor === MOVED.cursor
    await this.until(isMoved)
    expect(this.victim.closed, this.document).toBeUndefined()
  }

  until(condition: () => boolean): Promise<void> {
    return this.observer.until(condition)
  }

  close(): void {
    this.awareness.destroy()
    this.victim.leave()
    this.observer.leave()
  }
}
