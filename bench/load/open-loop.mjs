// Open loop: send times are fixed beforehand and do not wait for answers, so a slow server cannot slow its own test
// down. Latency counts from the scheduled time. The measured window is a part of the schedule; CPU is read when it
// begins and ends.
import { sample, usedBetween } from './sampling.mjs'

const tickMs = 1

/**
 * Sends `count` times at `timeOf(i)` (ms after the start, rising) and takes samples at the window's edges.
 * @param plan `{count, timeOf, send, from, to, pid}`; `from`/`to` in ms after the start
 * @returns `{startedAt, used, latestMs}`: `performance.now()` of the start, what the window used, and by how much the
 *   latest send missed its time
 */
export function runSchedule({ count, timeOf, send, from, to, pid, onStart, onWindow }) {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now() + 5
    let next = 0
    let latestMs = 0
    let begun
    let ended
    onStart(startedAt)
    const tick = () => {
      try {
        const now = performance.now() - startedAt
        if (!begun && now >= from) {
          begun = sample(pid)
          onWindow(true)
        }
        while (next < count && timeOf(next) <= now) {
          latestMs = Math.max(latestMs, now - timeOf(next))
          send(next++)
        }
        if (!ended && now >= to) {
          onWindow(false)
          ended = sample(pid)
        }
        if (next < count || !ended) setTimeout(tick, tickMs)
        else resolve({ startedAt, used: usedBetween(begun, ended), latestMs })
      } catch (error) {
        reject(error)
      }
    }
    setTimeout(tick, 5)
  })
}

/** Waits until `isDone()`, at most `limitMs`. */
export async function waitUntil(isDone, limitMs, everyMs = 10) {
  const deadline = performance.now() + limitMs
  while (!isDone() && performance.now() < deadline) await pause(everyMs)
  return isDone()
}

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
