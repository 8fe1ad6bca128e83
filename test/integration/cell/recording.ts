/**
 * The history of a run with real processes, in the form that the checkers read (`test/simulator/history.ts`): what clients
 * asked and were told, which faults befell whom, and how it ended. What only a replica knows of itself is not in it.
 */
import { createSessionKeys } from '../../../server/access/session-keys.js'
import type { CellId } from '../../../shared/clock/cell.js'
import { decodeToken, type SessionKeys, type SessionToken } from '../../../shared/session/token.js'
import { type CheckedInvariant, checkHistory } from '../../simulator/check-history.js'
import type { ClientEvent, HistoryEvent, ServerEvent, WorldEvent } from '../../simulator/history.js'

/** Those of which clients can tell. */
const CHECKED: readonly CheckedInvariant[] = ['I5', 'I6', 'I7', 'I8', 'I9', 'I10', 'I11', 'I12', 'I13', 'I20', 'I21']

export class Recording {
  readonly members: readonly string[]
  readonly events: HistoryEvent[] = []
  /** What is wrong and no checker would see. */
  readonly problems: string[] = []
  private readonly keys: SessionKeys
  private readonly startedMs = performance.now()
  private calls = 0
  private writes = 0

  /** `cell` and `secret` are those that the tokens are signed with. */
  constructor(members: readonly string[], cell: string, secret: string) {
    this.members = members
    this.keys = createSessionKeys({ cell: cell as CellId, secret })
  }

  /** Since the beginning, in whole milliseconds. */
  get nowMs(): number {
    return Math.round(performance.now() - this.startedMs)
  }

  add(by: string, event: ClientEvent | ServerEvent | WorldEvent): void {
    this.events.push({ atMs: this.nowMs, by, ...event })
  }

  problem(what: string): void {
    this.problems.push(`at ${this.nowMs} ms: ${what}`)
  }

  nextCall(): number {
    return ++this.calls
  }

  nextWrite(): number {
    return ++this.writes
  }

  decode(token: string): SessionToken {
    return decodeToken(token, this.keys)
  }

  /** What the promises do not allow, in words; empty for a good run. */
  findings(): string[] {
    const { members, events } = this
    const violations = checkHistory({ members, events }, CHECKED)
    return [
      ...this.problems.slice(0, 10),
      ...violations.map(({ invariant, at, says }) => `${invariant} at ${events[at]?.atMs ?? 0} ms: ${says}`),
    ]
  }

  count(type: HistoryEvent['type']): number {
    return this.events.filter((event) => event.type === type).length
  }
}
