// One document, one writer, many readers: how many deliveries a second, how late, at what cost.
import { DeliveryLog, Follower } from '../delivery-log.mjs'
import { Histogram } from '../histogram.mjs'
import { pause, runSchedule, waitUntil } from '../open-loop.mjs'
import { protocols } from '../protocols.mjs'
import { inParallel, Session } from '../session.mjs'
import { Frames, typedUpdates } from '../updates.mjs'

const openAtOnce = 25
const quietMs = 200

/**
 * @param task `{target, readersAt, pid, document, client, readers, rate, leadSeconds, seconds, drainSeconds}`; updates go
 *   out at `rate` a second for lead and window, and only the window is measured; readers may be at another replica
 * @returns what arrived in the window and what it cost; latencies are of the updates scheduled in it, those that did not
 *   arrive counted as long as they were waited for; `missing` counts over all updates and readers after the drain
 */
export async function fanout(task) {
  const { target, readersAt = target, pid, document, client, readers, rate, leadSeconds, seconds, drainSeconds } = task
  const protocol = protocols[target.protocol]
  const count = Math.round(rate * (leadSeconds + seconds))
  const timeOf = (index) => (index * 1000) / rate
  const firstMeasured = Math.round(rate * leadSeconds)
  const updates = typedUpdates(client, count)
  const frames = Frames.of(target, document, updates)

  const closed = []
  const listener = { onClose: (reason) => closed.push(reason) }
  const sessions = await inParallel(readers, openAtOnce, () => Session.open(readersAt, document, listener))
  const writer = await Session.open(target, document, listener)
  await pause(quietMs)

  const latencies = new Histogram()
  const log = new DeliveryLog(protocol, client)
  let startedAt = 0
  let inWindow = false
  let deliveries = 0
  const followers = sessions.map(
    (session) =>
      new Follower(log, session, (from, to, now) => {
        if (inWindow) deliveries += to - from
        for (let clock = Math.max(from, firstMeasured); clock < to; clock++) {
          latencies.record(now - startedAt - timeOf(clock))
        }
      }),
  )
  const framesSoFar = () => followers.reduce((sum, follower) => sum + follower.frames, 0)
  let windowFrames = 0

  const { used, latestMs } = await runSchedule({
    count,
    timeOf,
    send: (index) => writer.send(frames.slice(index)),
    from: leadSeconds * 1000,
    to: (leadSeconds + seconds) * 1000,
    pid,
    onStart: (at) => {
      startedAt = at
    },
    onWindow: (begins) => {
      inWindow = begins
      windowFrames = begins ? framesSoFar() : framesSoFar() - windowFrames
    },
  })
  await waitUntil(() => followers.every((follower) => follower.clock === count), drainSeconds * 1000)
  // What never came is later than everything that did; leaving it out would flatter a server that falls behind.
  const waitedMs = performance.now() - startedAt
  for (const { clock } of followers) {
    for (let late = Math.max(clock, firstMeasured); late < count; late++) latencies.record(waitedMs - timeOf(late))
  }
  const missing = followers.reduce((sum, follower) => sum + count - follower.clock + follower.lost, 0)
  for (const session of [...sessions, writer]) session.close()

  return {
    demandPerSecond: rate * readers,
    deliveriesPerSecond: (deliveries * 1000) / used.ms,
    framesPerSecond: (windowFrames * 1000) / used.ms,
    deliveriesPerCpuSecond: deliveries / (used.serverMs / 1000),
    cpuUsPerDelivery: (used.serverMs * 1000) / deliveries,
    serverPct: used.serverPct,
    generatorPct: used.generatorPct,
    otherPct: used.otherPct,
    rssMiB: used.rssMiB,
    p50Ms: latencies.percentile(0.5),
    p99Ms: latencies.percentile(0.99),
    missing,
    duplicates: followers.reduce((sum, follower) => sum + follower.duplicates, 0),
    closed: closed.length,
    sendLateMs: latestMs,
    sent: { updates: count, updateBytes: updates.reduce((sum, { length }) => sum + length, 0) },
  }
}
