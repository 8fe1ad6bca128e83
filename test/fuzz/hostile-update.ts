/**
 * Updates that no Yjs would send to a given document: made of structs with ids, references, lengths and contents that
 * are right, nearly right or wild, or of honest bytes with something changed.
 */
import type { Random } from '../../shared/base/random.js'
import * as raw from './update-bytes.js'

/** What the attacker sees of a document. */
export interface Target {
  /** Clients and the clock behind their last struct. */
  readonly clocks: readonly (readonly [client: number, clock: number])[]
  /** Updates that honest people sent or are about to send. */
  readonly honest: readonly Uint8Array[]
}

const STRANGERS = [1, 13, 4_000_000_008, 2 ** 53 - 1, 255, 65_536]
const WILD = [0, 1, 2, 127, 128, 255, 2 ** 16, 2 ** 31 - 2, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 50, 2 ** 53 - 1]

export function hostileUpdate(random: Random, target: Target): Uint8Array {
  const bytes = random.chance(0.6) ? composed(random, target) : changed(random, random.pick(target.honest))
  return random.chance(0.15) ? changed(random, bytes) : bytes
}

/** Bytes flipped, cut, doubled, swapped; numbers replaced. */
function changed(random: Random, bytes: Uint8Array): Uint8Array {
  let result: Uint8Array = bytes.slice()
  for (let count = random.between(1, 3); count > 0; count--) {
    if (result.length === 0) return result
    const at = random.below(result.length)
    const kind = random.below(6)
    if (kind < 2) result[at] = random.chance(0.5) ? result[at]! ^ (1 << random.below(8)) : random.below(256)
    else if (kind === 2) result = raw.concat(result.subarray(0, at), result.subarray(at + random.between(1, 4)))
    else if (kind === 3)
      result = raw.concat(result.subarray(0, at), raw.varUint(random.pick(WILD)), result.subarray(at + 1))
    else if (kind === 4) {
      const from = random.below(result.length)
      result = raw.concat(
        result.subarray(0, at),
        result.subarray(from, from + random.between(1, 12)),
        result.subarray(at),
      )
    } else result[at] = Math.max(0, result[at]! + random.between(-2, 2)) & 0xff
  }
  return result
}

function composed(random: Random, target: Target): Uint8Array {
  const known = new Map(target.clocks)
  const clients = new Set(
    random.times(0, 3, () =>
      random.chance(0.5) && target.clocks.length > 0 ? random.pick(target.clocks)[0] : random.pick(STRANGERS),
    ),
  )
  const ordered = [...clients].sort((left, right) => right - left)
  if (random.chance(0.05)) ordered.reverse()
  const composer = new Composer(random, known, ordered)
  const blocks = ordered.map((client) => composer.block(client))
  return raw.update(blocks, composer.deletes())
}

class Composer {
  private readonly random: Random
  /** Clients and the clock behind their last struct, those of this update included. */
  private readonly ends: Map<number, number>
  /** Types that this update makes, to put things into. */
  private readonly types: raw.Id[] = []

  /** Clients that write in this update. */
  private readonly writers: readonly number[]

  constructor(random: Random, known: ReadonlyMap<number, number>, writers: readonly number[]) {
    this.random = random
    this.ends = new Map(known)
    this.writers = writers
  }

  block(client: number): raw.RawBlock {
    const { random } = this
    const known = this.ends.get(client) ?? 0
    // Mostly where the document ends; else it overlaps, leaves a gap, or is anywhere.
    const draw = random.below(20)
    const start =
      draw < 15 ? known : draw < 18 ? Math.max(0, known - random.between(1, 4)) : known + random.between(1, 3)
    const clock = random.chance(0.02) ? random.pick(WILD) : start
    let next = clock
    const structs = random.times(random.chance(0.02) ? 0 : 1, random.chance(0.1) ? 12 : 4, () => {
      const [bytes, length] = this.struct(client, next)
      next += length
      this.ends.set(client, Math.max(next, this.ends.get(client) ?? 0))
      return bytes
    })
    return { client, clock, structs, ...(random.chance(0.02) ? { count: random.pick(WILD) } : {}) }
  }

  deletes(): [client: number, ranges: raw.Id[]][] {
    const { random } = this
    if (random.chance(0.4)) return []
    const clients = [...this.ends.keys()]
    if (clients.length === 0) return []
    return random.times(1, 3, () => {
      const client = random.pick(clients)
      const end = this.ends.get(client) ?? 0
      return [
        client,
        random.times(0, 4, (): raw.Id => {
          const clock = random.below(end + 2)
          return [clock, random.chance(0.02) ? random.pick(WILD) : random.below(Math.max(1, end - clock) + 1)]
        }),
      ]
    })
  }

  /** A struct and its length in clocks. */
  private struct(client: number, clock: number): [bytes: Uint8Array, length: number] {
    const { random } = this
    const length = random.chance(0.02) ? random.pick(WILD) : random.between(1, 5)
    const kind = random.below(24)
    if (kind === 0) return [raw.gc(length), length]
    if (kind === 1) return [raw.skip(length), length]
    const place = this.place(client, clock)
    if (kind === 2) return [raw.deleted(length, place), length]
    if (kind < 10) {
      const text = random.pick(['x', 'hello', 'é', '😀', 'a😀b', '\ufffd', '\u0000', '\n', ''])
      return [raw.text(text, place), text.length]
    }
    if (kind < 13) return [raw.format(random.pick(['a', 'b', '', 'ychange', '__proto__']), this.json(0), place), 1]
    if (kind === 13) return [raw.embed(this.json(0), place), 1]
    if (kind === 14) return [raw.binary([1, 2, 3].slice(random.below(4)), place), 1]
    if (kind === 15) {
      const texts = random.times(0, 3, () => (random.chance(0.2) ? 'undefined' : this.json(0)))
      return [raw.json(texts, place), texts.length]
    }
    if (kind < 19) {
      const values = random.times(random.chance(0.05) ? 0 : 1, 4, () => this.value(0))
      return [raw.any(values, place), values.length]
    }
    if (kind === 19) return [raw.subdocument(random.pick(['a', '', 'b']), this.options(), place), 1]
    const ref = random.chance(0.02) ? random.below(16) : random.below(7)
    this.types.push([client, clock])
    return [raw.type(ref, place, ref === 3 || ref === 5 ? random.pick(['p', '', 'script']) : undefined), 1]
  }

  private place(client: number, clock: number): raw.Place {
    const { random } = this
    const draw = random.below(10)
    if (draw < 4) {
      const parent = random.chance(0.6)
        ? random.pick(['text', 'map', 'list', 'xml', 'other', ''])
        : this.types.length > 0 && random.chance(0.7)
          ? random.pick(this.types)
          : this.id(client, clock)
      return { parent, key: random.chance(0.4) ? random.pick(['a', 'b', 'content', '10', '', 'toString']) : undefined }
    }
    const origin = draw < 9 ? this.id(client, clock) : undefined
    const right = draw > 6 ? this.id(client, clock) : undefined
    return {
      origin,
      right: !origin && !right ? this.id(client, clock) : right,
      key: random.chance(0.05) ? '' : undefined,
    }
  }

  /** Mostly an id that is there; often the one before. */
  private id(client: number, clock: number): raw.Id {
    const { random } = this
    if (clock > 0 && random.chance(0.3)) return [client, clock - 1]
    if (random.chance(0.02)) return [random.pick(STRANGERS), random.pick(WILD)]
    // What another client writes in this update, earlier or later: chains, and circles.
    if (this.writers.length > 1 && random.chance(0.15)) {
      const writer = random.pick(this.writers)
      if (writer !== client) return [writer, (this.ends.get(writer) ?? 0) + random.below(2)]
    }
    const clients = [...this.ends].filter(([, end]) => end > 0)
    if (clients.length === 0) return [client, clock]
    const [other, end] = random.pick(clients)
    return [
      other,
      random.chance(0.03) ? end + random.below(3) : random.below(other === client ? Math.max(clock, 1) : end),
    ]
  }

  private value(depth: number): number[] {
    const { random } = this
    const draw = random.below(depth > 3 ? 8 : 11)
    if (draw === 0) return [127]
    if (draw === 1) return [126]
    if (draw === 2) return [125, random.below(64)]
    if (draw === 3) return [124, ...random.times(4, 4, () => random.below(256))]
    if (draw === 4) return [123, ...random.times(8, 8, () => random.below(256))]
    if (draw === 5) return random.chance(0.1) ? [122, 0, 0, 0, 0, 0, 0, 0, 1] : [121]
    if (draw === 6) return [119, ...raw.sizedText(random.pick(['', 'é', '😀', 'text']))]
    if (draw === 7) return [116, 2, random.below(256), 0]
    if (draw === 8 && random.chance(0.05)) {
      const levels = random.between(60, 70)
      return [...Array.from({ length: levels }, () => [117, 1]).flat(), 126]
    }
    const items = random.times(0, 3, () => this.value(depth + 1))
    if (draw < 10) return [117, items.length, ...items.flat()]
    const keys = ['a', 'b', '1', random.chance(0.1) ? '__proto__' : 'constructor']
    return [118, items.length, ...items.flatMap((item) => [...raw.sizedText(random.pick(keys)), ...item])]
  }

  private json(depth: number): string {
    const { random } = this
    if (depth === 0 && random.chance(0.02)) {
      const levels = random.between(60, 70)
      return '['.repeat(levels) + ']'.repeat(levels)
    }
    const draw = random.below(depth > 3 ? 7 : 9)
    if (draw < 7)
      return random.pick(['null', 'true', '1', '-0', '1e999', '""', '"\\ud83d"', '{}', '[]', '"é"', ' 1 ', '01', ''])
    const items = random.times(0, 3, () => this.json(depth + 1))
    if (draw === 7) return `[${items.join(',')}]`
    return `{${items.map((item) => `"${random.pick(['a', 'b', '__proto__', 'insert', 'toJSON'])}":${item}`).join(',')}}`
  }

  private options(): number[] {
    const { random } = this
    const options = random.times(0, 3, () => {
      const name = random.pick(['gc', 'autoLoad', 'shouldLoad', 'meta', 'encoding', 'guid', 'gcFilter', 'collectionid'])
      const value = random.chance(0.5) ? [random.pick([120, 121])] : this.value(2)
      return [...raw.sizedText(name), ...value]
    })
    return random.chance(0.05) ? this.value(0) : [118, options.length, ...options.flat()]
  }
}
