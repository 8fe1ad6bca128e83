/**
 * Structs in somebody else's name. They are let in: a hop between replicas, a database in the browser or an import brings
 * structs of others all the time, and nothing in them says who sent them. So what must hold is that all agree on what
 * is there, and that whoever loses by it is told.
 *
 * Here access is open, so nobody is anybody and no id is owned; the tests at the end say what then does not hold. Where
 * tokens name users, it does: see `owned-ids.test.ts`.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { encodeYMessage } from '../../../shared/protocol/sync.js'
import { gc, text, update } from '../../fuzz/update-bytes.js'
import { PlainClient } from '../../support/plain-client.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'
import { Stranger } from '../../support/stranger.js'
import { isBack, paths, sameBytes } from './paths.js'
import { loaded, newMarker, Room } from './room.js'

const directory = temporaryDirectory()
let replica: ReplicaProcess
let room: Room
let rooms = 0
beforeAll(async () => {
  replica = await ReplicaProcess.start({ port: await freePort(), data: directory.path })
})
beforeEach(async () => {
  room = await Room.open(replica, `forged/${++rooms}`)
  return () => room.close()
})
afterAll(async () => {
  await replica.end('SIGKILL')
  directory.remove()
})

const overHttp = paths.find(({ name }) => name === 'HTTP')!

const forgeries: readonly (readonly [name: string, forge: () => Uint8Array])[] = [
  ['text', () => forgedText('FORGED')],
  ['collected structs', () => forged(gc(1000))],
]

function forged(struct: Uint8Array): Uint8Array {
  const { client, clock } = room.target
  return update([{ client, clock, structs: [struct] }])
}

function forgedText(value: string): Uint8Array {
  return forged(text(value, { origin: [room.target.client, 0] }))
}

/** What the victim would send next, had it not heard of anything. */
function nextEdit(): Uint8Array {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, room.before)
  doc.clientID = room.target.client
  const vector = Y.encodeStateVector(doc)
  doc.getText('t').insert(0, 'mine, ')
  return Y.encodeStateAsUpdate(doc, vector)
}

async function forge(bytes: Uint8Array): Promise<void> {
  const { client } = room.target
  expect((await overHttp.send(replica, room.document, bytes, newMarker())).status).toBe(200)
  // The victim has heard of it, and has taken a new id.
  await room.victim.until(() => room.victim.doc.clientID !== client)
}

test.each(forgeries)(
  '[CV] %s under the id of somebody present: it goes on under another id, and all agree',
  async (_name, make) => {
    await forge(make())
    await room.edit()
    expect(sameBytes(await room.read(), loaded(Y.encodeStateAsUpdate(room.victim.doc)))).toBe(true)
    expect(room.victim.text.toString()).toMatch(/!$/)
  },
)

test.each(['update', 'step2'] as const)(
  '[CV] an edit (%s) that crosses forged text is refused for good, and its author told',
  async (kind) => {
    await forge(forgedText('FORGED'))
    const victim = await Stranger.at(`${replica.url}/y/${room.document}`)
    victim.sayBytes(encodeYMessage({ type: kind, update: nextEdit() }))
    await victim.over()
    expect(victim.closed).toEqual({ close: 4409, code: 'document/equivocation' })
    expect(victim.y.some(({ type }) => type === 'denied')).toBe(true)
    expect(sameBytes(await room.read(), loaded(Y.encodeStateAsUpdate(room.victim.doc)))).toBe(true)
  },
)

test('[CV] an edit that crosses forged collected structs changes nothing anywhere', async () => {
  await forge(forged(gc(1000)))
  const before = await room.read()
  const victim = await Stranger.at(`${replica.url}/y/${room.document}`)
  const marker = newMarker()
  victim.sayY({ type: 'update', update: nextEdit() }, { type: 'update', update: marker })
  await victim.until(() => isBack(victim, marker))
  expect(sameBytes(await room.read(), loaded(before, marker))).toBe(true)
  victim.leave()
})

test('[CV] of two who forge the same id at once, one is kept, the same for all', async () => {
  const answers = await Promise.all(
    ['ONE', 'TWO', 'THREE'].map((value) => overHttp.send(replica, room.document, forgedText(value), newMarker())),
  )
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409])
  const kept = await room.read()
  expect(sameBytes(await room.read(), kept)).toBe(true)
})

describe('what does not hold where nobody is known', () => {
  /** The victim writes while it is away, and comes back after somebody else has used its id. */
  async function comeBack(make: () => Uint8Array): Promise<PlainClient> {
    const { doc } = room.victim
    room.victim.close()
    doc.getText('t').insert(0, 'while away, ')
    expect((await overHttp.send(replica, room.document, make(), newMarker())).status).toBe(200)
    const again = new PlainClient(`${replica.url}/y/${room.document}`, doc)
    await again.synced()
    // Its own answer to our question is behind it when an edit of its has come back.
    const marker = newMarker()
    again.sendUpdate(marker)
    await again.until(() => again.received.some((bytes) => sameBytes(bytes, marker)) || again.closeCode !== undefined)
    return again
  }

  test.fails.each(forgeries)(
    '[DU3] %s under the id of somebody away: it is told, or its edits arrive',
    async (_name, make) => {
      const again = await comeBack(make)
      const doc = new Y.Doc()
      Y.applyUpdate(doc, await room.read())
      const arrived = doc.getText('t').toString().includes('while away')
      const { closeCode } = again
      again.close()
      expect(arrived || closeCode !== undefined).toBe(true)
    },
  )

  test.fails('[DU3] an edit that crosses forged collected structs: its author is told', async () => {
    await forge(forged(gc(1000)))
    const victim = await Stranger.at(`${replica.url}/y/${room.document}`)
    const marker = newMarker()
    victim.sayY({ type: 'update', update: nextEdit() }, { type: 'update', update: marker })
    await victim.until(() => isBack(victim, marker))
    const { closed } = victim
    victim.leave()
    expect(closed?.code).toBe('document/equivocation')
  })
})
