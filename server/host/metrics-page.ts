/**
 * The text that Prometheus scrapes. `prom-client` writes the format and adds what it knows about the process: memory, CPU,
 * event loop lag, garbage collection. It is loaded by the first scrape, and its own measuring begins then.
 */
import type { Metric, Registry } from 'prom-client'
import type { Histogram, Metrics, WorkerTaskTotals } from './metrics.js'

export interface MetricsPage {
  readonly contentType: string
  readonly text: string
}

interface Sample {
  readonly metricName?: string
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
}

interface Family {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly samples: () => readonly Sample[]
}

/** Returns the page's writer for one replica's numbers. */
export function createMetricsPage(metrics: Metrics): () => Promise<MetricsPage> {
  let registry: Promise<Registry> | undefined
  return async () => {
    registry ??= createRegistry(metrics)
    const made = await registry
    // What has no sample yet is written as `Nan`, which the format does not know.
    return { contentType: made.contentType, text: (await made.metrics()).replaceAll(' Nan\n', ' NaN\n') }
  }
}

async function createRegistry(metrics: Metrics): Promise<Registry> {
  const { Registry: PrometheusRegistry, collectDefaultMetrics } = (await import('prom-client')).default
  const registry = new PrometheusRegistry()
  for (const { name, help, type, samples } of familiesOf(metrics)) {
    // The registry asks a metric for nothing but this: numbers that we hold are read when the page is written.
    const metric = { name, help, type, aggregator: 'sum', get: async () => ({ name, help, type, values: samples() }) }
    registry.registerMetric(metric as unknown as Metric)
  }
  collectDefaultMetrics({ register: registry })
  return registry
}

function familiesOf(metrics: Metrics): readonly Family[] {
  return [
    histograms('causeway_ingest_stage_seconds', 'Time of an update in each stage.', 'stage', metrics.ingestSeconds),
    histogram('causeway_fsync_seconds', 'What the disk took of a group commit.', metrics.fsyncSeconds),
    histogram('causeway_batch_ops', 'Ops in one group commit.', metrics.batchOps),
    gauge('causeway_queue_bytes', 'Bytes accepted and not yet on disk.', () => metrics.queueBytes),
    gauge('causeway_open_documents', 'Documents held open.', () => metrics.openDocuments),
    gauge(
      'causeway_diverged_documents',
      'Documents that differ from a peer’s by the same ops.',
      () => metrics.divergedDocuments,
    ),
    gauge('causeway_waiting_requests', 'Requests that wait for other replicas.', () => metrics.waitingRequests),
    gauge('causeway_connections', 'Open WebSocket connections.', () => metrics.connections),
    numbers('causeway_refusals_total', 'Refusals, by error code.', 'counter', 'code', metrics.refusals),
    numbers('causeway_connection_events_total', 'What connections met.', 'counter', 'event', metrics.transportEvents),
    histograms('causeway_wait_seconds', 'Waits, by what was waited for.', 'cause', metrics.waitSeconds),
    tasks('causeway_worker_tasks_total', 'Tasks that document workers ended.', metrics, ({ count }) => count),
    tasks('causeway_worker_tasks_failed_total', 'Tasks among them that failed.', metrics, ({ failed }) => failed),
    tasks('causeway_worker_wait_seconds_total', 'Time that tasks waited.', metrics, ({ waitMs }) => waitMs / 1000),
    tasks('causeway_worker_run_seconds_total', 'Time that tasks ran.', metrics, ({ runMs }) => runMs / 1000),
    gauge('causeway_peers_linked', 'Peers that are linked.', () => metrics.peers.links),
    numbers('causeway_peer_events_total', 'What links to peers met.', 'counter', 'event', metrics.peers.events),
    numbers('causeway_peer_messages_sent_total', 'To peers.', 'counter', 'type', metrics.peers.messagesSent),
    numbers('causeway_peer_messages_received_total', 'From peers.', 'counter', 'type', metrics.peers.messagesReceived),
    numbers('causeway_peer_sent_bytes_total', 'To peers.', 'counter', 'type', metrics.peers.bytesSent),
    numbers('causeway_peer_received_bytes_total', 'From peers.', 'counter', 'type', metrics.peers.bytesReceived),
    histograms('causeway_http_request_seconds', 'HTTP requests, by status.', 'status', metrics.httpSeconds),
  ]
}

function gauge(name: string, help: string, read: () => number): Family {
  return { name, help, type: 'gauge', samples: () => [{ labels: {}, value: read() }] }
}

function tasks(name: string, help: string, metrics: Metrics, read: (totals: WorkerTaskTotals) => number): Family {
  const samples = () =>
    Object.entries(metrics.workerTasks()).map(([task, totals]) => ({ labels: { task }, value: read(totals) }))
  return { name, help, type: 'counter', samples }
}

function numbers(
  name: string,
  help: string,
  type: 'counter' | 'gauge',
  label: string,
  values: Readonly<Record<string, number>>,
): Family {
  const samples = () => Object.entries(values).map(([key, value]) => ({ labels: { [label]: key }, value }))
  return { name, help, type, samples }
}

function histogram(name: string, help: string, values: Histogram): Family {
  return { name, help, type: 'histogram', samples: () => samplesOf(name, {}, values) }
}

function histograms(name: string, help: string, label: string, values: Readonly<Record<string, Histogram>>): Family {
  const samples = () => Object.entries(values).flatMap(([key, value]) => samplesOf(name, { [label]: key }, value))
  return { name, help, type: 'histogram', samples }
}

/** Prometheus counts upwards: each bucket holds those below it, and the last everything. */
function samplesOf(name: string, labels: Readonly<Record<string, string>>, values: Histogram): readonly Sample[] {
  let below = 0
  const buckets = values.counts.map((count, index) => {
    below += count
    const le = values.bounds[index] ?? '+Inf'
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: below }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: values.sum },
    { metricName: `${name}_count`, labels, value: below },
  ]
}
