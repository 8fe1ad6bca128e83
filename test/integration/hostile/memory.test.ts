/** [SEC] What a client makes a replica hold is bounded while it is there, and ends with it. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { encodeHocuspocusMessage } from '../../../shared/protocol/hocuspocus.js'
import { item, update, varUint } from '../../fuzz/update-bytes.js'
import { Bystander } from '../../support/bystander.js'
import { metric, openConnections, rssOf } from '../../support/metrics.js'
import { BINARY, frame, RawSocket } from '../../support/raw-socket.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'
import { Stranger } from '../../support/stranger.js'

const MIB = 1024 * 1024
/** As struct infos name it. */
const BINARY_CONTENT = 3

const directory = temporaryDirectory()
let replica: ReplicaProcess
let bystander: Bystander
beforeAll(async () => {
  replica = await ReplicaProcess.start({ port: await freePort(), data: directory.path })
  bystander = await Bystander.start(`${replica.url}/y/elsewhere`)
})
afterAll(async () => {
  await bystander.stop()
  await replica.end('SIGKILL')
  directory.remove()
})

/** Waits until `check` no longer throws; what is asked is a page of numbers, so there is nothing to be told by. */
const eventually = (check: () => Promise<void>): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 20 })

/** One value of `bytes` bytes under a client id of its own. */
function large(client: number, bytes: number): Uint8Array {
  const value = Buffer.concat([varUint(bytes), Buffer.alloc(bytes)])
  return update([{ client, clock: 0, structs: [item(BINARY_CONTENT, { parent: 'files' }, value)] }])
}

test('[SEC] a client that reads nothing while 40 MB pass is sent away, those who read are not, and the memory returns', async () => {
  await passUnread()
  const before = rssOf(replica)
  // What is still taken after the first time is room that the next ones use again.
  await passUnread()
  await passUnread()
  expect(rssOf(replica) - before).toBeLessThan(64 * MIB)
})

async function passUnread(): Promise<void> {
  const slowConsumers = (): Promise<number> =>
    metric(replica, 'causeway_connection_events_total{event="slow-consumer"}')
  const slowBefore = await slowConsumers()
  const token = encodeHocuspocusMessage('unread', { type: 'token', token: '' })
  const slow = await RawSocket.upgraded(replica.port, '/hocuspocus')
  slow.write(frame(BINARY, token))
  await slow.until(() => slow.answer.includes('read-write'))
  slow.pause()
  const reader = await Stranger.at(`${replica.url}/hocuspocus`)
  // Several, since one may not tell others so much at once.
  const writers = await Promise.all(Array.from({ length: 12 }, () => Stranger.at(`${replica.url}/hocuspocus`)))
  for (const stranger of [reader, ...writers]) {
    stranger.sayBytes(token)
    await stranger.until(() => stranger.under('unread').some(({ type }) => type === 'authenticated'))
  }
  // Messages that are passed on and not kept, so that what is held is held for the reader.
  const payload = 'x'.repeat(MIB / 4)
  for (let round = 1; round <= 14; round++) {
    for (const writer of writers) writer.say('unread', { type: 'stateless', payload })
    // Those who read have read it all before more comes; nobody hears what it says itself.
    await reader.until(() => reader.heard.length > round * writers.length)
    for (const writer of writers) await writer.until(() => writer.heard.length > round * (writers.length - 1))
  }
  expect([reader, ...writers].map(({ closed }) => closed).filter((closed) => closed !== undefined)).toEqual([])
  await eventually(async () => expect(await slowConsumers()).toBe(slowBefore + 1))
  slow.resume()
  await slow.until(() => slow.closeCode !== undefined)
  slow.destroy()
  expect(slow.closeCode).toBe(1013)
  for (const stranger of [reader, ...writers]) stranger.leave()
}

test('[SEC] an update larger than what may wait for a reader sends nobody away who reads', async () => {
  const people = await Promise.all(Array.from({ length: 4 }, () => Stranger.at(`${replica.url}/y/large`)))
  people[0]!.sayY({ type: 'update', update: large(1, 8 * MIB) })
  for (const person of people) {
    await person.until(() => person.y.some(({ type }) => type === 'update'))
    expect(person.closed).toBeUndefined()
    person.leave()
  }
})

test('[SEC] messages that never end are bounded all together, and the largest go', async () => {
  const half = frame(BINARY, Buffer.alloc(14 * MIB), { fin: false })
  const honest = await Stranger.at(`${replica.url}/y/large`)
  const holders = await Promise.all(Array.from({ length: 24 }, () => RawSocket.upgraded(replica.port, '/y/unfinished')))
  for (const holder of holders) holder.write(half)
  // 336 MB have come; 256 MB may be there.
  const ended = (): number => holders.filter(({ closeCode }) => closeCode === 1013).length
  await eventually(async () => expect(ended()).toBeGreaterThanOrEqual(6))
  expect(ended()).toBeLessThan(24)
  honest.sayY({ type: 'update', update: large(2, 4 * MIB) })
  await honest.until(() => honest.y.some(({ type }) => type === 'update'))
  expect(honest.closed).toBeUndefined()
  honest.leave()
  for (const holder of holders) holder.destroy()
})

test('[SEC] 3,000 names that nobody writes are free again when who named them has gone', async () => {
  const openDocuments = (): Promise<number> => metric(replica, 'causeway_open_documents')
  await eventually(async () => expect(await openConnections(replica)).toBe(1))
  // The bystander's and that of the test before.
  const before = 2
  await eventually(async () => expect(await openDocuments()).toBe(before))
  await nameThousands('first', async () => expect(await openDocuments()).toBe(before + 3_000))
  await eventually(async () => expect(await openDocuments()).toBeLessThanOrEqual(before))
  const rssBefore = rssOf(replica)
  // What is still taken after the first time is room that the second uses again.
  await nameThousands('again', async () => expect(await openDocuments()).toBe(before + 3_000))
  await eventually(async () => expect(await openDocuments()).toBeLessThanOrEqual(before))
  expect(rssOf(replica) - rssBefore).toBeLessThan(32 * MIB)
})

async function nameThousands(prefix: string, check: () => Promise<void>): Promise<void> {
  const strangers = await Promise.all(
    Array.from({ length: 6 }, async (_, at) => {
      const stranger = await Stranger.at(`${replica.url}/hocuspocus`)
      // A hundred may wait for their tokens to be judged.
      for (let name = 0; name < 500; name += 50) {
        const names = Array.from({ length: 50 }, (_, more) => `${prefix}/${at}/${name + more}`)
        for (const each of names) stranger.say(each, { type: 'token', token: '' })
        await stranger.until(() => names.every((each) => stranger.under(each).length > 0))
      }
      return stranger
    }),
  )
  expect(strangers.map(({ closed }) => closed)).toEqual(strangers.map(() => undefined))
  await eventually(check)
  for (const stranger of strangers) stranger.leave()
}

test('[SEC] more documents than one connection may have end it, and it alone', async () => {
  const stranger = await Stranger.at(`${replica.url}/hocuspocus`)
  for (let name = 0; name < 200; name++)
    stranger.say(`waiting/${name}`, { type: 'step1', stateVector: Uint8Array.of(0) })
  await stranger.over()
  expect(stranger.closed).toEqual({ close: 1013, code: 'access/too-many-requests' })
  expect(Math.max(...(await bystander.lap()))).toBeLessThan(10_000)
})

test('[SEC] all connections that were made are gone from the books', async () => {
  await eventually(async () => expect(await openConnections(replica)).toBe(1))
  expect(replica.isRunning).toBe(true)
})
