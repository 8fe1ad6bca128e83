import fc from 'fast-check'
import { createDecoder, readVarUint, readVarUint8Array } from 'lib0/decoding'
import { createEncoder, toUint8Array, writeVarUint, writeVarUint8Array } from 'lib0/encoding'
import { afterEach, expect, test, vi } from 'vitest'
import * as Y from 'yjs'
import { type SavedState, SavedTracker, trackedWebSocket, updateFrame } from '../../client/web/demo/saved.js'

/** A document with a tracker whose local edits are recorded, as the page wires them. */
function trackedDocument() {
  const ydoc = new Y.Doc()
  const states: SavedState[] = []
  const tracker = new SavedTracker((state) => states.push(state))
  const updates: Uint8Array[] = []
  ydoc.on('update', (update: Uint8Array, origin: unknown) => {
    if (origin === 'server') return
    tracker.edited(update)
    updates.push(update)
  })
  return { text: ydoc.getText('text'), ydoc, tracker, states, updates }
}

function frame(kind: number, body: Uint8Array): Uint8Array {
  const encoder = createEncoder()
  writeVarUint(encoder, 0)
  writeVarUint(encoder, kind)
  writeVarUint8Array(encoder, body)
  return toUint8Array(encoder)
}

test('an edit is saved when its bytes have come back, and not before', () => {
  const { text, tracker, updates } = trackedDocument()
  tracker.opened()
  expect(tracker.state).toEqual({ type: 'saved' })
  text.insert(0, 'one')
  text.insert(3, 'two')
  for (const update of updates) tracker.sent(updateFrame(update))
  expect(tracker.state).toEqual({ type: 'saving', changes: 2 })
  tracker.received(updateFrame(updates[0]!))
  expect(tracker.state).toEqual({ type: 'saving', changes: 1 })
  tracker.received(updateFrame(updates[1]!))
  expect(tracker.state).toEqual({ type: 'saved' })
})

test('an edit that only deletes is confirmed by its own echo, not by the echo of what it deleted', () => {
  const { text, tracker, updates } = trackedDocument()
  tracker.opened()
  text.insert(0, 'word')
  text.delete(0, 4)
  tracker.received(updateFrame(updates[0]!))
  expect(tracker.state).toEqual({ type: 'saving', changes: 1 })
  tracker.received(updateFrame(updates[1]!))
  expect(tracker.state).toEqual({ type: 'saved' })
})

test('what others wrote confirms nothing', () => {
  const { text, tracker } = trackedDocument()
  const other = trackedDocument()
  other.text.insert(0, 'x')
  tracker.opened()
  text.insert(0, 'x')
  tracker.received(updateFrame(other.updates[0]!))
  expect(tracker.state).toEqual({ type: 'saving', changes: 1 })
})

test.each([
  ['a SyncStep1', (update: Uint8Array) => frame(0, update)],
  ['a SyncStep2', (update: Uint8Array) => frame(1, update)],
  ['a truncated Update', (update: Uint8Array) => updateFrame(update).slice(0, -1)],
  ['an unknown message type', (update: Uint8Array) => Uint8Array.of(110, ...updateFrame(update))],
  ['an empty frame', () => new Uint8Array(0)],
])('%s with the same bytes confirms nothing', (_name, wrap) => {
  const { text, tracker, updates } = trackedDocument()
  tracker.opened()
  text.insert(0, 'x')
  tracker.received(wrap(updates[0]!))
  expect(tracker.state).toEqual({ type: 'saving', changes: 1 })
})

test('what was written offline is offered behind the SyncStep2, and only that echo counts', () => {
  const { ydoc, text, tracker } = trackedDocument()
  text.insert(0, 'one')
  text.insert(3, 'two')
  expect(tracker.state).toEqual({ type: 'offline', changes: 2 })
  tracker.opened()
  expect(tracker.state).toEqual({ type: 'saving', changes: 2 })
  const everything = Y.encodeStateAsUpdate(ydoc)
  const offer = tracker.sent(frame(1, everything))
  expect(offer).toBeDefined()
  expect(tracker.state).toEqual({ type: 'saving', changes: 2 })
  text.insert(6, 'three')
  tracker.received(offer!)
  expect(tracker.state).toEqual({ type: 'saving', changes: 1 })
  const offered = new Y.Doc()
  Y.applyUpdate(offered, bodyOf(offer!).body)
  expect(offered.getText('text').toString()).toBe('onetwo')
})

test('nothing is offered where nothing waits', () => {
  const { ydoc, tracker } = trackedDocument()
  tracker.opened()
  expect(tracker.sent(frame(1, Y.encodeStateAsUpdate(ydoc)))).toBeUndefined()
})

test('an echo that belonged to a lost connection is awaited again on the next one', () => {
  const { ydoc, text, tracker } = trackedDocument()
  tracker.opened()
  text.insert(0, 'x')
  tracker.closed()
  expect(tracker.state).toEqual({ type: 'offline', changes: 1 })
  tracker.opened()
  expect(tracker.state).toEqual({ type: 'saving', changes: 1 })
  tracker.received(tracker.sent(frame(1, Y.encodeStateAsUpdate(ydoc)))!)
  expect(tracker.state).toEqual({ type: 'saved' })
})

test('writing offline for long is counted to the end and confirmed by one echo', () => {
  const { ydoc, text, tracker } = trackedDocument()
  for (let key = 0; key < 2_000; key++) text.insert(key, 'x')
  expect(tracker.state).toEqual({ type: 'offline', changes: 2_000 })
  tracker.opened()
  const offer = tracker.sent(frame(1, Y.encodeStateAsUpdate(ydoc)))!
  expect(offer.length).toBeLessThan(2_000 * 12)
  tracker.received(offer)
  expect(tracker.state).toEqual({ type: 'saved' })
})

type Step = 'insert' | 'delete' | 'server-takes' | 'echo-arrives' | 'lose-connection' | 'connect' | 'server-asks'
const steps = fc.array(
  fc.constantFrom<Step>(
    'insert',
    'delete',
    'server-takes',
    'server-takes',
    'echo-arrives',
    'echo-arrives',
    'lose-connection',
    'connect',
    'server-asks',
  ),
  { maxLength: 60 },
)

/** One client and a server that refuses gapped updates, over a connection that loses what is under way. */
class World {
  readonly client = trackedDocument()
  readonly disk = new Y.Doc()
  private up: Uint8Array[] = []
  private down: Uint8Array[] = []
  private isConnected = false

  constructor() {
    this.client.ydoc.on('update', (update: Uint8Array) => {
      if (this.isConnected) this.send(updateFrame(update))
    })
  }

  step(step: Step): void {
    const { text, tracker } = this.client
    if (step === 'insert') text.insert(text.length, 'ab')
    else if (step === 'delete' && text.length > 0) text.delete(0, 1)
    else if (step === 'server-takes') this.serverTakes()
    else if (step === 'echo-arrives') {
      const echo = this.down.shift()
      if (echo) tracker.received(echo)
    } else if (step === 'lose-connection') this.disconnect()
    else if (step === 'connect') this.connect()
    else if (step === 'server-asks' && this.isConnected) this.answerStep1()
  }

  /** Heals the connection and lets everything arrive. */
  settle(): void {
    this.connect()
    this.answerStep1()
    while (this.up.length > 0) this.serverTakes()
    while (this.down.length > 0) this.step('echo-arrives')
  }

  private connect(): void {
    if (this.isConnected) return
    this.isConnected = true
    this.client.tracker.opened()
  }

  private disconnect(): void {
    if (!this.isConnected) return
    this.isConnected = false
    this.up = []
    this.down = []
    this.client.tracker.closed()
  }

  /** The stock provider answers a SyncStep1 with all that the server lacks. */
  private answerStep1(): void {
    this.send(frame(1, Y.encodeStateAsUpdate(this.client.ydoc, Y.encodeStateVector(this.disk))))
  }

  private send(bytes: Uint8Array): void {
    this.up.push(bytes)
    const behind = this.client.tracker.sent(bytes)
    if (behind) this.up.push(behind)
  }

  private serverTakes(): void {
    const bytes = this.up.shift()
    if (!bytes) return
    const { kind, body } = bodyOf(bytes)
    const trial = new Y.Doc()
    Y.applyUpdate(trial, Y.encodeStateAsUpdate(this.disk))
    Y.applyUpdate(trial, body)
    if (trial.store.pendingStructs || trial.store.pendingDs) return
    Y.applyUpdate(this.disk, body)
    if (kind === 2) this.down.push(bytes)
  }
}

test('whatever happens to the connection: saved means that the disk holds all of it, and in the end all is saved', () => {
  fc.assert(
    fc.property(steps, (script) => {
      const world = new World()
      for (const step of script) {
        world.step(step)
        if (world.client.tracker.state.type === 'saved') expectSame(world.client.ydoc, world.disk)
      }
      world.settle()
      expect(world.client.tracker.state).toEqual({ type: 'saved' })
      expectSame(world.client.ydoc, world.disk)
    }),
    { numRuns: 300 },
  )
})

afterEach(() => vi.unstubAllGlobals())

/** Stands for the browser's WebSocket. */
class FakeSocket extends EventTarget {
  static readonly made: FakeSocket[] = []
  readonly out: unknown[] = []
  constructor() {
    super()
    FakeSocket.made.push(this)
  }
  send(data: unknown): void {
    this.out.push(data)
  }
  close(): void {}
  arrive(bytes: Uint8Array): void {
    this.dispatchEvent(new MessageEvent('message', { data: bytes.slice().buffer }))
  }
}

test('only the newest socket counts: late news of an older one changes nothing', () => {
  vi.stubGlobal('WebSocket', FakeSocket)
  const { text, ydoc, tracker, updates } = trackedDocument()
  const Socket = trackedWebSocket(tracker)
  const first = new Socket('ws://server/y/a') as unknown as FakeSocket
  first.dispatchEvent(new Event('open'))
  text.insert(0, 'x')
  ;(first as unknown as WebSocket).close()
  expect(tracker.state).toEqual({ type: 'offline', changes: 1 })

  const second = new Socket('ws://server/y/a') as unknown as FakeSocket
  second.dispatchEvent(new Event('open'))
  first.dispatchEvent(new Event('close'))
  first.arrive(updateFrame(updates[0]!))
  expect(tracker.state).toEqual({ type: 'saving', changes: 1 })

  const step2 = frame(1, Y.encodeStateAsUpdate(ydoc))
  ;(second as unknown as WebSocket).send(new Uint8Array(step2))
  expect(second.out).toEqual([step2, updateFrame(updates[0]!)])
  second.arrive(updateFrame(updates[0]!))
  expect(tracker.state).toEqual({ type: 'saved' })
  second.dispatchEvent(new Event('close'))
  expect(tracker.state).toEqual({ type: 'offline', changes: 0 })
})

function bodyOf(bytes: Uint8Array): { kind: number; body: Uint8Array } {
  const decoder = createDecoder(bytes)
  readVarUint(decoder)
  return { kind: readVarUint(decoder), body: readVarUint8Array(decoder) }
}

function expectSame(left: Y.Doc, right: Y.Doc): void {
  expect(Y.equalSnapshots(Y.snapshot(left), Y.snapshot(right))).toBe(true)
}
