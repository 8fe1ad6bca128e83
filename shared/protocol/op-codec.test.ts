import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AssertionError } from '../base/assert.js'
import { makeOrigin, type OriginId } from '../clock/dot.js'
import type { HybridTime } from '../clock/hybrid-clock.js'
import { CausewayError } from '../errors/error.js'
import type { Op } from './op.js'
import {
  decodeOpBatch,
  decodeOpRecord,
  encodeOpBatch,
  encodeOpCanonical,
  encodeOpRecord,
  OP_LIMITS,
} from './op-codec.js'

const ORIGINS = ['a', 'b', 'c', 'd-4'].map((name, index) => makeOrigin(name, `00000000000000${index}f`))
const A = ORIGINS[0]!
const B = ORIGINS[1]!

const seq = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc.maxSafeNat().map((value) => Math.max(1, value)),
)
const hlc = seq as fc.Arbitrary<number> as fc.Arbitrary<HybridTime>
const origin = fc.constantFrom(...ORIGINS)
const dot = fc.record({ origin, seq })
const bytes = fc.uint8Array({ maxLength: 40 })
const document = fc.oneof(
  fc.constantFrom('x', 'team/notes', 'größe/日本語/🙂', 'a'.repeat(512)),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).map((text) => `n${text.replaceAll('/', '')}`),
)
const part = fc.record({ document, generation: fc.oneof(fc.nat({ max: 3 }), fc.maxSafeNat()), update: bytes })
const parts = fc.array(part, { minLength: 1, maxLength: 4 })
const depsOf = (own: OriginId): fc.Arbitrary<ReadonlyMap<OriginId, number>> =>
  fc
    .uniqueArray(fc.tuple(origin, seq), { selector: ([name]) => name, maxLength: 4 })
    .map((entries) => new Map(entries.filter(([name]) => name !== own)))
const op: fc.Arbitrary<Op> = dot.chain((own) =>
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('data' as const),
        dot: fc.constant(own),
        deps: depsOf(own.origin),
        hlc,
        parts,
      }),
    },
    fc.record({
      kind: fc.constant('re-originated' as const),
      dot: fc.constant(own),
      was: dot,
      deps: depsOf(own.origin),
      hlc,
      parts,
    }),
    fc.record({
      kind: fc.constant('owned' as const),
      dot: fc.constant(own),
      deps: depsOf(own.origin),
      hlc,
      owned: fc.record(
        {
          document,
          generation: fc.nat({ max: 3 }),
          client: fc.maxSafeNat(),
          user: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
          relayedFrom: fc.maxSafeNat(),
          evicts: fc.maxSafeNat(),
        },
        { requiredKeys: ['document', 'generation', 'client', 'user'] },
      ),
    }),
    fc
      .record({ deps: depsOf(own.origin), hlc, before: origin, empty: fc.boolean() })
      .map(
        ({ deps, hlc, before, empty }): Op =>
          empty || before === own.origin || own.seq === 1
            ? { kind: 'open', dot: { origin: own.origin, seq: 1 }, deps, hlc }
            : { kind: 'open', dot: own, deps, hlc, predecessor: { origin: before, seq: own.seq - 1 } },
      ),
  ),
)
/** Runs of one origin with equal deps, as a replica writes them, between arbitrary ops. */
const ops: fc.Arbitrary<Op[]> = fc.array(fc.tuple(op, fc.nat({ max: 3 })), { maxLength: 8 }).map((seeds) =>
  seeds.flatMap(([first, more]) =>
    Array.from({ length: first.kind === 'open' ? 1 : more + 1 }, (_, index) => ({
      ...first,
      dot: { origin: first.dot.origin, seq: Math.min(first.dot.seq + index, Number.MAX_SAFE_INTEGER) },
    })),
  ),
)

const hex = (encoded: Uint8Array): string => Buffer.from(encoded).toString('hex')
const numberOf = (name: OriginId): number => ORIGINS.indexOf(name)
const originOf = (number: number): OriginId => {
  const name = ORIGINS[number]
  if (!name) throw new CausewayError('protocol/bad-message')
  return name
}

const edit = (changes: Partial<Op & { kind: 'data' }> = {}): Op => ({
  kind: 'data',
  dot: { origin: A, seq: 7 },
  deps: new Map([[B, 3]]),
  hlc: 1_800_000_000_000_001 as HybridTime,
  parts: [{ document: 'team/notes', generation: 0, update: new Uint8Array([1, 2, 3]) }],
  ...changes,
})

describe('round trip', () => {
  test('a decoded batch is what was encoded', () => {
    fc.assert(
      fc.property(ops, (list) => {
        expect(decodeOpBatch(encodeOpBatch(list))).toEqual(list)
      }),
    )
  })

  test('a decoded record is what was encoded', () => {
    fc.assert(
      fc.property(op, (one) => {
        expect(decodeOpRecord(encodeOpRecord(one, numberOf), originOf)).toEqual(one)
      }),
    )
  })

  test('equal deps cost one byte for the head, and none for themselves', () => {
    const run = (length: number) =>
      encodeOpBatch(Array.from({ length }, (_, index) => edit({ dot: { origin: A, seq: 7 + index } })))
    // head, hlc + 0, part count, document, generation, update length, 3 bytes of update
    expect(run(3).length - run(2).length).toBe(9)
  })
})

describe('canonical form', () => {
  test('does not depend on the order of deps', () => {
    fc.assert(
      fc.property(op, (one) => {
        const turned = { ...one, deps: new Map([...one.deps].reverse()) }
        expect(hex(encodeOpCanonical(turned))).toBe(hex(encodeOpCanonical(one)))
      }),
    )
  })

  test('differs where ops differ', () => {
    fc.assert(
      fc.property(op, op, (left, right) => {
        const asText = (one: Op) => JSON.stringify({ ...one, deps: [...one.deps].sort() })
        expect(hex(encodeOpCanonical(left)) === hex(encodeOpCanonical(right))).toBe(asText(left) === asText(right))
      }),
    )
  })
})

describe('hostile bytes', () => {
  /** Details of the refusal; `undefined` where `read` gave something. Anything but a typed refusal fails the test. */
  const refusalOf = (read: () => unknown): unknown => {
    try {
      read()
      return undefined
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: 'protocol/bad-message' })
      return (thrown as CausewayError).details
    }
  }

  test('every truncation of a batch or a record is refused', () => {
    fc.assert(
      fc.property(ops, (list) => {
        const whole = encodeOpBatch(list)
        for (let end = 0; end < whole.length; end++)
          expect(() => decodeOpBatch(whole.subarray(0, end))).toThrow(CausewayError)
      }),
      { numRuns: 30 },
    )
    fc.assert(
      fc.property(op, (one) => {
        const whole = encodeOpRecord(one, numberOf).slice()
        for (let end = 0; end < whole.length; end++) {
          expect(() => decodeOpRecord(whole.subarray(0, end), originOf)).toThrow(CausewayError)
        }
      }),
      { numRuns: 30 },
    )
  })

  test('changed and random bytes give ops or a typed refusal, nothing else', () => {
    fc.assert(
      fc.property(ops, fc.nat(), fc.nat({ max: 255 }), (list, at, value) => {
        const changed = encodeOpBatch(list)
        changed[at % changed.length] = value
        refusalOf(() => encodeOpBatch(decodeOpBatch(changed)))
      }),
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (random) => {
        refusalOf(() => decodeOpBatch(random))
        refusalOf(() => decodeOpBatch(new Uint8Array([1, 0, 0, ...random])))
        refusalOf(() => decodeOpRecord(new Uint8Array([1, ...random]), originOf))
      }),
    )
  })

  const edited = (at: number, ...values: number[]): Uint8Array => {
    const batch = encodeOpBatch([edit({ deps: new Map(), hlc: 5 as HybridTime })])
    batch.set(values, at)
    return batch
  }
  // version, 1 origin (length, 18 bytes), 1 document (length, 10 bytes), 1 op: head, origin, seq, hlc, deps …
  const OPS_AT = 1 + 1 + 19 + 1 + 11
  test.each([
    ['an unknown version', 'unknown version', edited(0, 2)],
    ['trailing bytes', 'trailing bytes', new Uint8Array([...edited(0, 1), 0])],
    ['a name that is no origin', 'no origin', edited(3, 0x21)],
    ['a document name with a control character', 'no document name', edited(24, 10)],
    ['a document name with an empty segment', 'no document name', edited(28, 0x2f)],
    ['a document name that is no UTF-8', undefined, edited(24, 0xff)],
    ['more ops than there are bytes', 'count out of range', edited(OPS_AT, 0x7f)],
    ['an unknown head', 'unknown head', edited(OPS_AT + 1, 0x10)],
    ['a next op without one before', 'no op before', edited(OPS_AT + 1, 4 | 8)],
    ['an origin that the table lacks', 'no such table entry', edited(OPS_AT + 2, 1)],
    ['seq 0', 'seq below 1', edited(OPS_AT + 3, 0)],
    ['hlc 0', 'hlc out of range', edited(OPS_AT + 4, 0)],
    ['a negative hlc', 'hlc out of range', edited(OPS_AT + 4, 0x41)],
    ['no parts', 'no parts', edited(OPS_AT + 5, 0)],
    ['an update longer than the batch', 'count out of range', edited(OPS_AT + 8, 0x7f)],
  ])('%s is refused', (_, reason, batch) => {
    expect(refusalOf(() => decodeOpBatch(batch))).toEqual(reason ? { reason } : {})
  })

  test('an unknown kind is refused', () => {
    const record = encodeOpRecord(edit(), numberOf).slice()
    record[1] = 4
    expect(refusalOf(() => decodeOpRecord(record, originOf))).toEqual({ reason: 'unknown kind' })
  })

  test.each([
    ['without a user', 'no user id', [1, 0x78, 0, 5, 0, 0]],
    ['of a user with a long id', 'no user id', [1, 0x78, 0, 5, 0xff, 0x7f]],
    ['that says what nobody knows', 'unknown form of an owned id', [1, 0x78, 0, 5, 1, 0x75, 4]],
  ])('an owned id %s is refused', (_, reason, body) => {
    // version, kind, origin, seq, hlc, deps
    const record = new Uint8Array([1, 3, 0, 7, 5, 0, ...body])
    expect(refusalOf(() => decodeOpRecord(record, originOf))).toEqual({ reason })
  })

  test('integers beyond 53 bits are refused, also in overlong forms', () => {
    const head = [1, 0, 0] // version, no origins, no documents; then the count of ops
    for (const tail of [
      Array(9).fill(0xff).concat(0x7f),
      Array(200).fill(0x80).concat(1),
      Array(200).fill(0x80).concat(0),
    ]) {
      expect(() => decodeOpBatch(new Uint8Array([...head, ...tail]))).toThrow(CausewayError)
    }
  })

  test('a small batch cannot stand for a huge amount of deps', () => {
    const deps = new Map(
      Array.from({ length: 256 }, (_, index) => [makeOrigin('b', index.toString(16).padStart(16, '0')), 1]),
    )
    const list = Array.from({ length: 4_200 }, (_, index) =>
      edit({
        dot: { origin: A, seq: 1 + index },
        deps: new Map([...deps, [makeOrigin('b', '0'.repeat(16)), 1 + (index % 2)]]),
      }),
    )
    expect(() => encodeOpBatch(list)).toThrow(AssertionError)
    expect(decodeOpBatch(encodeOpBatch(list.slice(0, 4_096)))).toHaveLength(4_096)
  })
})

describe('ops that nobody may make', () => {
  test.each<[string, Op]>([
    ['one that depends on its own origin', edit({ deps: new Map([[A, 6]]) })],
    [
      'an open that does not continue',
      {
        kind: 'open',
        dot: { origin: A, seq: 9 },
        predecessor: { origin: B, seq: 7 },
        deps: new Map(),
        hlc: 1 as HybridTime,
      },
    ],
    [
      'an open that names itself',
      {
        kind: 'open',
        dot: { origin: A, seq: 9 },
        predecessor: { origin: A, seq: 8 },
        deps: new Map(),
        hlc: 1 as HybridTime,
      },
    ],
    [
      'a first life that opens above 1',
      { kind: 'open', dot: { origin: A, seq: 2 }, deps: new Map(), hlc: 1 as HybridTime },
    ],
  ])('%s is refused', (_, bad) => {
    expect(() => decodeOpBatch(encodeOpBatch([bad]))).toThrow(CausewayError)
    expect(() => decodeOpRecord(encodeOpRecord(bad, numberOf), originOf)).toThrow(CausewayError)
  })

  test('an op without parts, or with too many, is not encoded', () => {
    expect(() => encodeOpBatch([edit({ parts: [] })])).toThrow(AssertionError)
    const many = Array.from({ length: OP_LIMITS.parts + 1 }, () => ({
      document: 'x',
      generation: 0,
      update: new Uint8Array(),
    }))
    expect(() => encodeOpRecord(edit({ parts: many }), numberOf)).toThrow(AssertionError)
  })
})

/** Recorded bytes. When one changes, files and peers of the old form can no longer be read: raise the version instead. */
describe('recorded bytes of version 1', () => {
  const opened: Op = {
    kind: 'open',
    dot: { origin: A, seq: 41 },
    predecessor: { origin: B, seq: 40 },
    deps: new Map(),
    hlc: 1024 as HybridTime,
  }
  const moved: Op = {
    kind: 're-originated',
    dot: { origin: A, seq: 42 },
    was: { origin: B, seq: 41 },
    deps: new Map([[B, 40]]),
    hlc: 1025 as HybridTime,
    parts: [{ document: 'x', generation: 2, update: new Uint8Array([9]) }],
  }
  const typed = edit({ dot: { origin: A, seq: 43 }, deps: new Map([[B, 40]]), hlc: 1020 as HybridTime })
  const announced: Op = {
    kind: 'owned',
    dot: { origin: A, seq: 44 },
    deps: new Map([[B, 40]]),
    hlc: 1026 as HybridTime,
    owned: { document: 'x', generation: 2, client: 300, user: 'ada', relayedFrom: 0, evicts: 9 },
  }
  test('an owned id', () => {
    expect(hex(encodeOpBatch([announced]))).toBe(
      '010212612e3030303030303030303030303030306612622e303030303030303030303030303031660101780103002c82100101280002ac0203616461030009',
    )
    expect(hex(encodeOpRecord(announced, numberOf))).toBe('0103002c8208010128017802ac0203616461030009')
    expect(hex(encodeOpCanonical(announced))).toBe(
      '010312612e303030303030303030303030303030662c82080112622e3030303030303030303030303030316628017802ac0203616461030009',
    )
  })

  test('batch', () => {
    expect(hex(encodeOpBatch([opened, moved, typed]))).toBe(
      `010212612e3030303030303030303030303030306612622e303030303030303030303030303031660201780a7465616d2f6e6f7465730309002980100101280601010128012901000201090c4501010003010203`,
    )
  })

  test('record', () => {
    expect([opened, moved, typed].map((one) => hex(encodeOpRecord(one, numberOf)))).toEqual([
      '01010029800800010128',
      '0102002a81080101280129010178020109',
      '0100002bfc07010128010a7465616d2f6e6f7465730003010203',
    ])
  })

  test('canonical', () => {
    expect([opened, moved, typed].map((one) => hex(encodeOpCanonical(one)))).toEqual([
      '010112612e30303030303030303030303030303066298008000112622e3030303030303030303030303030316628',
      '010212612e303030303030303030303030303030662a81080112622e303030303030303030303030303031662812622e3030303030303030303030303030316629010178020109',
      '010012612e303030303030303030303030303030662bfc070112622e3030303030303030303030303030316628010a7465616d2f6e6f7465730003010203',
    ])
  })
})
