/**
 * [SEC] Many small messages that are legal one by one, and dear to answer: asking costs who asks, not the others. And
 * what one client takes in memory comes back when it goes.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodeAwareness } from '../../../shared/protocol/awareness.js'
import { encodeHocuspocusMessage } from '../../../shared/protocol/hocuspocus.js'
import { encodeYMessage } from '../../../shared/protocol/sync.js'
import { bytesOf, text, update } from '../../fuzz/update-bytes.js'
import { Bystander } from '../../support/bystander.js'
import { rssOf } from '../../support/metrics.js'
import { BINARY, frame, RawSocket } from '../../support/raw-socket.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'
import { Stranger } from '../../support/stranger.js'
import { isBack } from './paths.js'
import { newMarker } from './room.js'

const MIB = 1024 * 1024
/** What a flood may add for a moment: buffers of the kernel's making and of ours, and garbage. */
const RSS_GROWTH_BYTES = 256 * MIB
/** Sessions that wrote the document whose state vector is long. */
const MANY_CLIENTS = 20_000

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

describe('little asked, much to answer', () => {
  beforeAll(async () => {
    const blocks = Array.from({ length: MANY_CLIENTS }, (_, at) => {
      return { client: 10_000_000 - at, clock: 0, structs: [text('x', { parent: 'p' })] }
    })
    await write('many-clients', update(blocks))
    // 400,000 letters of which every second one is deleted.
    const letters = Array.from({ length: 400_000 }, (_, at) =>
      text('x', at ? { origin: [9, at - 1] } : { parent: 'p' }),
    )
    await write('many-deletes', update([{ client: 9, clock: 0, structs: letters }]))
    await write('many-deletes', update([], [[9, Array.from({ length: 200_000 }, (_, at) => [2 * at, 1] as const)]]))
    await write(
      'two-megabytes',
      update([{ client: 9, clock: 0, structs: [text('x'.repeat(2 * MIB), { parent: 't' })] }]),
    )
    const people = await Stranger.at(`${replica.url}/y/many-people`)
    for (let clientId = 1; clientId <= 60; clientId++) {
      const state = JSON.stringify({ about: 'x'.repeat(15_000) })
      people.sayY({ type: 'awareness', update: encodeAwareness([{ clientId, clock: 1, json: state }]) })
    }
  })

  const y = (message: Parameters<typeof encodeYMessage>[0]): Buffer => frame(BINARY, encodeYMessage(message))
  const under = (document: string, message: Parameters<typeof encodeHocuspocusMessage>[1]): Buffer =>
    frame(BINARY, encodeHocuspocusMessage(document, message))
  const times = (count: number, ...frames: readonly Buffer[]): Buffer =>
    Buffer.concat(Array.from({ length: count }, () => frames).flat())
  const nothing = Uint8Array.of(0)
  const noUpdate = Uint8Array.of(0, 0)
  const gap = update([{ client: 8, clock: 5, structs: [text('x', { parent: 'p' })] }])

  const floods: readonly (readonly [name: string, path: string, flood: (attempt: number) => Buffer])[] = [
    ['who is present', '/y/many-people', () => times(4_000, y({ type: 'query-awareness' }))],
    [
      'who is present, under an address',
      '/hocuspocus',
      () =>
        concatenated(
          under('many-people', { type: 'token', token: '' }),
          times(4_000, under('many-people', { type: 'query-awareness' })),
        ),
    ],
    ['edits with a gap', '/y/many-clients', () => times(1_000, y({ type: 'update', update: gap }))],
    [
      'edits with a gap, and an answer to the question each time',
      '/y/many-clients',
      () => times(1_000, y({ type: 'update', update: gap }), y({ type: 'step2', update: noUpdate })),
    ],
    [
      'the same under an address',
      '/hocuspocus',
      () =>
        concatenated(
          under('many-clients', { type: 'token', token: '' }),
          times(
            1_000,
            under('many-clients', { type: 'update', update: gap }),
            under('many-clients', { type: 'step2', update: noUpdate }),
          ),
        ),
    ],
    [
      'the whole document, and a question in return',
      '/hocuspocus',
      () =>
        concatenated(
          under('many-clients', { type: 'token', token: '' }),
          times(1_000, under('many-clients', { type: 'step1', stateVector: nothing })),
        ),
    ],
    ['the whole document', '/y/two-megabytes', () => times(4_000, y({ type: 'step1', stateVector: nothing }))],
    [
      'single deletes in a document of 200,000 ranges',
      '/y/many-deletes',
      (attempt) =>
        Buffer.concat(
          Array.from({ length: 1_500 }, (_, at) =>
            y({ type: 'update', update: update([], [[9, [[100 * at + 1 + 2 * attempt, 1]]]]) }),
          ),
        ),
    ],
    [
      'state vectors of 500,000 clients',
      '/y/two-megabytes',
      () => times(3, y({ type: 'step1', stateVector: longVector(500_000) })),
    ],
  ]

  test.each(floods)('[SEC] %s: others feel nothing, and no memory goes', async (_name, path, flood) => {
    const slowestMs = await bystander.slowestDuring(async (attempt) => {
      const bytes = flood(attempt)
      const before = rssOf(replica)
      const raw = await RawSocket.upgraded(replica.port, path)
      // It does not even read what it asked for.
      raw.pause()
      raw.write(bytes)
      // Laps, not time: the replica has taken turns with all of it when it has served as many keystrokes as these.
      for (let keystrokes = 0; keystrokes < 50; keystrokes += (await bystander.lap()).length);
      raw.destroy()
      expect(rssOf(replica) - before).toBeLessThan(RSS_GROWTH_BYTES)
    })
    expect(slowestMs).toBeLessThanOrEqual(bystander.limitMs)
  })
})

const concatenated = (...buffers: readonly Buffer[]): Buffer => Buffer.concat(buffers)

function longVector(entries: number): Uint8Array {
  return bytesOf((writer) => {
    writer.varUint(entries)
    for (let client = 0; client < entries; client++) {
      writer.varUint(client)
      writer.varUint(1)
    }
  })
}

/** Stores an update. Resolves when it is on disk. */
async function write(document: string, bytes: Uint8Array): Promise<void> {
  const stranger = await Stranger.at(`${replica.url}/y/${document}`)
  const marker = newMarker()
  stranger.sayY({ type: 'update', update: bytes }, { type: 'update', update: marker })
  await stranger.until(() => isBack(stranger, marker))
  expect(stranger.closed).toBeUndefined()
  stranger.leave()
}
