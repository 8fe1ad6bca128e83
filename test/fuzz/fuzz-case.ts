/**
 * One hostile case by its number: a document that honest people made, some hostile updates, and then honest edits on
 * top. Whatever our parser and check let through must leave a document that every Yjs can hold: nothing throws, nothing
 * is pending, the state re-encodes and loads again into the same content, and what others wrote is still there unless
 * it was deleted openly.
 *
 * One thing the bytes cannot tell: whether an item's neighbours are neighbours. Where they lie in different types, in
 * the wrong order, or apart, the place that Yjs finds depends on the order of arrival, and so may the content; only the
 * ids and clocks agree then. Older versions of Yjs make such items when they redo, so they cannot be refused.
 */
import * as Y from 'yjs'
import { assert } from '../../shared/base/assert.js'
import { Random } from '../../shared/base/random.js'
import { CausewayError } from '../../shared/errors/error.js'
import { checkUpdate } from '../../shared/update/check.js'
import { KnownState } from '../../shared/update/known-state.js'
import { contentAgrees } from '../../shared/update/overlap.js'
import { parseUpdate } from '../../shared/update/parse.js'
import { StateVector } from '../../shared/update/state-vector.js'
import { indexUpdate } from '../../shared/update/update-index.js'
import { assertComplete, ByteServer, deletedOf, quietDoc } from './byte-server.js'
import { contentOf, edit, HonestRoom, type Step } from './honest-room.js'
import { hostileUpdate, type Target } from './hostile-update.js'

/** How many updates of a case were refused, had a gap, added nothing, or were stored. */
export interface Outcome {
  /** Cases whose copies differ because of neighbours that are none. */
  stray: number
  refused: number
  gap: number
  'nothing-new': number
  new: number
}

/** Cases that share a document: making one costs more than a case. */
const CASES_A_WORLD = 200

interface World {
  readonly server: ByteServer
  readonly joined: Uint8Array
  readonly live: readonly Live[]
  readonly target: Target
}

let world: { readonly number: number; readonly made: World } | undefined

/** Runs one case. Throws where a promise is broken. */
export function runCase(seed: number): Outcome {
  const number = Math.floor(seed / CASES_A_WORLD)
  if (world?.number !== number) world = { number, made: makeWorld(new Random(2 * number + 1)) }
  const { server: honest, joined, live, target } = world.made
  const random = new Random(2 * seed)
  const server = new ByteServer(honest.known.copy(), joined)
  const outcome: Outcome = { stray: 0, refused: 0, gap: 0, 'nothing-new': 0, new: 0 }
  for (let count = random.between(1, 4); count > 0; count--) {
    const clocks = [...server.known.clocks.entries()]
    const bytes = hostileUpdate(random, { clocks, honest: target.honest })
    outcome[offer(server, bytes, random.chance(0.7) ? 'update' : 'step2')]++
  }
  if (outcome.new === 0) return outcome
  server.assertSound()
  for (let count = random.below(3); count > 0; count--) honestEdit(server, random)
  checkWhole(server, outcome)
  checkNothingLost(live, server)
  return outcome
}

function makeWorld(random: Random): World {
  const number = (): number => random.below(60)
  const room = new HonestRoom(random.between(1, 4))
  const play = (most: number): void => {
    room.play(random.times(0, most, (): Step => [number(), number(), number(), number(), number()]))
  }
  play(60)
  const server = new ByteServer()
  for (const { bytes } of room.messages) server.receive(bytes, 'update')
  server.assertSound()
  // What comes later is honest, too, and not known yet.
  play(10)
  const honest = room.messages.map(({ bytes }) => bytes)
  honest.push(...room.people.map(({ doc }) => Y.encodeStateAsUpdate(doc)))
  return {
    server,
    joined: server.joined,
    live: liveStructs(server.reader),
    target: { clocks: [...server.known.clocks.entries()], honest },
  }
}

function offer(server: ByteServer, bytes: Uint8Array, mode: 'update' | 'step2'): Exclude<keyof Outcome, 'stray'> {
  try {
    const checked = server.receive(bytes, mode)
    if (checked.type === 'new') {
      // What is stored passes the gate itself, whole, and once only.
      const again = parseUpdate(checked.update)
      const { blocks, deletesAt } = indexUpdate(checked.update)
      assert(JSON.stringify([again.blocks, again.deletesAt]) === JSON.stringify([blocks, deletesAt]), 'indexes differ')
      assert(!again.isPadded, 'padding is stored')
      assert(checkUpdate(again, server.known, 'update').type === 'nothing-new', 'what is stored is still new')
    }
    return checked.type
  } catch (error) {
    if (error instanceof CausewayError && error.code === 'document/bad-update') return 'refused'
    throw error
  }
}

/** Somebody goes on working. Edits that make no sense in what the attacker left fail in his own document, which is fine. */
function honestEdit(server: ByteServer, random: Random): void {
  const doc = new Y.Doc()
  doc.clientID = 500_000 + random.below(1_000_000)
  contentOf(doc)
  Y.applyUpdate(doc, server.joined)
  const sent: Uint8Array[] = []
  doc.on('update', (bytes: Uint8Array) => sent.push(bytes))
  try {
    edit(doc, random.below(60), random.below(60), random.below(60), random.below(60))
  } catch {
    return
  }
  for (const bytes of sent) {
    const checked = server.receive(bytes, 'update')
    assert(checked.type === 'new', `an honest edit is ${checked.type}`)
    server.assertSound()
  }
}

/** The document as its reader holds it, as one joined update, and re-encoded: all the same. */
function checkWhole(server: ByteServer, outcome: Outcome): void {
  const { reader, joined, known, stored } = server
  parseUpdate(joined)
  assertSameState(KnownState.of(joined), known)
  const whole = loaded(joined)
  const state = Y.encodeStateAsUpdate(reader)
  checkOffered(state, server)
  const copies = new Map([
    ['joined', whole],
    ['re-encoded', loaded(state)],
  ])
  const again = Y.encodeStateAsUpdate(whole)
  if (!isSame(again, state)) copies.set('joined and re-encoded', loaded(again))
  const expected = shown(reader)
  for (const [what, copy] of copies) {
    assertComplete(copy, known.clocks)
    const found = shown(copy)
    if (found === expected) continue
    assert(hasStrayNeighbours(stored), `${what}: ${found}, not ${expected}`)
    outcome.stray++
    return
  }
}

/** What an honest person re-encodes is taken, adds no structs, and does not look like equivocation. */
function checkOffered(state: Uint8Array, { joined, known }: ByteServer): void {
  const checked = checkUpdate(parseUpdate(state), known, 'step2')
  assert(checked.type !== 'gap' && !checked.leftover, 'a re-encoded state does not fit')
  assert(checked.type === 'nothing-new' || checked.clocks.length === 0, 'a re-encoded state adds structs')
  assert(contentAgrees(joined, state, checked.overlaps), 'a re-encoded state looks like equivocation')
}

function shown(doc: Y.Doc): string {
  return JSON.stringify([contentOf(doc), [...deletedOf(doc)]])
}

function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, at) => byte === right[at])
}

/** A server that starts from the bytes knows what the one knows that took them in. */
function assertSameState(found: KnownState, known: KnownState): void {
  assert(found.clocks.encode().join() === known.clocks.encode().join(), 'other clocks from bytes')
  assert(found.deleted.encode().join() === known.deleted.encode().join(), 'other deletes from bytes')
  for (const [client, clock] of known.clocks.entries()) {
    for (let at = 0; at < Math.min(clock, 200); at++) {
      const place = known.places.get(client, at)
      assert(found.places.get(client, at) === place, `${client}/${at} lies elsewhere from bytes`)
    }
  }
}

function loaded(bytes: Uint8Array): Y.Doc {
  const doc = quietDoc()
  Y.applyUpdate(doc, bytes)
  return doc
}

/**
 * Whether some item of the updates after the first names neighbours that were none: in other lists, in the wrong order, or
 * with something between them that was there before. Several values under one map key count, too: they are all shown or
 * none, depending on where they were split.
 */
function hasStrayNeighbours([base, ...updates]: readonly Uint8Array[]): boolean {
  // Collecting nothing, it knows where everything was.
  const keeper = new Y.Doc({ gc: false })
  Y.applyUpdate(keeper, base!)
  for (const bytes of updates) {
    const before = StateVector.decode(Y.encodeStateVector(keeper))
    Y.applyUpdate(keeper, bytes)
    if (Y.decodeUpdate(bytes).structs.some((struct) => isStray(struct as Y.Item, keeper, before))) return true
  }
  return false
}

function isStray({ id, length, origin, rightOrigin }: Y.Item, keeper: Y.Doc, before: StateVector): boolean {
  const item = Y.getItem(keeper.store, id)
  const left = origin && Y.getItem(keeper.store, origin)
  const right = rightOrigin && Y.getItem(keeper.store, rightOrigin)
  if (left instanceof Y.Item && right instanceof Y.Item) {
    if (left.parent !== right.parent || left.parentSub !== right.parentSub) return true
  }
  if (!(item instanceof Y.Item)) return false
  if (item.parentSub !== null && length > 1) return true
  let at: Y.Item | null = left ? left.right : headOf(item)
  for (; at !== null && at !== right; at = at.right) {
    const isEarlier = at.id.client === id.client && at.id.clock < id.clock
    if (isEarlier || at.id.clock < before.get(at.id.client)) return true
  }
  return at !== right
}

function headOf(item: Y.Item): Y.Item {
  let head = item
  while (head.left !== null) head = head.left
  return head
}

/** A struct that was not deleted, and what could take it along when it is. */
interface Live {
  readonly client: number
  readonly clock: number
  readonly length: number
  readonly text: string | undefined
  /** The items that hold the types around it. */
  readonly around: readonly Y.ID[]
  /** It, or a type around it, is the value of a map key: a later value replaces it, which is no loss. */
  readonly isReplaceable: boolean
}

function liveStructs(doc: Y.Doc): Live[] {
  const live: Live[] = []
  for (const [client, structs] of doc.store.clients) {
    for (const struct of structs) {
      if (!(struct instanceof Y.Item) || struct.deleted) continue
      const around: Y.Item[] = []
      for (let at: Y.Item | null = struct; at !== null; at = (at.parent as Y.AbstractType<unknown>)._item)
        around.push(at)
      const text = struct.content instanceof Y.ContentString ? struct.content.str : undefined
      const isReplaceable = around.some(({ parentSub }) => parentSub !== null)
      live.push({
        client,
        clock: struct.id.clock,
        length: struct.length,
        text,
        around: around.slice(1).map(({ id }) => id),
        isReplaceable,
      })
    }
  }
  return live
}

function checkNothingLost(before: readonly Live[], { reader, known: { deleted } }: ByteServer): void {
  for (const { client, clock, length, text, around, isReplaceable } of before) {
    if (isReplaceable || around.some((id) => deleted.includes(id.client, id.clock))) continue
    const structs = reader.store.clients.get(client)!
    for (let at = clock; at < clock + length; at++) {
      const item = structs[Y.findIndexSS(structs, at)]!
      if (deleted.includes(client, at)) continue
      assert(item instanceof Y.Item && !item.deleted, `${client}/${at} is gone`)
      if (text === undefined) continue
      const found = (item.content as Y.ContentString).str[at - item.id.clock]
      assert(found === text[at - clock] || found === '\ufffd', `${client}/${at} is ${found}, not ${text[at - clock]}`)
    }
  }
}
