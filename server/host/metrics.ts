/**
 * What a replica counts. Rooms write plain numbers here, without labels to look up and without allocation, so that the hot
 * path may count; a scrape turns them into Prometheus text (`metrics-page.ts`). Durations are in seconds, as Prometheus
 * has it.
 */
import { ERROR_CODES, type ErrorCodeName } from '../../shared/errors/codes.js'
import type { PeerMessage } from '../../shared/protocol/peer.js'
import { PEER_MESSAGE_TYPES } from '../../shared/protocol/peer-codec.js'
import { TRANSPORT_EVENTS, type TransportEvent } from '../transport/observer.js'
import { PEER_EVENTS, type PeerEvent, type PeerMetrics } from '../transport/peer-observer.js'

/** What an update passes through, in order. */
const INGEST_STAGES = ['check', 'queue', 'commit', 'deliver'] as const

/** What clients wait for, beside their updates (those are in the ingest stages). Each wait has one of these names. */
const WAIT_CAUSES = [
  'document-load',
  'content-check',
  'diff',
  // At the desk where sessions are served: for this replica, for others to tell what they have, for other disks.
  'delivered',
  'configured',
  'vectors-known',
  'majority-durable',
  'write-concern',
] as const

/** Totals of one kind of task in the document workers. */
export interface WorkerTaskTotals {
  readonly count: number
  readonly failed: number
  readonly waitMs: number
  readonly runMs: number
}

const HTTP_STATUS_CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx'] as const
type HttpStatusClass = (typeof HTTP_STATUS_CLASSES)[number]

const SECONDS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
] as const
const OPS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096] as const

/** Counts of observations by size. */
export class Histogram {
  readonly bounds: readonly number[]
  /** `counts[i]` observations are at most `bounds[i]` and above the bound before; the last holds the rest. */
  readonly counts: number[]
  sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Array(bounds.length + 1).fill(0)
  }

  observe(value: number): void {
    let bucket = 0
    while (bucket < this.bounds.length && value > this.bounds[bucket]!) bucket++
    this.counts[bucket]! += 1
    this.sum += value
  }
}

export class Metrics {
  readonly ingestSeconds = byName(INGEST_STAGES, () => new Histogram(SECONDS))
  /** What the disk took of a commit. */
  readonly fsyncSeconds = new Histogram(SECONDS)
  /** Ops of one group commit. */
  readonly batchOps = new Histogram(OPS)
  readonly waitSeconds = byName(WAIT_CAUSES, () => new Histogram(SECONDS))
  readonly httpSeconds = byName(HTTP_STATUS_CLASSES, () => new Histogram(SECONDS))
  /** Open now. */
  connections = 0
  readonly refusals: Record<ErrorCodeName, number> = byName(Object.keys(ERROR_CODES) as ErrorCodeName[], () => 0)
  /** Bytes accepted and not yet on disk. */
  queueBytes = 0
  openDocuments = 0
  /** Documents known to differ from a peer's although both hold the same ops. */
  divergedDocuments = 0
  /** Requests that wait for other replicas. */
  waitingRequests = 0
  /** Read at each scrape. */
  workerTasks: () => Readonly<Record<string, WorkerTaskTotals>> = () => ({})
  /** What connections met, by event. */
  readonly transportEvents: Record<TransportEvent, number> = byName(TRANSPORT_EVENTS, () => 0)
  readonly peers = new PeerNumbers()

  refused(code: ErrorCodeName): void {
    this.refusals[code] += 1
  }

  transport(event: TransportEvent, by: number): void {
    this.transportEvents[event] += by
  }

  answered(status: number, seconds: number): void {
    this.httpSeconds[`${Math.floor(status / 100)}xx` as HttpStatusClass]?.observe(seconds)
  }
}

/** What goes between replicas. */
class PeerNumbers implements PeerMetrics {
  /** Linked now. */
  links = 0
  readonly events: Record<PeerEvent, number> = byName(PEER_EVENTS, () => 0)
  readonly messagesSent = byName(PEER_MESSAGE_TYPES, () => 0)
  readonly messagesReceived = byName(PEER_MESSAGE_TYPES, () => 0)
  readonly bytesSent = byName(PEER_MESSAGE_TYPES, () => 0)
  readonly bytesReceived = byName(PEER_MESSAGE_TYPES, () => 0)

  linked(count: number): void {
    this.links = count
  }

  count(event: PeerEvent): void {
    this.events[event] += 1
  }

  sent(type: PeerMessage['type'], bytes: number): void {
    this.messagesSent[type] += 1
    this.bytesSent[type] += bytes
  }

  received(type: PeerMessage['type'], bytes: number): void {
    this.messagesReceived[type] += 1
    this.bytesReceived[type] += bytes
  }
}

function byName<Name extends string, Value>(names: readonly Name[], make: () => Value): Record<Name, Value> {
  return Object.fromEntries(names.map((name) => [name, make()])) as Record<Name, Value>
}
