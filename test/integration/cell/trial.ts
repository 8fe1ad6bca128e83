/**
 * A cell of processes under load and faults, and the judgement on it: everything is recorded, all is healed in the end,
 * and the checkers of the simulator read what clients were told.
 */
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { DATABASE_FILE } from '../../../server/storage/schema.js'
import { Random } from '../../../shared/base/random.js'
import type { OriginId } from '../../../shared/clock/dot.js'
import { EMPTY_VECTOR, type VersionVector } from '../../../shared/clock/version-vector.js'
import type { WriteId } from '../../simulator/history.js'
import type { CellProcesses } from '../../support/cell-processes.js'
import { call, type HttpOutcome, type HttpRequest } from './http-call.js'
import { DOCUMENTS, Load } from './load.js'
import { contentsOf } from './recorded-session.js'
import { Recording } from './recording.js'
import { ReplicaWatch } from './replica-watch.js'

export const CELL_SECRET = 'a secret of thirty-two bytes or so'

export interface TrialOptions {
  readonly seed: number
  /** Default: 8. */
  readonly clients?: number
  /** Default: 1,000. */
  readonly timeoutMs?: number
}

/** Machines are shared: only what hangs is late. */
const GRACE_MS = 8_000
/** How long a client believes in a replica that stands still. */
const STILL_PATIENCE_MS = 500
/** Within which all is well again when everything is healed. */
const SETTLE_LIMIT_MS = 40_000
const POLL_MS = 100

interface ConvergenceAnswer {
  readonly verdict: string
  readonly documents: readonly {
    readonly document: string
    readonly state: string
    readonly replicas: Readonly<Record<string, { readonly clock: object; readonly fingerprint: string }>>
  }[]
  readonly heldBack: readonly object[]
}

export class Trial {
  readonly cell: CellProcesses
  readonly recording: Recording
  readonly random: Random
  readonly load: Load
  readonly watches: readonly ReplicaWatch[]
  readonly graceMs = GRACE_MS
  /** How long a replica may make a client wait. */
  readonly timeoutMs: number
  /** How long it took from the healing until all replicas were equal, and clients had all saved. */
  settledMs = 0
  /** Nothing is tried any more. */
  isOver = false
  private readonly still = new Set<string>()
  private readonly asking = new Map<string, Set<AbortController>>()
  /** Changes when a replica ends: answers that were under way are not owed. */
  private readonly lives = new Map<string, number>()

  static async begin(cell: CellProcesses, options: TrialOptions): Promise<Trial> {
    const answer = await fetch(`${cell.replica(cell.names[0]!).http}/v1/cell`)
    const { id } = (await answer.json()) as { readonly id: string }
    return new Trial(cell, id, options)
  }

  private constructor(cell: CellProcesses, id: string, { seed, clients = 8, timeoutMs = 1_000 }: TrialOptions) {
    this.cell = cell
    this.timeoutMs = timeoutMs
    this.recording = new Recording(cell.names, id, CELL_SECRET)
    this.random = new Random(seed)
    this.load = new Load(this, clients)
    this.watches = cell.names.map((name) => new ReplicaWatch(this, name, DOCUMENTS))
  }

  /** So long a fault lasts, or a client thinks. */
  async pause(ms: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, ms))
  }

  /** Asks a replica that is not owed patience without end; that it is owed none by a living one is a finding. */
  async ask(replica: string, path: string, request: Omit<HttpRequest, 'url'>): Promise<HttpOutcome> {
    const life = this.lives.get(replica)
    const under = this.asking.get(replica) ?? new Set()
    this.asking.set(replica, under)
    const abort = new AbortController()
    under.add(abort)
    let isLate = false
    const isStill = this.still.has(replica)
    const timer = setTimeout(
      () => {
        isLate = !isStill
        abort.abort()
      },
      isStill ? STILL_PATIENCE_MS : this.timeoutMs + GRACE_MS,
    )
    const outcome = await call({ ...request, url: `${this.cell.replica(replica).http}${path}` }, abort.signal)
    clearTimeout(timer)
    under.delete(abort)
    if (isLate && life === this.lives.get(replica)) this.recording.problem(`${replica} does not answer ${path}`)
    return outcome
  }

  // --- faults -----------------------------------------------------------------------------------------------------

  async kill(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.lives.set(name, (this.lives.get(name) ?? 0) + 1)
    this.recording.add(name, { type: 'crash' })
    await this.cell.kill(name, signal)
  }

  async restart(name: string): Promise<void> {
    await this.cell.restart(name)
  }

  async freeze(name: string): Promise<void> {
    await this.cell.stop(name)
    this.still.add(name)
    setTimeout(() => {
      if (this.still.has(name)) for (const abort of this.asking.get(name) ?? []) abort.abort()
    }, STILL_PATIENCE_MS)
  }

  thaw(name: string): void {
    this.still.delete(name)
    this.cell.cont(name)
  }

  /** A copy of its disk as it is at this moment. */
  async backUp(name: string): Promise<string> {
    await this.freeze(name)
    const copy = this.cell.copyData(name)
    this.thaw(name)
    return copy
  }

  /** Kills it, and starts it on an empty disk, or on the copy. Resolves when it serves again. */
  async replaceDisk(name: string, copy?: string): Promise<void> {
    await this.kill(name)
    await this.restartOnOtherDisk(name, copy)
  }

  async restartOnOtherDisk(name: string, copy?: string): Promise<void> {
    this.recording.add(name, { type: 'disk', fault: copy === undefined ? 'lost' : 'restored' })
    await this.cell.restart(name, copy === undefined ? { wipe: true } : { restoreFrom: copy })
    this.recording.add(name, { type: 'recovered' })
  }

  /** Positions of the first and the last op in a replica's log. */
  logOf(name: string): { readonly from: number; readonly to: number } {
    const file = this.openFile(name)
    const row = file.prepare<[], { from: number; to: number }>(
      'SELECT MIN(position) "from", MAX(position) "to" FROM ops',
    )
    const found = row.get()!
    file.close()
    return found
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    const endsAtMs = performance.now() + SETTLE_LIMIT_MS
    while (!holds()) {
      if (performance.now() > endsAtMs) throw new Error(`not in time: ${what}`)
      await this.pause(POLL_MS)
    }
  }

  // --- the end ----------------------------------------------------------------------------------------------------

  /** Heals everything and lets clients and replicas come to rest; what was wrong, in words. */
  async findings(): Promise<string[]> {
    const { cell, recording, load } = this
    cell.heal()
    for (const name of this.still) this.thaw(name)
    for (const name of cell.names) if (!cell.replica(name).isRunning) await this.restart(name)
    await cell.ready()
    recording.add('world', { type: 'healed' })
    const healedMs = performance.now()
    const isLate = (): boolean => performance.now() - healedMs > SETTLE_LIMIT_MS
    const giveUp = setTimeout(() => {
      this.isOver = true
    }, SETTLE_LIMIT_MS)
    await load.stop()
    await Promise.all(load.living.map((session) => session.settle(DOCUMENTS, isLate)))
    clearTimeout(giveUp)
    await Promise.all(this.watches.map((watch) => watch.stop()))
    await this.converge(isLate)
    this.settledMs = performance.now() - healedMs
    const held = await this.settle()
    for (const watch of this.watches) watch.check(held)
    this.recordLineages()
    return recording.findings()
  }

  private async converge(isLate: () => boolean): Promise<void> {
    const { names } = this.cell
    for (const name of names) {
      for (;;) {
        const answer = await fetch(`${this.cell.replica(name).http}/v1/cell/convergence?all=1`)
        const { verdict, documents, heldBack } = (await answer.json()) as ConvergenceAnswer
        const shown = documents.map(({ replicas }) => Object.values(replicas))
        const isEqual = verdict === 'equal' && heldBack.length === 0
        if (isEqual && shown.length === DOCUMENTS.length && shown.every((all) => all.length === names.length)) {
          const prints = shown.map((all) => new Set(all.map(({ fingerprint }) => fingerprint)).size)
          if (prints.some((count) => count !== 1)) this.recording.problem(`equal at ${name}, with other fingerprints`)
          break
        }
        if (isLate()) {
          this.recording.problem(`${name} finds ${verdict}: ${JSON.stringify({ documents, heldBack }).slice(0, 2_000)}`)
          break
        }
        await this.pause(POLL_MS)
      }
    }
  }

  /** What each replica holds at the end; returns all of it. */
  private async settle(): Promise<Set<WriteId>> {
    const all = new Set<WriteId>()
    for (const name of this.cell.names) {
      const held = new Set<WriteId>()
      let clock: VersionVector = EMPTY_VECTOR
      for (const document of DOCUMENTS) {
        const answer = await fetch(`${this.cell.replica(name).http}/v1/documents/${encodeURIComponent(document)}`)
        const body = (await answer.json()) as Parameters<typeof contentsOf>[1]
        if (answer.ok) clock = this.recording.decode(answer.headers.get('causeway-session')!).vector
        for (const id of contentsOf(document, body).writes.get(document)!) held.add(id)
      }
      this.recording.add(name, { type: 'replica-settled', clock, waiting: 0, held: [...held] })
      for (const id of held) all.add(id)
    }
    return all
  }

  /** Which life of a replica followed which: the checkers see through vectors that leave out what later entries imply. */
  private recordLineages(): void {
    const known = new Set<string>()
    for (const name of this.cell.names) {
      const file = this.openFile(name)
      const rows = file
        .prepare<[], { name: OriginId; before: OriginId; seq: number }>(
          `SELECT one.name, other.name AS before, one.predecessor_seq AS seq
           FROM origins one JOIN origins other ON other.id = one.predecessor`,
        )
        .all()
      file.close()
      for (const { name: origin, before, seq } of rows) {
        if (known.has(origin)) continue
        known.add(origin)
        this.recording.add(name, {
          type: 'accept',
          dot: { origin, seq: seq + 1 },
          opens: { predecessor: { origin: before, seq } },
          deps: EMPTY_VECTOR,
          chain: '',
          documents: [],
        })
      }
    }
  }

  private openFile(name: string): Database.Database {
    return new Database(join(this.cell.replica(name).data, DATABASE_FILE), { readonly: true })
  }
}
