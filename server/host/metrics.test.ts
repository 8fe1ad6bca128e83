import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Histogram, Metrics } from './metrics.js'
import { createMetricsPage } from './metrics-page.js'

/** Reads the text format strictly: a line that does not belong to it fails the test. */
function parsePage(text: string): Map<string, number> {
  const samples = new Map<string, number>()
  const types = new Map<string, string>()
  const label = '[a-zA-Z_]\\w*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"'
  const sample = new RegExp(`^([a-zA-Z_:][\\w:]*)((?:\\{${label}(?:,${label})*\\})?) (\\S+)$`)
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue
    const type = /^# TYPE ([\w:]+) (counter|gauge|histogram|summary)$/.exec(line)
    if (type) {
      expect(types.has(type[1]!)).toBe(false)
      types.set(type[1]!, type[2]!)
      continue
    }
    const [, name, labels, value] = sample.exec(line) ?? []
    expect(name, line).toBeDefined()
    expect(types.has(name!) || types.has(name!.replace(/_(?:bucket|sum|count)$/, '')), line).toBe(true)
    expect(samples.has(`${name}${labels}`), line).toBe(false)
    expect(value, line).toMatch(/^(?:[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?|NaN|[+-]Inf)$/)
    samples.set(`${name}${labels}`, Number(value))
  }
  expect(text.endsWith('\n')).toBe(true)
  return samples
}

describe('the page of metrics', () => {
  test('is valid and shows what was counted', async () => {
    const metrics = new Metrics()
    const page = createMetricsPage(metrics)
    const zero = parsePage((await page()).text)
    expect(zero.get('causeway_fsync_seconds_count')).toBe(0)
    expect(zero.get('causeway_refusals_total{code="access/expired"}')).toBe(0)

    metrics.refused('access/expired')
    metrics.fsyncSeconds.observe(0.002)
    metrics.fsyncSeconds.observe(60)
    metrics.ingestSeconds.check.observe(0.0001)
    metrics.connections = 3
    metrics.workerTasks = () => ({ view: { count: 2, failed: 1, waitMs: 5, runMs: 250 } })
    metrics.queueBytes = 17
    metrics.answered(404, 0.01)
    metrics.answered(42, 0.01)
    metrics.peers.linked(2)
    metrics.peers.count('relinked')
    metrics.peers.sent('ops', 300)
    metrics.peers.sent('ops', 40)
    metrics.peers.received('durable', 7)

    const { contentType, text } = await page()
    expect(contentType).toMatch(/^text\/plain; version=/)
    const samples = parsePage(text)
    expect(samples.get('causeway_refusals_total{code="access/expired"}')).toBe(1)
    expect(samples.get('causeway_fsync_seconds_bucket{le="0.001"}')).toBe(0)
    expect(samples.get('causeway_fsync_seconds_bucket{le="0.0025"}')).toBe(1)
    expect(samples.get('causeway_fsync_seconds_bucket{le="+Inf"}')).toBe(2)
    expect(samples.get('causeway_fsync_seconds_sum')).toBeCloseTo(60.002)
    expect(samples.get('causeway_ingest_stage_seconds_bucket{stage="check",le="0.0001"}')).toBe(1)
    expect(samples.get('causeway_connections')).toBe(3)
    expect(samples.get('causeway_worker_run_seconds_total{task="view"}')).toBe(0.25)
    expect(samples.get('causeway_queue_bytes')).toBe(17)
    expect(samples.get('causeway_http_request_seconds_count{status="4xx"}')).toBe(1)
    expect(samples.get('causeway_peers_linked')).toBe(2)
    expect(samples.get('causeway_peer_events_total{event="relinked"}')).toBe(1)
    expect(samples.get('causeway_peer_messages_sent_total{type="ops"}')).toBe(2)
    expect(samples.get('causeway_peer_sent_bytes_total{type="ops"}')).toBe(340)
    expect(samples.get('causeway_peer_received_bytes_total{type="durable"}')).toBe(7)
    expect(samples.get('causeway_peer_messages_received_total{type="ops"}')).toBe(0)
    expect(samples.has('process_cpu_seconds_total')).toBe(true)
    expect(samples.has('nodejs_eventloop_lag_seconds')).toBe(true)
  })

  test('of two replicas in one process are apart', async () => {
    const [one, two] = [new Metrics(), new Metrics()]
    one.queueBytes = 1
    two.queueBytes = 2
    const pages = await Promise.all([one, two].map((metrics) => createMetricsPage(metrics)()))
    expect(pages.map(({ text }) => parsePage(text).get('causeway_queue_bytes'))).toEqual([1, 2])
  })
})

test('a histogram puts each observation into the first bucket that holds it', () => {
  const bounds = [1, 2, 5]
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 10, noNaN: true })), (values) => {
      const histogram = new Histogram(bounds)
      for (const value of values) histogram.observe(value)
      const upTo = (bound: number): number => values.filter((value) => value <= bound).length
      const counts = [upTo(1), upTo(2) - upTo(1), upTo(5) - upTo(2), values.length - upTo(5)]
      expect(histogram.counts).toEqual(counts)
      expect(histogram.sum).toBeCloseTo(values.reduce((sum, value) => sum + value, 0))
    }),
  )
})
