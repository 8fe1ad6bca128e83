/** [SEC] Messages out of order, out of place or out of their mind: the connection bears it, and nobody else has to. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { encodeHocuspocusMessage } from '../../../shared/protocol/hocuspocus.js'
import { encodeYMessage } from '../../../shared/protocol/sync.js'
import { bytesOf, concat, sizedText, varUint } from '../../fuzz/update-bytes.js'
import { openConnections } from '../../support/metrics.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'
import { Stranger } from '../../support/stranger.js'
import { isBack, sameBytes } from './paths.js'
import { type Random, seededRandom } from './random.js'
import { loaded, newMarker, Room } from './room.js'

/** `CAUSEWAY_SEEDS` for longer runs. */
const SEEDS = Number(process.env['CAUSEWAY_SEEDS'] ?? 12)

const directory = temporaryDirectory()
let replica: ReplicaProcess
let room: Room
let rooms = 0
beforeAll(async () => {
  replica = await ReplicaProcess.start({ port: await freePort(), data: directory.path })
})
beforeEach(async () => {
  room = await Room.open(replica, `protocols/${++rooms}`)
  return () => room.close()
})
afterAll(async () => {
  await replica.end('SIGKILL')
  directory.remove()
})

/** The victim writes on, and who opens the document reads what it holds. */
async function victimIsWell(): Promise<void> {
  await room.edit()
  expect(sameBytes(await room.read(), loaded(Y.encodeStateAsUpdate(room.victim.doc)))).toBe(true)
  expect(replica.isRunning).toBe(true)
}

const nothing = Uint8Array.of(0)
const noUpdate = Uint8Array.of(0, 0)
const token = { type: 'token', token: '' } as const
const step1 = { type: 'step1', stateVector: nothing } as const

describe('/y', () => {
  const at = (): Promise<Stranger> => Stranger.at(`${replica.url}/y/${room.document}`)

  test.each<readonly [name: string, message: Uint8Array]>([
    ['an empty frame', new Uint8Array()],
    ['a type without a body', Uint8Array.of(0)],
    ['an unknown sync type', Uint8Array.of(0, 7, 0)],
    ['a length beyond the frame', Uint8Array.of(0, 2, 200, 1)],
    ['a length of 2^53', concat([0, 2], varUint(Number.MAX_SAFE_INTEGER))],
    ['a number without end', new Uint8Array(40).fill(0xff)],
    ['a state vector that is empty', encodeYMessage({ type: 'step1', stateVector: new Uint8Array() })],
    ['a state vector that is truncated', encodeYMessage({ type: 'step1', stateVector: Uint8Array.of(2, 1, 1) })],
    ['a state vector with a claimed count', encodeYMessage({ type: 'step1', stateVector: varUint(2 ** 40) })],
    ['a state vector with trailing bytes', encodeYMessage({ type: 'step1', stateVector: Uint8Array.of(0, 0) })],
    ['an auth of an unknown type', Uint8Array.of(2, 9)],
  ])('[SEC] %s: the third one ends the connection, no sooner', async (_name, message) => {
    const stranger = await at()
    const marker = newMarker()
    stranger.sayBytes(message).sayBytes(message).sayY({ type: 'update', update: marker })
    await stranger.until(() => isBack(stranger, marker))
    expect(stranger.closed).toBeUndefined()
    stranger.sayBytes(message)
    await stranger.over()
    expect(stranger.closed).toEqual({ close: 4400, code: 'protocol/bad-message' })
    await victimIsWell()
  })

  test.each<readonly [name: string, message: Uint8Array]>([
    ['an unknown type', Uint8Array.of(77, 1, 2, 3)],
    ['what only servers say', encodeYMessage({ type: 'denied', reason: 'you' })],
    ['two messages in one frame', concat(encodeYMessage(step1), encodeYMessage(step1))],
    ['a step2 that nobody asked for', encodeYMessage({ type: 'step2', update: noUpdate })],
    ['an update of nothing', encodeYMessage({ type: 'update', update: noUpdate })],
    [
      'a state vector from the future',
      encodeYMessage({ type: 'step1', stateVector: concat([1, 5], varUint(2 ** 40)) }),
    ],
    [
      'a state vector with one client twice',
      encodeYMessage({ type: 'step1', stateVector: Uint8Array.of(2, 5, 1, 5, 0) }),
    ],
  ])('[SEC] %s, many times: the connection goes on', async (_name, message) => {
    const stranger = await at()
    const marker = newMarker()
    for (let n = 0; n < 20; n++) stranger.sayBytes(message)
    stranger.sayY({ type: 'update', update: marker })
    await stranger.until(() => isBack(stranger, marker))
    expect(stranger.closed).toBeUndefined()
    await victimIsWell()
    stranger.leave()
  })

  test('[SEC] a state vector that claims the victim far ahead keeps things from nobody but its sender', async () => {
    const { client } = room.target
    const future = bytesOf((writer) => {
      writer.varUint(1)
      writer.varUint(client)
      writer.varUint(2 ** 40)
    })
    const stranger = await at()
    stranger.sayY({ type: 'step1', stateVector: future })
    await stranger.until(() => stranger.y.some(({ type }) => type === 'step2'))
    await victimIsWell()
    stranger.leave()
  })
})

describe('/hocuspocus', () => {
  const at = (): Promise<Stranger> => Stranger.at(`${replica.url}/hocuspocus`)
  const open = async (): Promise<Stranger> => {
    const stranger = await at()
    stranger.say(room.document, token)
    await stranger.until(() => stranger.under(room.document).length > 0)
    return stranger
  }

  test.each<readonly [name: string, message: () => Uint8Array]>([
    ['an empty frame', () => new Uint8Array()],
    ['an empty address', () => concat([0], [0, 0, 1, 0])],
    ['an address of 12 KB', () => concat(sizedText('a'.repeat(12_000)), [0, 0, 1, 0])],
    ['an address of 2^53 bytes', () => varUint(Number.MAX_SAFE_INTEGER)],
    ['an address that is no UTF-8', () => Uint8Array.of(2, 0xc3, 0x28, 0, 0, 1, 0)],
    ['an address and nothing', () => sizedText('x')],
    ['a token of 20 KB', () => encodeHocuspocusMessage('x', { type: 'token', token: 't'.repeat(20_000) })],
    ['an auth of an unknown type', () => concat(sizedText('x'), [2, 9])],
    [
      'a stateless message of 2 MB',
      () => encodeHocuspocusMessage('x', { type: 'stateless', payload: 's'.repeat(2 ** 21) }),
    ],
  ])('[SEC] %s: the third one ends the connection', async (_name, message) => {
    const stranger = await at()
    for (let n = 0; n < 3; n++) stranger.sayBytes(message())
    await stranger.over()
    expect(stranger.closed).toEqual({ close: 4400, code: 'protocol/bad-message' })
    await victimIsWell()
  })

  test('[SEC] a body that cannot be read ends its own document, not the others of the socket', async () => {
    const stranger = await open()
    const other = `${room.document}/other`
    stranger.say(other, token).sayBytes(concat(sizedText(room.document), [0, 2, 200]))
    await stranger.until(() => stranger.under(room.document).some(({ type }) => type === 'close'))
    stranger.say(other, { type: 'update', update: newMarker() })
    await stranger.until(() => stranger.statuses(other).length === 1)
    expect([stranger.closed, stranger.statuses(other)]).toEqual([undefined, [true]])
    await victimIsWell()
    stranger.leave()
  })

  test.each<readonly [name: string, address: string]>([
    ['NUL first', '\0x'],
    ['an empty segment', 'a//b'],
    ['a control character', 'a\u0007'],
    ['513 bytes', 'a'.repeat(513)],
    ['a slash last', 'a/'],
  ])('[SEC] a document whose name has %s is refused by its address', async (_name, address) => {
    const stranger = await at()
    stranger.say(address, token, step1)
    await stranger.until(() => stranger.under(address).some(({ type }) => type === 'denied'))
    expect(stranger.closed).toBeUndefined()
    stranger.say(room.document, token)
    await stranger.until(() => stranger.under(room.document).length > 0)
    expect(stranger.under(room.document)[0]?.type).toBe('authenticated')
    stranger.leave()
  })

  test('what a client detached from is handled when it comes back, not before', async () => {
    const stranger = await open()
    const update = newMarker()
    stranger.say(room.document, { type: 'close' }, { type: 'update', update })
    await victimIsWell()
    expect(stranger.statuses(room.document)).toEqual([])
    stranger.say(room.document, token)
    await stranger.until(() => stranger.statuses(room.document).length === 1)
    expect(stranger.statuses(room.document)).toEqual([true])
    stranger.leave()
  })

  test('[SEC] coming and going nine hundred times in one packet leaves one session, which works', async () => {
    const stranger = await at()
    for (let n = 0; n < 900; n++) stranger.say(room.document, token, { type: 'close' })
    stranger.say(room.document, token, { type: 'update', update: newMarker() })
    await stranger.until(() => stranger.statuses(room.document).length === 1)
    expect([stranger.closed, stranger.statuses(room.document)]).toEqual([undefined, [true]])
    await victimIsWell()
    stranger.leave()
  })

  test('[SEC] tokens without end are judged one after the other', async () => {
    const stranger = await open()
    for (let n = 0; n < 400; n++) stranger.say(room.document, token)
    stranger.say(room.document, { type: 'update', update: newMarker() })
    await stranger.until(() => stranger.statuses(room.document).length === 1)
    expect(stranger.closed).toBeUndefined()
    expect(stranger.under(room.document).filter(({ type }) => type === 'authenticated')).toHaveLength(401)
    await victimIsWell()
    stranger.leave()
  })

  test('[SEC] more tokens than one connection may have judged end it', async () => {
    const stranger = await open()
    for (let n = 0; n < 3_000; n++) stranger.say(room.document, token)
    await stranger.over()
    expect(stranger.closed).toEqual({ close: 1013, code: 'access/too-many-requests' })
    await victimIsWell()
  })

  test('[SEC] one document under a hundred addresses of one socket: each is answered, each edit counts once', async () => {
    const stranger = await at()
    const addresses = Array.from({ length: 100 }, (_, session) => `${room.document}\0${session}`)
    for (const address of addresses) stranger.say(address, token)
    await stranger.until(() => addresses.every((address) => stranger.under(address).length > 0))
    const update = newMarker()
    for (const address of addresses) stranger.say(address, { type: 'update', update })
    await stranger.until(() => addresses.every((address) => stranger.statuses(address).length === 1))
    expect(addresses.flatMap((address) => stranger.statuses(address))).toEqual(addresses.map(() => true))
    await victimIsWell()
    stranger.leave()
  })

  test('[SEC] a queue without a token has an end', async () => {
    const stranger = await at()
    for (let n = 0; n < 1_100; n++) stranger.say(room.document, { type: 'update', update: newMarker() })
    await stranger.over()
    expect(stranger.closed).toEqual({ close: 1013, code: 'access/too-many-requests' })
    await victimIsWell()
  })
})

describe('anything at all', () => {
  test.each(Array.from({ length: SEEDS }, (_, seed) => [seed] as const))('[SEC] seed %i', async (seed) => {
    const random = seededRandom(seed)
    const strangers = await Promise.all(
      Array.from({ length: 6 }, (_, n) => Stranger.at(`${replica.url}/${n % 2 ? 'hocuspocus' : `y/${room.document}`}`)),
    )
    for (let message = 0; message < 40; message++) {
      for (const [n, stranger] of strangers.entries()) stranger.sayBytes(n % 2 ? anyAddressed(random) : anyY(random))
    }
    // What follows is handled behind it all, where the connection is still there.
    await Promise.all(
      strangers.map(async (stranger) => {
        stranger.socket.ping()
        await Promise.race([new Promise((resolve) => stranger.socket.once('pong', resolve)), stranger.over()])
      }),
    )
    for (const stranger of strangers) {
      // Ended for what it said, never for a fault of ours.
      expect([undefined, 4400, 1013]).toContain(stranger.closed?.close)
      stranger.leave()
    }
    await victimIsWell()
  })

  const anyBytes = (random: Random): Uint8Array => {
    switch (random.below(6)) {
      case 0:
        return noUpdate
      case 1:
        return nothing
      case 2:
        return newMarker()
      case 3:
        return newMarker().map((byte) => (random.below(8) ? byte : random.below(256)))
      case 4:
        return room.before
      default:
        return Uint8Array.from({ length: random.below(30) }, () => random.below(256))
    }
  }

  const anyY = (random: Random): Uint8Array => {
    const update = anyBytes(random)
    const messages = [
      encodeYMessage({ type: 'step1', stateVector: update }),
      encodeYMessage({ type: 'step2', update }),
      encodeYMessage({ type: 'update', update }),
      encodeYMessage({ type: 'update', update }),
      encodeYMessage({ type: 'awareness', update }),
      encodeYMessage({ type: 'query-awareness' }),
      encodeYMessage({ type: 'denied', reason: 'x' }),
      update,
    ]
    return cutNowAndThen(messages[random.below(messages.length)]!, random)
  }

  const anyAddressed = (random: Random): Uint8Array => {
    const update = anyBytes(random)
    const address = [room.document, `${room.document}\0s`, 'protocols/other', 'a//b', '\0'][
      random.below(random.below(2) ? 5 : 2)
    ]!
    const sync = { type: 'step2', update } as const
    const messages = [
      encodeHocuspocusMessage(address, token),
      encodeHocuspocusMessage(address, { ...token, version: '4.8.0' }),
      encodeHocuspocusMessage(address, { type: 'step1', stateVector: update }),
      encodeHocuspocusMessage(address, sync),
      encodeHocuspocusMessage(address, { type: 'update', update }),
      encodeHocuspocusMessage(address, { type: 'sync-reply', sync }),
      encodeHocuspocusMessage(address, { type: 'awareness', update }),
      encodeHocuspocusMessage(address, { type: 'query-awareness' }),
      encodeHocuspocusMessage(address, { type: 'stateless', payload: 'x' }),
      encodeHocuspocusMessage(address, { type: 'broadcast-stateless', payload: 'x' }),
      encodeHocuspocusMessage(address, { type: 'close' }),
      encodeHocuspocusMessage(address, { type: 'sync-status', applied: false }),
      encodeHocuspocusMessage(address, { type: 'token-request' }),
      Uint8Array.of(9),
      Uint8Array.of(10),
    ]
    return cutNowAndThen(messages[random.below(messages.length)]!, random)
  }

  const cutNowAndThen = (message: Uint8Array, random: Random): Uint8Array =>
    random.below(20) ? message : message.subarray(0, random.below(message.length + 1))
})

test('[SEC] afterwards only who is still there is counted', async () => {
  await expect.poll(() => openConnections(replica), { timeout: 20_000, interval: 20 }).toBe(1)
})
