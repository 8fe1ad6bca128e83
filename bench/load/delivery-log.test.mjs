import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { DeliveryLog, Follower } from './delivery-log.mjs'
import { FrameReader } from './frames.mjs'
import { relay } from './protocols.mjs'
import { typedUpdates } from './updates.mjs'

const client = 3_000_000_007
const count = 60
const updates = typedUpdates(client, count)
const ping = Buffer.from([0x89, 1, 42])

/** How a server may cut one writer's updates into messages, and where TCP may cut the bytes. */
const stream = fc.record({
  merges: fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 20 }),
  cuts: fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 40 }),
  pingBefore: fc.nat(40),
})
const sameForAll = fc.tuple(stream, fc.array(stream, { minLength: 1, maxLength: 5 })).map(([first, others]) => [
  first,
  // The same messages, other cuts and pings, as readers of a broadcast have them.
  ...others.map(({ cuts, pingBefore }) => ({ merges: first.merges, cuts, pingBefore })),
])

test.each([
  ['readers of one broadcast', sameForAll],
  ['readers whose messages are merged differently', fc.array(stream, { minLength: 2, maxLength: 5 })],
])('%s count every clock once, in order, whatever the cuts', (_name, streams) => {
  fc.assert(
    fc.property(streams, fc.infiniteStream(fc.nat(9)), (list, turns) => {
      const log = new DeliveryLog(relay, client)
      const readers = list.map((one) => openReader(log, chunksOf(one)))
      for (;;) {
        const waiting = readers.filter(({ chunks }) => chunks.length > 0)
        if (waiting.length === 0) break
        const { feed, chunks } = waiting[turns.next().value % waiting.length]
        feed(chunks.shift())
      }
      for (const { follower, seen, pongs } of readers) {
        expect(seen).toEqual(Array.from({ length: count }, (_, clock) => clock))
        expect(follower).toMatchObject({ clock: count, duplicates: 0, lost: 0 })
        expect(pongs).toHaveLength(1)
      }
    }),
  )
})

test('an update that never comes is lost, one that comes twice is a duplicate', () => {
  const reader = openReader(new DeliveryLog(relay, client), [])
  for (const index of [0, 1, 1, 3]) reader.feed(frameOf(updates[index]))
  expect(reader.seen).toEqual([0, 1, 3])
  expect(reader.follower).toMatchObject({ clock: 4, duplicates: 1, lost: 1 })
})

test('frames come out whole and in order whatever the cuts', () => {
  const lengths = fc.array(fc.oneof(fc.nat(130), fc.integer({ min: 65_530, max: 65_540 })), { maxLength: 6 })
  fc.assert(
    fc.property(
      lengths,
      fc.array(fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constant(30_000)), { maxLength: 8 }),
      (sizes, cuts) => {
        const payloads = sizes.map((size, index) => Buffer.alloc(size, index + 1))
        const got = []
        const reader = new FrameReader((opcode, bytes, start, end) =>
          got.push([opcode, Buffer.from(bytes.subarray(start, end))]),
        )
        for (const chunk of cut(Buffer.concat(payloads.map(serverFrame)), [...cuts, 30_000])) reader.feed(chunk)
        // Buffer.compare, since a deep comparison of long buffers takes seconds.
        expect(got.map(([opcode]) => opcode)).toEqual(payloads.map(() => 2))
        expect(got.map(([, payload], index) => payload.compare(payloads[index]))).toEqual(payloads.map(() => 0))
        expect(reader.rest).toHaveLength(0)
      },
    ),
    { numRuns: 30 },
  )
})

function openReader(log, chunks) {
  const reader = { chunks, seen: [], pongs: [] }
  const session = {
    takeBytes: (onBytes) => {
      reader.feed = onBytes
    },
    onControlFrame: (opcode) => reader.pongs.push(opcode),
  }
  reader.follower = new Follower(log, session, (from, to) => {
    for (let clock = from; clock < to; clock++) reader.seen.push(clock)
  })
  return reader
}

function chunksOf({ merges, cuts, pingBefore }) {
  const frames = []
  for (let at = 0, turn = 0; at < count; turn++) {
    const end = Math.min(count, at + merges[turn % merges.length])
    frames.push(frameOf(end - at === 1 ? updates[at] : Y.mergeUpdates(updates.slice(at, end))))
    at = end
  }
  frames.splice(Math.min(pingBefore, frames.length), 0, ping)
  return cut(Buffer.concat(frames), cuts)
}

function cut(bytes, sizes) {
  const chunks = []
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length]
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return chunks
}

function frameOf(update) {
  return serverFrame(relay.update('any', update))
}

function serverFrame(payload) {
  const { length } = payload
  if (length < 126) return Buffer.concat([Buffer.from([0x82, length]), payload])
  const head = Buffer.alloc(length < 65_536 ? 4 : 10)
  head[0] = 0x82
  head[1] = length < 65_536 ? 126 : 127
  if (length < 65_536) head.writeUInt16BE(length, 2)
  else head.writeUInt32BE(length, 6)
  return Buffer.concat([head, payload])
}
