/**
 * Updates that somebody might send to do harm, each by the name of what it does, built byte by byte. What is right to do
 * with one is written beside it:
 *
 *   bad-update    no replica can hold it, or its readers would suffer: refused, and three of them end the connection
 *   gap           it refers to what is not there: refused until that comes; of a step2 what is closed is kept
 *   equivocation  it has other content for structs that are there: refused for good
 *   legal         ugly, but content: everybody must be able to read it, write on, and load it again
 *   any           depends on the bytes; whatever happens, nobody may suffer
 */
import * as Y from 'yjs'
import {
  any,
  bytesOf,
  concat,
  deleted,
  embed,
  format,
  gc,
  item,
  json,
  type RawBlock,
  sizedText,
  skip,
  subdocument,
  text,
  type,
  update,
  varUint,
} from '../../fuzz/update-bytes.js'
import { type Random, seededRandom } from './random.js'

export type Verdict = 'bad-update' | 'gap' | 'equivocation' | 'legal' | 'any'

/** Whom an input aims at: the person whose document it is. */
export interface Target {
  /** Its Yjs client id, and the clock of its next struct. */
  readonly client: number
  readonly clock: number
  /** The whole document, as the victim holds it. */
  readonly state: Uint8Array
}

export interface HostileUpdate {
  readonly name: string
  readonly verdict: Verdict
  /** As a step2 it is legal in part: what is closed is stored, the rest asked for. */
  readonly isClosedInPart?: true
  /** Content of the victim is gone afterwards, as any editor may delete it. */
  readonly deletes?: true
  /** The victim learns that somebody else uses its client id. */
  readonly takesId?: true
  build(target: Target): Uint8Array
}

/** The attacker's own client id. */
const MALLORY = 666
const STRANGER = 4242
/** One more than the largest clock that any client may reach. */
const CLOCKS = 2 ** 31

const root = { parent: 't' }
const mine = (...structs: readonly Uint8Array[]): Uint8Array => update([{ client: MALLORY, clock: 0, structs }])
const victims = ({ client, clock }: Target, ...structs: readonly Uint8Array[]): Uint8Array =>
  update([{ client, clock, structs }])

const nestedJson = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
/** An `any` value of arrays inside one another. */
const nestedAny = (depth: number): readonly number[] => [
  ...Array.from({ length: 2 * depth }, (_, at) => (at % 2 ? 1 : 117)),
  126,
]

/** Arrays inside one another, the outermost in a root. */
function nestedTypes(
  depth: number,
  deletes: readonly (readonly [number, readonly (readonly [number, number])[]])[] = [],
) {
  const structs = Array.from({ length: depth }, (_, at) => type(0, at === 0 ? root : { parent: [MALLORY, at - 1] }))
  return update([{ client: MALLORY, clock: 0, structs }], deletes)
}

/** Many clients, each with one letter behind the victim's first. */
function manyClients(
  count: number,
  order: 'ascending' | 'descending',
  place: (at: number, target: Target) => Parameters<typeof text>[1],
) {
  return (target: Target): Uint8Array => {
    const blocks = Array.from({ length: count }, (_, at): RawBlock => {
      return { client: 100_000 + at, clock: 0, structs: [text('x', place(at, target))] }
    })
    return update(order === 'ascending' ? blocks : blocks.reverse())
  }
}

/** V2 with one client and `count` GC structs, told in two run lengths. */
export function v2RunOfGcs(count: number): Uint8Array {
  const parts = [[], [(MALLORY & 0x3f) | 0x80, MALLORY >> 6], [], [], [0], [0], [], []]
  const lengths = bytesOf((writer) => {
    writer.byte(0x41)
    writer.varUint(count - 2)
  })
  return concat(
    [0],
    ...parts.flatMap((part) => [varUint(part.length), part]),
    varUint(lengths.length),
    lengths,
    varUint(1),
    varUint(count),
    varUint(0),
    varUint(0),
  )
}

/** Options of a subdocument: none. */
const NO_OPTIONS = [118, 0]

export const corpus: readonly HostileUpdate[] = [
  // --- values too deep for the stack of some reader
  { name: 'deep-json-embed', verdict: 'bad-update', build: () => mine(embed(nestedJson(30_000), root)) },
  { name: 'deep-json-format', verdict: 'bad-update', build: () => mine(format('b', nestedJson(30_000), root)) },
  { name: 'deep-json-values', verdict: 'bad-update', build: () => mine(json([nestedJson(30_000)], root)) },
  { name: 'deep-any-3000', verdict: 'bad-update', build: () => mine(any([nestedAny(3_000)], root)) },
  { name: 'deep-any-30000', verdict: 'bad-update', build: () => mine(any([nestedAny(30_000)], root)) },
  { name: 'deep-any-60', verdict: 'legal', build: () => mine(any([nestedAny(60)], root)) },
  { name: 'deep-types-6500', verdict: 'bad-update', build: () => nestedTypes(6_500) },
  { name: 'deep-types-delete', verdict: 'bad-update', build: () => nestedTypes(6_500, [[MALLORY, [[0, 1]]]]) },
  { name: 'deep-types-200-deleted', verdict: 'legal', build: () => nestedTypes(200, [[MALLORY, [[0, 1]]]]) },

  // --- structs of no length, and clocks out of range
  { name: 'gc-len0-only', verdict: 'bad-update', build: () => update([{ client: 9, clock: 0, structs: [gc(0)] }]) },
  { name: 'gc-len0-victim', verdict: 'bad-update', build: (target) => victims(target, gc(0)) },
  { name: 'deleted-len0-victim', verdict: 'bad-update', build: (target) => victims(target, deleted(0, root)) },
  { name: 'text-len0', verdict: 'bad-update', build: () => mine(text('', root)) },
  { name: 'skip-len0', verdict: 'bad-update', build: () => mine(skip(0)) },
  { name: 'gc-victim-2e50', verdict: 'bad-update', build: (target) => victims(target, gc(2 ** 50)) },
  { name: 'skip-2e53', verdict: 'bad-update', build: () => mine(skip(Number.MAX_SAFE_INTEGER), text('x', root)) },
  {
    name: 'clock-2e53',
    verdict: 'bad-update',
    build: () => update([{ client: MALLORY, clock: Number.MAX_SAFE_INTEGER, structs: [gc(1)] }]),
  },
  {
    name: 'clock-2e31',
    verdict: 'bad-update',
    build: () => update([{ client: MALLORY, clock: CLOCKS - 1, structs: [gc(1)] }]),
  },

  // --- what is missing
  {
    name: 'gc-gap-victim',
    verdict: 'gap',
    build: ({ client, clock }) => update([{ client, clock: clock + 5, structs: [gc(3)] }]),
  },
  { name: 'ds-future-victim', verdict: 'gap', build: ({ client, clock }) => update([], [[client, [[clock, 1000]]]]) },
  {
    name: 'ds-all-victim',
    verdict: 'gap',
    isClosedInPart: true,
    deletes: true,
    build: ({ client }) => update([], [[client, [[0, CLOCKS - 1]]]]),
  },
  {
    name: 'ds-all-victim-2e53',
    verdict: 'bad-update',
    build: ({ client }) => update([], [[client, [[0, Number.MAX_SAFE_INTEGER]]]]),
  },
  {
    name: 'ds-many-pending',
    verdict: 'gap',
    build: () => update([], [[STRANGER, Array.from({ length: 14_000 }, (_, at) => [2 * at, 1] as const)]]),
  },
  { name: 'pending-one', verdict: 'gap', build: () => mine(text('x', { origin: [STRANGER, 7] })) },
  {
    name: 'pending-many-clients',
    verdict: 'gap',
    build: manyClients(3_000, 'descending', () => ({ origin: [STRANGER, 0] })),
  },
  { name: 'skip-before-text', verdict: 'gap', build: () => mine(skip(1_000), text('x', root)) },
  {
    name: 'pending-cycle',
    verdict: 'bad-update',
    build: () =>
      update([
        { client: 8, clock: 0, structs: [text('a', { origin: [7, 0] })] },
        { client: 7, clock: 0, structs: [text('b', { origin: [8, 0] })] },
      ]),
  },
  { name: 'own-future', verdict: 'bad-update', build: () => mine(text('x', { origin: [MALLORY, 5] })) },

  // --- claimed counts
  { name: 'structs-32M', verdict: 'bad-update', build: () => concat([1], varUint(2 ** 25), [9, 0, 0]) },
  { name: 'clients-2e53', verdict: 'bad-update', build: () => concat(varUint(Number.MAX_SAFE_INTEGER), [1, 9, 0, 0]) },
  { name: 'any-count-2e32', verdict: 'bad-update', build: () => mine(item(8, root, varUint(2 ** 32))) },
  { name: 'text-size-2e32', verdict: 'bad-update', build: () => mine(item(4, root, concat(varUint(2 ** 32), [0x78]))) },
  { name: 'ds-ranges-2e32', verdict: 'bad-update', build: () => concat([0, 1, 9], varUint(2 ** 32), [0, 1]) },

  // --- the order and the number of clients
  {
    name: 'clients-unsorted-chain',
    verdict: 'bad-update',
    build: manyClients(5_000, 'ascending', (at) => (at ? { origin: [100_000 + at - 1, 0] } : root)),
  },
  {
    name: 'clients-sorted-chain',
    verdict: 'legal',
    build: manyClients(5_000, 'descending', (at) => (at ? { origin: [100_000 + at - 1, 0] } : root)),
  },
  {
    name: 'same-origin-conflict',
    verdict: 'legal',
    build: manyClients(5_000, 'descending', (_, { client }) => ({ origin: [client, 0] })),
  },
  {
    name: 'unsorted-clients',
    verdict: 'bad-update',
    build: () =>
      update([
        { client: 7, clock: 0, structs: [text('one', root)] },
        { client: 8, clock: 0, structs: [text('two', { origin: [7, 2] })] },
      ]),
  },
  {
    name: 'client-twice',
    verdict: 'bad-update',
    build: () =>
      update([
        { client: 7, clock: 0, structs: [text('one', root)] },
        { client: 7, clock: 3, structs: [text('two', { origin: [7, 2] })] },
      ]),
  },
  {
    name: 'client-2e53',
    verdict: 'bad-update',
    build: () => concat([1, 1], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f], [0], text('x', root), [0]),
  },

  // --- V2
  { name: 'v2-rle-gc-1e6', verdict: 'bad-update', build: () => v2RunOfGcs(1e6) },
  { name: 'v2-rle-gc-3e7', verdict: 'bad-update', build: () => v2RunOfGcs(3e7) },
  { name: 'v2-rle-gc-4e9', verdict: 'bad-update', build: () => v2RunOfGcs(4e9) },
  {
    name: 'v2-honest',
    verdict: 'bad-update',
    build: () => {
      const doc = new Y.Doc()
      doc.getText('t').insert(0, 'in the other encoding')
      return Y.encodeStateAsUpdateV2(doc)
    },
  },

  // --- values that do harm at their readers
  {
    name: 'proto-any',
    verdict: 'bad-update',
    build: () => mine(any([[118, 1, ...sizedText('__proto__'), 118, 1, ...sizedText('isAdmin'), 120]], root)),
  },
  { name: 'proto-mapkey', verdict: 'bad-update', build: () => mine(any([[120]], { parent: 'm', key: '__proto__' })) },
  { name: 'proto-root', verdict: 'bad-update', build: () => mine(text('x', { parent: '__proto__' })) },
  {
    name: 'constructor-mapkey',
    verdict: 'legal',
    build: () => mine(any([[120]], { parent: 'm', key: 'constructor' })),
  },
  { name: 'bigint', verdict: 'bad-update', build: () => mine(any([[122, 0, 0, 0, 0, 0, 0, 0, 1]], root)) },
  { name: 'bad-utf8', verdict: 'bad-update', build: () => mine(item(4, root, Uint8Array.of(2, 0xc3, 0x28))) },
  {
    name: 'lone-surrogate',
    verdict: 'bad-update',
    build: () => mine(item(4, root, Uint8Array.of(3, 0xed, 0xa0, 0x80))),
  },
  { name: 'bad-json', verdict: 'bad-update', build: () => mine(embed('{"a":', root)) },
  { name: 'unknown-content', verdict: 'bad-update', build: () => mine(item(11, root, Uint8Array.of(1))) },
  { name: 'unknown-type', verdict: 'bad-update', build: () => mine(item(7, root, Uint8Array.of(7))) },
  { name: 'control-characters', verdict: 'legal', build: () => mine(text('\0\u0007\u202e\u2066', root)) },
  {
    name: 'subdocs-4000',
    verdict: 'legal',
    build: () => mine(...Array.from({ length: 4_000 }, () => subdocument('g', NO_OPTIONS, { parent: 'a' }))),
  },
  {
    name: 'subdoc-options',
    verdict: 'bad-update',
    build: () => mine(subdocument('g', [118, 1, ...sizedText('guid'), 119, ...sizedText('t')], { parent: 'a' })),
  },
  {
    name: 'roots-1000',
    verdict: 'legal',
    build: () => mine(...Array.from({ length: 1_000 }, (_, at) => text('x', { parent: `r${at}` }))),
  },
  {
    name: 'roots-then-throw',
    verdict: 'bad-update',
    build: () =>
      mine(
        ...Array.from({ length: 6_503 }, (_, at) => text('x', { parent: `r${at}` })),
        item(7, root, Uint8Array.of(99)),
      ),
  },
  {
    name: 'roots-20000',
    verdict: 'bad-update',
    build: () => mine(...Array.from({ length: 20_000 }, (_, at) => text('x', { parent: `r${at}` }))),
  },
  { name: 'parent-is-a-letter', verdict: 'legal', build: ({ client }) => mine(text('x', { parent: [client, 0] })) },
  {
    name: 'right-before-left',
    verdict: 'legal',
    build: ({ client }) => mine(text('x', { origin: [client, 5], right: [client, 1] })),
  },

  // --- in somebody else's name: relayed content, as a hop or an import brings it, is let in
  { name: 'gc-victim-next-1000', verdict: 'legal', takesId: true, build: (target) => victims(target, gc(1000)) },
  {
    name: 'hijack-victim-text',
    verdict: 'legal',
    takesId: true,
    build: (target) => victims(target, text('FORGED', { origin: [target.client, 0] })),
  },
  {
    name: 'rewrite-victim-text',
    verdict: 'equivocation',
    build: ({ client }) => update([{ client, clock: 0, structs: [text('FORGED', root)] }]),
  },
  {
    name: 'gc-over-victim',
    verdict: 'legal',
    build: ({ client, clock }) => update([{ client, clock: 0, structs: [gc(clock)] }]),
  },

  // --- bytes
  { name: 'empty', verdict: 'bad-update', build: () => new Uint8Array() },
  { name: 'trailing-bytes', verdict: 'bad-update', build: () => concat(mine(text('x', root)), [0]) },
  { name: 'varint-without-end', verdict: 'bad-update', build: () => new Uint8Array(64).fill(0xff) },
  ...Array.from({ length: 4 }, (_, seed): HostileUpdate => {
    return { name: `random-${seed}`, verdict: 'any', build: () => randomBytes(seededRandom(seed)) }
  }),
  ...Array.from({ length: 4 }, (_, seed): HostileUpdate => {
    return {
      name: `truncated-${seed}`,
      verdict: 'bad-update',
      build: (target) => truncated(honestAnswer(target), seededRandom(seed)),
    }
  }),
  ...Array.from({ length: 8 }, (_, seed): HostileUpdate => {
    return {
      name: `mutated-${seed}`,
      verdict: 'any',
      build: (target) => mutated(honestAnswer(target), seededRandom(seed)),
    }
  }),
]

/** What an honest colleague would write into the document: something of everything, deletes included. */
function honestAnswer({ state }: Target): Uint8Array {
  const doc = new Y.Doc()
  doc.clientID = MALLORY
  Y.applyUpdate(doc, state)
  const before = Y.encodeStateVector(doc)
  doc.transact(() => {
    const t = doc.getText('t')
    t.insert(3, 'honest 🙂 text', { bold: true })
    t.delete(1, 4)
    t.insertEmbed(2, { image: 'x' })
    const list = new Y.Array<unknown>()
    doc.getMap('m').set('list', list)
    list.push([1, 'two', { three: [3] }, new Uint8Array(3)])
    list.delete(1)
  })
  return Y.encodeStateAsUpdate(doc, before)
}

function randomBytes(random: Random): Uint8Array {
  return Uint8Array.from({ length: 1 + random.below(80) }, () => random.below(256))
}

function truncated(bytes: Uint8Array, random: Random): Uint8Array {
  return bytes.slice(0, random.below(bytes.length))
}

function mutated(bytes: Uint8Array, random: Random): Uint8Array {
  const copy = bytes.slice()
  for (let left = 1 + random.below(3); left > 0; left--) copy[random.below(copy.length)] = random.below(256)
  return copy
}
