// Small updates in many documents, to one replica: as many as it takes, or at a rate, with the delay of each
// acknowledgement. Acknowledgements come in the order of the updates, so the n-th is that of the n-th.
import { Histogram } from '../histogram.mjs'
import { pause, runSchedule, waitUntil } from '../open-loop.mjs'
import { kinds } from '../protocols.mjs'
import { inParallel, Session } from '../session.mjs'
import { Frames, typedUpdates } from '../updates.mjs'

const openAtOnce = 50
const quietMs = 300
const framesPerWrite = 16
const keepAliveMs = 15_000

/**
 * Types `each` characters into each of `documents` documents, one update for each, as fast as they are acknowledged.
 * @param task `{target, prefix, client, documents, each, window, limitSeconds}`; `window`: updates under way per document
 * @returns `{updates, updateBytes, ms}`: from the first send to the last acknowledgement
 */
export async function pour({ target, prefix, client, documents, each, window, limitSeconds }) {
  const typed = typedUpdates(client, each)
  let acknowledgedInAll = 0
  const writers = await inParallel(documents, openAtOnce, async (index) => {
    const document = `${prefix}${index}`
    const frames = Frames.of(target, document, typed)
    let sent = 0
    let taken = 0
    const fill = () => {
      // A write for several updates, once enough of them may go.
      if (taken + window - sent < Math.min(framesPerWrite, window, each - sent)) return
      const until = Math.min(each, taken + window)
      if (until > sent) session.send(frames.slice(sent, until))
      sent = until
    }
    const session = await Session.open(target, document, {
      onMessage(kind, _bytes, _start, _end, wasReady) {
        if (kind !== kinds.ack || !wasReady) return
        taken++
        acknowledgedInAll++
        fill()
      },
    })
    return { session, fill }
  })
  await pause(quietMs)
  const updates = documents * each
  const keepAlive = setInterval(() => {
    for (const { session } of writers) session.keepAlive()
  }, keepAliveMs)
  const startedAt = performance.now()
  for (const { fill } of writers) fill()
  const isDone = await waitUntil(() => acknowledgedInAll >= updates, limitSeconds * 1000, 1)
  const ms = performance.now() - startedAt
  clearInterval(keepAlive)
  for (const { session } of writers) session.close()
  if (!isDone) throw new Error(`${acknowledgedInAll} of ${updates} updates acknowledged in ${limitSeconds} s`)
  return { updates, updateBytes: documents * typed.reduce((sum, { length }) => sum + length, 0), ms }
}

/**
 * `clients` typists, each in a document of its own, at `rate` updates a second each; when they are acknowledged.
 * @param task `{target, pid, prefix, client, clients, rate, leadSeconds, seconds, drainSeconds}`
 * @returns `{p50Ms, p99Ms, missing, …}`: delays from the scheduled time, of the updates after the lead
 */
export async function acknowledged({ target, pid, prefix, client, clients, rate, leadSeconds, seconds, drainSeconds }) {
  const each = Math.round(rate * (leadSeconds + seconds))
  const count = clients * each
  const timeOf = (index) => (index * 1000) / (rate * clients)
  const firstMeasured = Math.round(rate * leadSeconds) * clients
  const typed = typedUpdates(client, each)
  const latencies = new Histogram()
  let startedAt = 0
  let received = 0
  const writers = await inParallel(clients, openAtOnce, async (writer) => {
    const document = `${prefix}${writer}`
    let taken = 0
    const session = await Session.open(target, document, {
      onMessage(kind, _bytes, _start, _end, wasReady) {
        if (kind !== kinds.ack || !wasReady) return
        const index = taken++ * clients + writer
        received++
        if (index >= firstMeasured) latencies.record(performance.now() - startedAt - timeOf(index))
      },
    })
    return { session, frames: Frames.of(target, document, typed) }
  })
  await pause(quietMs)
  const { used } = await runSchedule({
    count,
    timeOf,
    send: (index) => {
      const { session, frames } = writers[index % clients]
      session.send(frames.slice(Math.floor(index / clients)))
    },
    from: leadSeconds * 1000,
    to: (leadSeconds + seconds) * 1000,
    pid,
    onStart: (at) => {
      startedAt = at
    },
    onWindow: () => {},
  })
  await waitUntil(() => received >= count, drainSeconds * 1000)
  for (const { session } of writers) session.close()
  return {
    p50Ms: latencies.percentile(0.5),
    p99Ms: latencies.percentile(0.99),
    missing: count - received,
    otherPct: used.otherPct,
  }
}
