import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as ws from 'ws'
import { encodeAddress } from '../../shared/protocol/hocuspocus.js'
import { encodeYMessage, UPDATE_PREFIX } from '../../shared/protocol/sync.js'
import { frameHead, frameMessage, frameUpdates, PING_FRAME } from './websocket-frame.js'

// Exported, and missing in the types.
const { Sender } = ws as unknown as { Sender: { frame(data: Buffer, options: object): Buffer[] } }

/** What ws itself would send for a binary message. */
function reference(payload: Uint8Array, opcode = 2): Buffer {
  return Buffer.concat(
    Sender.frame(Buffer.from(payload), { fin: true, mask: false, readOnly: false, opcode, rsv1: false }),
  )
}

const lengths = [0, 1, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 65_530, 65_531, 65_535, 65_536, 2_200_000]

test.each(lengths)('a payload of %i bytes is framed as ws frames it', (length) => {
  const payload = Buffer.alloc(length, 7)
  expect(frameMessage(new Uint8Array(), payload).equals(reference(payload))).toBe(true)
  const update = encodeYMessage({ type: 'update', update: payload })
  expect(frameUpdates(UPDATE_PREFIX, [{ update: payload }]).equals(reference(update))).toBe(true)
  const head = frameHead(UPDATE_PREFIX, payload.length)
  expect(Buffer.concat([head, payload]).equals(reference(update))).toBe(true)
})

test('updates stand back to back, each a frame of its own, behind any address', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), fc.string(), (updates, name) => {
      const address = encodeAddress(name)
      const frames = frameUpdates(
        Buffer.concat([address, UPDATE_PREFIX]),
        updates.map((update) => ({ update })),
      )
      const expected = updates.map((update) =>
        reference(Buffer.concat([address, encodeYMessage({ type: 'update', update })])),
      )
      expect(frames.equals(Buffer.concat(expected))).toBe(true)
    }),
  )
})

test('a ping is a ping', () => {
  expect(PING_FRAME.equals(reference(new Uint8Array(), 9))).toBe(true)
})
