/**
 * Looks at one replica all the time, as a stranger without a session: what it has shown once it goes on to show, through
 * kills, replaced disks and old backups; and while it says that it is not ready it serves nobody.
 */
import type { HistoryEvent, Level, WriteId } from '../../simulator/history.js'
import { contentsOf } from './recorded-session.js'
import type { Trial } from './trial.js'

const EVERY_MS = 60
/** Whatever is here, without a wait. */
const LEVEL: Level = 'eventual'

interface Look {
  readonly document: string
  readonly ids: ReadonlySet<WriteId>
  readonly atMs: number
}

export class ReplicaWatch {
  readonly replica: string
  /** What `/readyz` said, without repetitions: states, or `silent` where there was no answer. */
  readonly states: string[] = []
  private readonly trial: Trial
  private readonly looks: Look[] = []
  private readonly ended: Promise<void>
  private isOver = false

  constructor(trial: Trial, replica: string, documents: readonly string[]) {
    this.trial = trial
    this.replica = replica
    this.ended = this.watch(documents)
  }

  async stop(): Promise<void> {
    this.isOver = true
    await this.ended
  }

  /**
   * `held`: writes that are there at the end. When a disk is replaced, what only that one had may be missing for a while,
   * until a client that lives has offered it again; what a majority was told to have may not.
   */
  check(held: ReadonlySet<WriteId>): void {
    const losses = this.trial.recording.events.filter(({ by, type }) => by === this.replica && type === 'disk')
    const savedAtMs = savedWrites(this.trial.recording.events)
    const shown = new Map<string, ReadonlySet<WriteId>>()
    for (const { document, ids, atMs } of this.looks) {
      while (losses.length > 0 && losses[0]!.atMs <= atMs) {
        const lostAtMs = losses.shift()!.atMs
        for (const [name, before] of shown) {
          shown.set(
            name,
            new Set([...before].filter((id) => (savedAtMs.get(id) ?? Number.POSITIVE_INFINITY) <= lostAtMs)),
          )
        }
      }
      const lacking = [...(shown.get(document) ?? [])].filter((id) => held.has(id) && !ids.has(id))
      if (lacking.length > 0) {
        const what = `${ids.size} writes of ${document}, without ${lacking.length} that it had shown: ${lacking.slice(0, 5)}`
        this.trial.recording.problem(`${this.replica} showed at ${atMs} ms ${what}`)
        return
      }
      shown.set(document, ids)
    }
  }

  private async watch(documents: readonly string[]): Promise<void> {
    for (let round = 0; !this.isOver; round++) {
      const document = documents[round % documents.length]!
      const answer = await this.trial.ask(
        this.replica,
        `/v1/documents/${encodeURIComponent(document)}?level=${LEVEL}`,
        { method: 'GET' },
      )
      const isShown = answer.type === 'answer' && answer.status === 200
      if (isShown) {
        const ids = new Set(contentsOf(document, JSON.parse(answer.body)).writes.get(document))
        this.looks.push({ document, ids, atMs: this.trial.recording.nowMs })
      }
      const ready = await this.trial.ask(this.replica, '/readyz', { method: 'GET' })
      const { state, ready: isReady } =
        ready.type === 'answer' ? JSON.parse(ready.body) : { state: 'silent', ready: true }
      if (state !== this.states.at(-1)) this.states.push(state)
      if (isShown && !isReady && state !== 'draining')
        this.trial.recording.problem(`${this.replica} shows ${document} and is ${state}`)
      await this.trial.pause(EVERY_MS)
    }
  }
}

/** When each write was first told to be on disk at a majority. */
function savedWrites(events: readonly HistoryEvent[]): ReadonlyMap<WriteId, number> {
  const writes = new Map<number, WriteId>()
  const savedAtMs = new Map<WriteId, number>()
  for (const event of events) {
    if (event.type === 'invoke' && event.request.type === 'write' && event.request.concern === 'majority') {
      writes.set(event.call, event.request.id)
    }
    const id = event.type === 'saved' ? event.id : event.type === 'ok' ? writes.get(event.call) : undefined
    if (id !== undefined && !savedAtMs.has(id)) savedAtMs.set(id, event.atMs)
  }
  return savedAtMs
}
