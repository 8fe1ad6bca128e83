/** [SEC] What no single update may do, many together may not do either. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as Y from 'yjs'
import { text, type, update } from '../../fuzz/update-bytes.js'
import { Bystander } from '../../support/bystander.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'
import { Stranger } from '../../support/stranger.js'
import { isBack, sameBytes } from './paths.js'
import { loaded, newMarker, Room, wellFormed } from './room.js'

const directory = temporaryDirectory()
let replica: ReplicaProcess
beforeAll(async () => {
  replica = await ReplicaProcess.start({ port: await freePort(), data: directory.path })
})
afterAll(async () => {
  await replica.end('SIGKILL')
  directory.remove()
})

/** Arrays inside one another: levels `from` up to, not including, `to` of a chain. */
function levels(from: number, to: number): Uint8Array {
  const structs = Array.from({ length: to - from }, (_, at) => {
    const level = from + at
    return type(0, level === 0 ? { parent: 'a' } : { parent: [666, level - 1] })
  })
  return update([{ client: 666, clock: from, structs }])
}

/** Says updates of one document, one after the other; what became of each. */
async function say(document: string, ...updates: readonly Uint8Array[]): Promise<readonly boolean[]> {
  const stranger = await Stranger.at(`${replica.url}/hocuspocus`)
  stranger.say(document, { type: 'token', token: '' })
  for (const each of updates) {
    const before = stranger.statuses(document).length
    stranger.say(document, { type: 'update', update: each })
    await stranger.until(() => stranger.statuses(document).length > before)
    if (stranger.closed !== undefined || !stranger.statuses(document).at(-1)) break
  }
  stranger.leave()
  return stranger.statuses(document)
}

test('[SEC] types piled up by many updates end at a depth that everybody can delete', async () => {
  const room = await Room.open(replica, 'patience/types')
  // Some at a time, then one by one.
  const some = [0, 50, 100, 150].map((level) => levels(level, level + 50))
  const more = Array.from({ length: 400 }, (_, at) => levels(200 + at, 201 + at))
  const told = await say(room.document, ...some, ...more)
  expect(told.at(-1)).toBe(false)
  expect(told.length).toBeGreaterThan(4 + 20)
  expect(told.length).toBeLessThan(4 + 100)
  await room.edit()
  expect(JSON.stringify((await room.json()).types)).toContain('[[[[[[[[[[')

  room.victim.doc.getArray('a').delete(0, room.victim.doc.getArray('a').length)
  await room.edit()
  const read = wellFormed(await room.read())
  expect(sameBytes(read, loaded(Y.encodeStateAsUpdate(room.victim.doc)))).toBe(true)
  room.close()
})

test('[SEC] how deep types lie is known again after a restart', async () => {
  const document = 'patience/restart'
  expect(await say(document, levels(0, 120), levels(120, 240))).toEqual([true, true])
  await replica.end('SIGKILL')
  replica = await ReplicaProcess.start({ port: replica.port, data: directory.path })
  expect(await say(document, levels(240, 280))).toEqual([false])
  expect(await say(document, levels(240, 250))).toEqual([true])
})

test('honest apps that make thousands of types, one by one, are not held up', async () => {
  const room = await Room.open(replica, 'patience/honest')
  const notes = room.victim.doc.getArray('notes')
  for (let at = 0; at < 2_000; at++) notes.push([new Y.Map([['n', at]])])
  await room.edit()
  expect(((await room.json()).types as { notes: unknown[] }).notes).toHaveLength(2_000)
  room.close()
})

test('[SEC] thousands of clients at one place make nobody else in the document wait for the replica', async () => {
  const document = 'patience/same-origin'
  const room = await Room.open(replica, document)
  const typistBefore = await Bystander.start(`${replica.url}/y/${document}`)
  await typistBefore.stop()
  const stranger = await Stranger.at(`${replica.url}/y/${document}`)
  const marker = newMarker()
  const blocks = Array.from({ length: 20_000 }, (_, at) => {
    return { client: 2 ** 31 - at, clock: 0, structs: [text('x', { origin: [room.target.client, 0] })] }
  })
  stranger.sayY({ type: 'update', update: update(blocks) }, { type: 'update', update: marker })
  await stranger.until(() => isBack(stranger, marker))
  stranger.leave()
  room.close()
  const typistAfter = await Bystander.start(`${replica.url}/y/${document}`, 8)
  await typistAfter.stop()
  expect(typistAfter.usualMs).toBeLessThan(10 * typistBefore.usualMs + 5)
})
