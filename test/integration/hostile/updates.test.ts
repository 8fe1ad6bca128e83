/** [SEC] One hostile update never harms a document, its people, or anybody else: the corpus, by every way in. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { Bystander } from '../../support/bystander.js'
import { rssOf } from '../../support/metrics.js'
import { RawSocket } from '../../support/raw-socket.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'
import { corpus, type HostileUpdate, type Verdict, v2RunOfGcs } from './corpus.js'
import { type Answer, type Path, paths, sameBytes } from './paths.js'
import { deletedOf, loaded, newMarker, Room, readDocument, wellFormed } from './room.js'

const READERS = 8
const RSS_GROWTH_BYTES = 192 * 1024 * 1024

const directory = temporaryDirectory()
let replica: ReplicaProcess
let bystander: Bystander
let rssAtStart: number
/** A request whose head never ends, from before the first test on: it must not hold its socket for ever. */
let loris: RawSocket
/** Every document that was attacked, as it was last read. */
const kept = new Map<string, Uint8Array>()

beforeAll(async () => {
  replica = await ReplicaProcess.start({ port: await freePort(), data: directory.path })
  loris = await RawSocket.to(replica.port)
  loris.write('GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n')
  bystander = await Bystander.start(`${replica.url}/y/elsewhere`)
  const room = await Room.open(replica, 'first')
  await room.json() // starts what starts late
  room.close()
  rssAtStart = rssOf(replica)
})
afterAll(async () => {
  await bystander.stop()
  await replica.end('SIGKILL')
  directory.remove()
})

test('the corpus is right where plain Yjs can tell: its V2 is V2', () => {
  const doc = new Y.Doc()
  Y.applyUpdateV2(doc, v2RunOfGcs(5))
  expect([...Y.decodeStateVector(Y.encodeStateVector(doc)).values()]).toEqual([5])
})

describe.each(corpus)('$name', (input) => {
  test.each(paths)('[SEC] by $name: the process lives, the document is well, others feel nothing', async (path) => {
    const slowestMs = await bystander.slowestDuring((attempt) =>
      attack(input, path, `hostile/${input.name}/${path.name.replace(/\W+/g, '-')}/${attempt}`),
    )
    expect(slowestMs).toBeLessThanOrEqual(bystander.limitMs)
  })
})

test('[SEC] after all of it the replica is the same process, and holds hardly more memory', async () => {
  const response = await fetch(`${replica.http}/healthz`)
  expect(response.status).toBe(200)
  expect(rssOf(replica) - rssAtStart).toBeLessThan(RSS_GROWTH_BYTES)
  expect(replica.isRunning).toBe(true)
})

test('[SEC] a request that never ends was ended', async () => {
  await loris.over()
  expect(loris.status).toBe(408)
})

test('[DU1] after a crash every attacked document is there as it was', async () => {
  await bystander.stop()
  await replica.end('SIGKILL')
  replica = await ReplicaProcess.start({ port: replica.port, data: directory.path })
  expect(kept.size).toBeGreaterThanOrEqual(corpus.length * paths.length)
  const left = [...kept]
  const readOn = async (): Promise<void> => {
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      const [document, was] = next
      expect(sameBytes(await readDocument(replica, document), was), document).toBe(true)
    }
  }
  await Promise.all(Array.from({ length: READERS }, readOn))
})

async function attack(input: HostileUpdate, path: Path, document: string): Promise<void> {
  const room = await Room.open(replica, document)
  const marker = newMarker()
  const update = input.build(room.target)
  const { verdict } = input

  checkAnswer(await path.send(replica, document, update, marker), path, verdict)

  const isUnchanged = verdict !== 'legal' && verdict !== 'any' && !(input.isClosedInPart && path.kind === 'step2')
  if (isUnchanged) {
    const read = await room.read()
    // Behind what ends a connection an honest edit may still be on its way.
    const expected = [loaded(room.before), loaded(room.before, marker)]
    expect(
      expected.some((state) => sameBytes(state, read)),
      'nothing has changed',
    ).toBe(true)
  }
  // Before the news have reached it, its next edit would stand against theirs: `forged-ids.test.ts`.
  if (input.takesId) await room.victim.until(() => room.victim.doc.clientID !== room.target.client)
  await room.edit()
  await checkDocument(room, input, isUnchanged)
  room.close()
  expect((await fetch(`${replica.http}/healthz`)).status).toBe(200)
}

function checkAnswer(answer: Answer, path: Path, verdict: Verdict): void {
  if (verdict === 'any') return
  const code = verdict === 'legal' ? undefined : `document/${verdict}`
  if (path.name === 'HTTP') {
    const status = { 'bad-update': 400, gap: 409, equivocation: 409, legal: 200 }[verdict]
    expect(answer).toEqual({ status, code })
  } else if (path.name.startsWith('/y')) {
    // This protocol can tell a refusal only by a close; one bad update is a strike of three.
    const isFinal = verdict === 'equivocation'
    expect([answer.code, answer.close]).toEqual(isFinal ? [code, 4409] : [undefined, undefined])
  } else {
    const asked = verdict === 'gap'
    expect(answer).toEqual({ asked, applied: asked ? undefined : verdict === 'legal' })
  }
}

async function checkDocument(room: Room, input: HostileUpdate, isUnchanged: boolean): Promise<void> {
  const { victim, target } = room
  const read = wellFormed(await room.read())
  expect(sameBytes(read, loaded(Y.encodeStateAsUpdate(victim.doc))), 'who was there sees what others read').toBe(true)
  if (input.takesId) expect(target.client, 'the victim goes on under an id of its own').not.toBe(victim.doc.clientID)
  if (!input.deletes && input.verdict !== 'any') {
    expect(deletedOf(room, read), 'what the victim wrote stands').toEqual(deletedOf(room, room.before))
  }
  kept.set(room.document, read)
  if (!isUnchanged) expect(JSON.stringify((await room.json()).types['t'])).toContain('!')
}
