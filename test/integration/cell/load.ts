/** What clients do while faults befall their cell: small writes to few documents, and reads of them at all levels. */
import type { Level } from '../../simulator/history.js'
import { RecordedSession } from './recorded-session.js'
import type { Trial } from './trial.js'

export const DOCUMENTS = ['team/x', 'team/y', 'team/z', 'u']
const REGISTERS = ['title', 'state']
const THINK_MS = [20, 120] as const
const HOP_CHANCE = 0.1
const READ_CHANCE = 0.6
const TWO_DOCUMENTS_CHANCE = 0.4
const REGISTER_CHANCE = 0.2
/** A client with so many writes that may be lost asks whether they are saved. */
const UNSAVED_MOST = 12

export class Load {
  /** Those that are gone included. */
  readonly sessions: RecordedSession[] = []
  private readonly trial: Trial
  private readonly ended: Promise<unknown>
  private isOver = false

  constructor(trial: Trial, clients: number) {
    this.trial = trial
    this.ended = Promise.all(Array.from({ length: clients }, () => this.runClient()))
  }

  get living(): RecordedSession[] {
    return this.sessions.filter(({ isGone }) => !isGone)
  }

  /** Resolves when every client has what it last asked for. */
  async stop(): Promise<void> {
    this.isOver = true
    await this.ended
  }

  private async runClient(): Promise<void> {
    let session = this.begin()
    while (!this.isOver) {
      await this.trial.pause(this.trial.random.between(...THINK_MS))
      if (session.isGone) session = this.begin()
      await this.act(session)
    }
  }

  /** One more client, which asks for what the test tells it to. */
  addSession(at: string): RecordedSession {
    const session = this.begin()
    session.at = at
    return session
  }

  private begin(): RecordedSession {
    const session = new RecordedSession(this.trial, `s${this.sessions.length + 1}`)
    this.sessions.push(session)
    return session
  }

  private async act(session: RecordedSession): Promise<void> {
    const { random } = this.trial
    if (random.chance(HOP_CHANCE)) session.hop()
    if (session.unsaved.size >= UNSAVED_MOST) {
      for (const document of DOCUMENTS) await session.readDocument(document, 'majority')
      return
    }
    const document = random.pick(DOCUMENTS)
    if (random.chance(READ_CHANCE)) {
      await session.readDocument(document, this.level())
      return
    }
    const others = DOCUMENTS.filter((name) => name !== document)
    const documents = random.chance(TWO_DOCUMENTS_CHANCE) ? [document, random.pick(others)] : [document]
    const isRegister = random.chance(REGISTER_CHANCE)
    const registers = isRegister ? [`${document}#${random.pick(REGISTERS)}`] : []
    await session.write(documents, registers, isRegister || random.chance(0.5) ? 'majority' : 'local')
  }

  private level(): Level {
    const kind = this.trial.random.below(100)
    if (kind < 8) return 'eventual'
    if (kind < 70) return 'session'
    return kind < 85 ? 'majority' : 'fresh'
  }
}
