// Many documents with two clients each, both typing slowly: what a busy server really sees.
import { readClocks } from '../clocks.mjs'
import { Histogram } from '../histogram.mjs'
import { pause, runSchedule, waitUntil } from '../open-loop.mjs'
import { kinds } from '../protocols.mjs'
import { inParallel, Session } from '../session.mjs'
import { Frames, seeded, typedUpdates } from '../updates.mjs'

const openAtOnce = 50
const quietMs = 200

/**
 * @param task `{target, pid, prefix, documents, rate, leadSeconds, seconds, drainSeconds}`; every typist sends `rate`
 *   updates a second, at a phase of its own; a delivery is the other typist's character
 * @returns as for `fanout`
 */
export async function many({ target, pid, prefix, documents, rate, leadSeconds, seconds, drainSeconds }) {
  const typists = documents * 2
  const periodMs = 1000 / rate
  const each = Math.round(rate * (leadSeconds + seconds))
  const firstMeasured = Math.round(rate * leadSeconds)
  const random = seeded(documents)
  // Sorted phases: update `index` is character floor(index / typists) of typist index % typists, and times only rise.
  const phases = Array.from({ length: typists }, () => random() * periodMs).sort((a, b) => a - b)
  const order = shuffled(typists, random)
  const phaseOf = new Float64Array(typists)
  for (let slot = 0; slot < typists; slot++) phaseOf[order[slot]] = phases[slot]
  const timeOf = (index) => Math.floor(index / typists) * periodMs + phases[index % typists]

  const firstClient = 3_000_000_001
  const documentOf = (typist) => `${prefix}${typist >> 1}`
  const frames = order.map((_, typist) =>
    Frames.of(target, documentOf(typist), typedUpdates(firstClient + typist, each)),
  )

  const latencies = new Histogram()
  const clocks = new Uint32Array(typists)
  let startedAt = 0
  let inWindow = false
  let deliveries = 0
  let received = 0
  let windowFrames = 0
  let lost = 0
  let closed = 0

  let receiver = 0
  let now = 0
  const onRange = (client, from, to) => {
    const author = client - firstClient
    if (author === receiver) return
    if (author !== (receiver ^ 1)) throw new Error(`typist ${receiver} received an update of ${author}`)
    const next = clocks[receiver]
    if (to <= next) return
    if (from > next) lost += from - next
    clocks[receiver] = to
    for (let clock = Math.max(from, next); clock < to; clock++) {
      received++
      if (inWindow) deliveries++
      if (clock >= firstMeasured) latencies.record(now - startedAt - clock * periodMs - phaseOf[author])
    }
  }
  let updateFrames = 0
  const sessions = await inParallel(typists, openAtOnce, (typist) =>
    Session.open(target, documentOf(typist), {
      onMessage(kind, bytes, start, end) {
        if (kind !== kinds.update) return
        updateFrames++
        receiver = typist
        now = performance.now()
        readClocks(bytes, start, end, onRange)
      },
      onClose: () => {
        closed++
      },
    }),
  )
  await pause(quietMs)

  const { used, latestMs } = await runSchedule({
    count: typists * each,
    timeOf,
    send: (index) => {
      const typist = order[index % typists]
      sessions[typist].send(frames[typist].slice(Math.floor(index / typists)))
    },
    from: leadSeconds * 1000,
    to: (leadSeconds + seconds) * 1000,
    pid,
    onStart: (at) => {
      startedAt = at
    },
    onWindow: (begins) => {
      inWindow = begins
      windowFrames = begins ? updateFrames : updateFrames - windowFrames
    },
  })
  await waitUntil(() => received + lost >= typists * each, drainSeconds * 1000)
  // What never came is later than everything that did.
  const waitedMs = performance.now() - startedAt
  for (let typist = 0; typist < typists; typist++) {
    for (let late = Math.max(clocks[typist], firstMeasured); late < each; late++) {
      latencies.record(waitedMs - late * periodMs - phaseOf[typist ^ 1])
    }
  }
  for (const session of sessions) session.close()

  return {
    demandPerSecond: typists * rate,
    deliveriesPerSecond: (deliveries * 1000) / used.ms,
    framesPerSecond: (windowFrames * 1000) / used.ms,
    cpuUsPerDelivery: (used.serverMs * 1000) / deliveries,
    serverPct: used.serverPct,
    generatorPct: used.generatorPct,
    otherPct: used.otherPct,
    rssMiB: used.rssMiB,
    p50Ms: latencies.percentile(0.5),
    p99Ms: latencies.percentile(0.99),
    missing: typists * each - received,
    closed,
    sendLateMs: latestMs,
  }
}

function shuffled(count, random) {
  const order = Array.from({ length: count }, (_, index) => index)
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[order[i], order[j]] = [order[j], order[i]]
  }
  return order
}
