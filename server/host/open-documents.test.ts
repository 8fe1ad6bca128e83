import fc from 'fast-check'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { makeOrigin } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import { checkUpdate } from '../../shared/update/check.js'
import { KnownState } from '../../shared/update/known-state.js'
import { parseUpdate } from '../../shared/update/parse.js'
import { HonestRoom } from '../../test/fuzz/honest-room.js'
import { steps } from '../../test/fuzz/honest-steps.js'
import * as raw from '../../test/fuzz/update-bytes.js'
import { compact } from '../document/compact.js'
import { OpenDocument } from '../replica/open-document.js'
import type { StoredDocument } from '../storage/stored-document.js'
import { OpenDocuments } from './open-documents.js'

const origin = makeOrigin('a', '00000000000000aa')

function storing(stored: StoredDocument): OpenDocuments {
  return new OpenDocuments({
    now: () => 0,
    load: () => Promise.resolve({ stored, owned: [] }),
    onLoaded: (loaded) => new OpenDocument(loaded, false),
    seed: () => Promise.resolve(),
    isQuiet: () => true,
    onNotLoaded: () => {},
    settle: () => Promise.reject(new Error('nothing to settle')),
    onUnload: () => {},
    onFailure: () => {},
  })
}

/** What storage holds once the first `folded` of `updates` are a snapshot. */
function storedAs(updates: readonly Uint8Array[], folded: number): StoredDocument {
  const { update, known } = compact({ snapshot: undefined, tail: updates.slice(0, folded) })
  const tail = updates.slice(folded).map((bytes, index) => {
    const position = folded + index + 1
    return { position, dot: { origin, seq: position }, hlc: position as HybridTime, update: bytes }
  })
  return {
    name: 'd',
    generation: 0,
    snapshot: { position: folded, update, known, fingerprint: new Uint8Array(16) },
    tail,
    position: updates.length,
    clock: { a: updates.length },
    digest: { count: updates.length, xor: new Uint8Array(16) },
  }
}

test('[DU1] what was stored can be loaded again, wherever a snapshot was taken on the way', async () => {
  await fc.assert(
    fc.asyncProperty(steps(80), fc.nat(100), async (script, cut) => {
      const room = new HonestRoom(3).play(script)
      const live = new KnownState()
      const updates: Uint8Array[] = []
      const offer = (bytes: Uint8Array, kind: 'update' | 'step2'): void => {
        const checked = checkUpdate(parseUpdate(bytes), live, kind)
        live.add(checked)
        if (checked.type === 'new') updates.push(checked.update)
      }
      for (const { bytes } of room.messages) offer(bytes, 'update')
      room.settle()
      // Whole states name deletions that Yjs made by itself: of what was put into a deleted type, for example.
      for (const { doc } of room.people) offer(Y.encodeStateAsUpdate(doc), 'step2')
      const documents = storing(storedAs(updates, cut % (updates.length + 1)))
      const opened = await documents.opened(documents.entry('d'))
      expect(opened.known.clocks.encode()).toEqual(live.clocks.encode())
    }),
    { numRuns: 150 },
  )
})

test('what was accepted under wider limits can still be opened', async () => {
  const clients = Array.from({ length: 12_000 }, (_, at) => 1_000_000 - at)
  const wide = raw.update(clients.map((client) => ({ client, clock: 0, structs: [raw.text('x')] })))
  expect(() => parseUpdate(wide)).toThrow()
  const tail = [{ position: 1, dot: { origin, seq: 1 }, hlc: 1 as HybridTime, update: wide }]
  const digest = { count: 1, xor: new Uint8Array(16) }
  const open = storing({ name: 'd', generation: 0, tail, position: 1, clock: {}, digest })
  const { known } = await open.opened(open.entry('d'))
  expect(known.clocks.size).toBe(12_000)
})
