/**
 * Origins, dots, vectors and ops in short text, for tables of tests: `a1` is incarnation 1 of replica `a`, `coord1`
 * epoch 1 of the coordination store, `a1:3` a dot, `a1:3 b1:1` a vector.
 */
import { type Dot, makeOrigin, type OriginId } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import { type Op, partsOf } from '../../shared/protocol/op.js'

export function originOf(short: string): OriginId {
  const [, name = '', digits = ''] = /^([a-z]+)([0-9]+)$/.exec(short) ?? []
  return makeOrigin(name, digits.padStart(16, '0'))
}

export function dotOf(short: string): Dot {
  const [origin = '', seq = ''] = short.split(':')
  return { origin: originOf(origin), seq: Number(seq) }
}

export function vectorOf(text: string): VersionVector {
  return new Map(text === '' ? [] : text.split(' ').map((entry) => [dotOf(entry).origin, dotOf(entry).seq]))
}

export function showDot({ origin, seq }: Dot): string {
  return `${origin.replace(/\.0*/, '')}:${seq}`
}

/** The inverse of `vectorOf`, sorted. */
export function showVector(vector: VersionVector): string {
  return [...vector]
    .map(([origin, seq]) => showDot({ origin, seq }))
    .sort()
    .join(' ')
}

/** `a1:3 after b1:2`: an edit; `open a2:4 of a1:3 after b1:2`, `open a1:1`: an opening, which depends on what it names. */
export function opOf(text: string): Op {
  const [head = '', after = ''] = text.split(' after ')
  const [, opens, own = '', , named] = /^(open )?(\S+)( of (\S+))?$/.exec(head) ?? []
  const dot = dotOf(own)
  const hlc = dot.seq as HybridTime
  const predecessor = named === undefined ? {} : { predecessor: dotOf(named) }
  const deps = vectorOf([after, named ?? ''].filter(Boolean).join(' '))
  if (opens) return { kind: 'open', dot, deps, hlc, ...predecessor }
  return {
    kind: 'data',
    dot,
    deps,
    hlc,
    parts: [{ document: 'notes', generation: 0, update: Uint8Array.of(1, dot.seq % 256) }],
  }
}

/** A chain for tests: another value for every other history, without a cryptographic hash. */
export function textChain(previous: Uint8Array | undefined, op: Op): Uint8Array {
  const chain = new Uint8Array(16)
  const text = JSON.stringify([
    op.kind,
    op.dot,
    [...op.deps].sort(),
    op.kind === 'open' ? op.predecessor : partsOf(op).map(({ update }) => [...update]),
  ])
  let hash = 2166136261
  for (const byte of [...(previous ?? []), ...Array.from(text, (character) => character.charCodeAt(0))]) {
    hash = Math.imul(hash ^ byte, 16777619) >>> 0
  }
  for (let index = 0; index < 16; index++) chain[index] = (hash >>> ((index % 4) * 8)) & 0xff
  return chain
}
