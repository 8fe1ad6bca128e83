/**
 * Who differs from whom, in which document, and whether that is lag or divergence (the rules: server/replica/convergence.ts):
 * a report when somebody asks, and alarms without being asked.
 */
import { setTimeout as later } from 'node:timers/promises'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import type { DocumentState } from '../document/document-state.js'
import type { CellStatus, HeldBack, PeerTalk } from '../replica/cell.js'
import { type ConvergenceReport, formReport } from '../replica/convergence.js'
import type { Log as Storage } from '../storage/log.js'
import { ConvergencePass } from './convergence-pass.js'
import { ConvergencePeers } from './convergence-peers.js'
import { DivergenceAlarms } from './divergence-alarms.js'
import { Fingerprints } from './fingerprints.js'
import { Inspection } from './inspection.js'
import type { Log } from './log.js'

export interface ConvergenceOptions {
  readonly self: string
  readonly talk: PeerTalk
  readonly storage: Pick<Storage, 'load' | 'list' | 'digestTree' | 'digestLeaves' | 'digestsOf'>
  /** 32 hex digits (`DocumentWorkers.fingerprint`). */
  readonly fingerprint: (state: DocumentState) => Promise<string>
  /** Names of all members, this one included. */
  readonly members: () => readonly string[]
  /** Of this replica. */
  readonly heldBack: () => readonly HeldBack[]
  readonly log: Pick<Log, 'error' | 'info' | 'debug'>
  /** Unix milliseconds, for people. */
  readonly now: () => number
  /** Milliseconds of a clock that only rises. */
  readonly monotonicMs: () => number
  /** Default: a timer. */
  readonly pause?: (ms: number) => Promise<void>
}

export interface ReportRequest {
  readonly prefix: string
  /** Documents that are listed: 1 to `REPORT_LIMIT`. */
  readonly limit: number
  /** Lists equal documents, too. */
  readonly all: boolean
}

export interface Convergence {
  /**
   * Compares now; takes a few seconds at most. Rejects with `request/invalid`, `access/too-many-requests` (too many wait
   * already), and as a read of the log.
   */
  report(request: ReportRequest): Promise<ConvergenceReport>
  /** For the status of the cell. */
  alarms(): CellStatus['alarms']
  stats(): { readonly divergedDocuments: number }
  /** Call a few times a second. Resolves when what it began is over; never rejects. */
  tick(): Promise<void>
}

export const REPORT_LIMIT = 1_000
/** Reports run one after the other: each asks every peer. */
const WAITING_REPORTS = 16

/** Answers from now on what peers ask about `convergence`. */
export function createConvergence(options: ConvergenceOptions): Convergence {
  const { self, talk, storage, members, heldBack, log, now, monotonicMs: nowMs, pause = later } = options
  const fingerprints = new Fingerprints({ log: storage, compute: options.fingerprint })
  const cell = new ConvergencePeers({ self, talk, log: storage, fingerprints, heldBack })
  const alarms = new DivergenceAlarms(log, now)
  const list: Storage['list'] = (page) => storage.list(page)
  const onFailure = (peer: string | undefined, error: unknown): void =>
    log.debug('cell/comparison-failed', { peer, code: asCausewayError(error).code })
  const pass = new ConvergencePass({ cell, list, alarms, nowMs, onFailure: (error) => onFailure(undefined, error) })

  const inspect = async ({ prefix, limit, all }: ReportRequest): Promise<ConvergenceReport> => {
    const inspection = new Inspection({
      cell,
      list,
      members: members(),
      prefix,
      wanted: all ? limit : 0,
      knownDiverged: alarms.documents,
      nowMs,
      pause: async (ms) => void (await pause(ms)),
      onPeerFailed: onFailure,
    })
    const compared = await inspection.run()
    for (const [document, comparison] of compared.comparisons) alarms.learn(document, comparison)
    return formReport(compared, { limit, all })
  }

  let waiting = 0
  let last: Promise<unknown> = Promise.resolve()
  return {
    report: async (request) => {
      const { limit } = request
      if (!(Number.isInteger(limit) && limit >= 1 && limit <= REPORT_LIMIT)) {
        throw new CausewayError('request/invalid', { limit })
      }
      if (waiting >= WAITING_REPORTS) throw new CausewayError('access/too-many-requests', { reports: waiting })
      waiting++
      const report = last.then(() => inspect(request)).finally(() => waiting--)
      last = report.catch(() => {})
      return report
    },
    alarms: () => alarms.alarms(),
    stats: () => ({ divergedDocuments: alarms.documents.length }),
    tick: () => pass.tick(),
  }
}
