/** One life of a document as a row, and the cache that keeps commits from reading it back each time. */
import type Database from 'better-sqlite3'
import * as decoding from 'lib0/decoding'
import { OpWriter } from '../../shared/protocol/op-writer.js'
import { CHAIN_BYTES } from './op-row.js'

/** Highest seq per replica name that touched a document: a few entries, never changed in place. */
export type Clock = readonly { readonly replica: string; readonly seq: number }[]

export interface DocumentRow {
  readonly id: number
  readonly name: string
  readonly generation: number
  readonly first: number
  readonly last: number
  readonly count: number
  /** XOR of the chain values of the ops that touched it. */
  readonly digest: Uint8Array
  readonly clock: Uint8Array
  readonly bytes: number
  readonly updated: number
}

const COLUMNS = 'id, name, generation, first, last, count, digest, clock, bytes, updated'

export const SELECT_NEWEST_LIFE = `SELECT ${COLUMNS} FROM documents WHERE name = ? ORDER BY generation DESC LIMIT 1`
export const SELECT_NEXT_LIFE = `SELECT ${COLUMNS} FROM documents WHERE id > ? ORDER BY id LIMIT 1`
const SELECT_LIFE = `SELECT ${COLUMNS} FROM documents WHERE name = ? AND generation = ?`

const writer = new OpWriter()

/** A view that holds until the next clock is encoded. */
export function encodeClock(clock: Clock): Uint8Array {
  writer.reset()
  for (const { replica, seq } of clock) {
    writer.text(replica)
    writer.varUint(seq)
  }
  return writer.view()
}

/** Never throws: a clock is for people, and what cannot be read of it is left out. */
export function decodeClock(bytes: Uint8Array): Clock {
  const clock: { replica: string; seq: number }[] = []
  try {
    const decoder = decoding.createDecoder(bytes)
    while (decoding.hasContent(decoder)) {
      clock.push({ replica: decoding.readVarString(decoder), seq: decoding.readVarUint(decoder) })
    }
  } catch {
    // What was read so far stands.
  }
  return clock
}

/** The clock with an op of `replica` added. */
export function advancedClock(clock: Clock, replica: string, seq: number): Clock {
  const advanced = clock.slice()
  for (let index = 0; index < clock.length; index++) {
    if (clock[index]!.replica !== replica) continue
    if (clock[index]!.seq >= seq) return clock
    advanced[index] = { replica, seq }
    return advanced
  }
  advanced.push({ replica, seq })
  return advanced
}

/** A clock as the outside sees it. */
export function clockRecord(bytes: Uint8Array): Record<string, number> {
  return Object.fromEntries(decodeClock(bytes).map(({ replica, seq }) => [replica, seq]))
}

/** `target` ^= `value`. */
export function xorInto(target: Uint8Array, value: Uint8Array): void {
  for (let index = 0; index < target.length; index++) target[index]! ^= value[index]!
}

/** A document in a writer's hands. A commit changes copies, which take the place of these once it is durable. */
export class DocumentState {
  readonly id: number
  readonly name: string
  readonly generation: number
  readonly first: number
  last: number
  count: number
  readonly digest: Uint8Array
  clock: Clock
  bytes: number
  updated: number
  /** No row yet. */
  isNew: boolean

  constructor(row: Omit<DocumentRow, 'clock'>, clock: Clock, isNew: boolean) {
    this.id = row.id
    this.name = row.name
    this.generation = row.generation
    this.first = row.first
    this.last = row.last
    this.count = row.count
    this.digest = new Uint8Array(row.digest)
    this.clock = clock
    this.bytes = row.bytes
    this.updated = row.updated
    this.isNew = isNew
  }

  /** One that no op has touched yet. */
  static born(id: number, name: string, generation: number, first: number): DocumentState {
    const digest = new Uint8Array(CHAIN_BYTES)
    return new DocumentState({ id, name, generation, first, last: 0, count: 0, digest, bytes: 0, updated: 0 }, [], true)
  }

  copy(): DocumentState {
    return new DocumentState(this, this.clock, this.isNew)
  }
}

/** The most documents whose rows are kept in memory: some 10 MB. */
export const CACHED_DOCUMENTS = 20_000

/** Rows as last committed, oldest in the cache first. */
export class DocumentCache {
  private readonly states = new Map<string, DocumentState>()
  private readonly select: Database.Statement<[string, number], DocumentRow>

  constructor(database: Database.Database) {
    this.select = database.prepare(SELECT_LIFE)
  }

  /** The committed state of a life, from memory or the database. */
  get(name: string, generation: number): DocumentState | undefined {
    const known = this.states.get(keyOf(name, generation))
    if (known) return known
    const row = this.select.get(name, generation)
    return row && new DocumentState(row, decodeClock(row.clock), false)
  }

  /** Takes what a commit has made durable. */
  adopt(states: Iterable<DocumentState>): void {
    for (const state of states) {
      state.isNew = false
      this.states.set(keyOf(state.name, state.generation), state)
    }
    for (const key of this.states.keys()) {
      if (this.states.size <= CACHED_DOCUMENTS) break
      this.states.delete(key)
    }
  }
}

/** Names hold no control characters. */
export function keyOf(name: string, generation: number): string {
  return generation === 0 ? name : `${generation}\n${name}`
}
