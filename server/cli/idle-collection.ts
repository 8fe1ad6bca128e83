/**
 * Gives memory back when nothing happens. V8 collects its old generation when that has grown by a good part, so after a
 * burst of connections half of what a server holds may be garbage, for as long as it stays quiet: with thousands of
 * small, long-lived connections that is most of what they cost. A full collection of a heap of this size takes some tens
 * of milliseconds; an idle process has them.
 *
 * Only the command does this: a program that embeds a replica decides about its own heap.
 */
import { performance } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const LOOK_EVERY_MS = 1_000
/** Busy time in a look below which the process counts as idle. */
const IDLE_UTILIZATION = 0.05
/** Growth since the last collection that makes another worth it. */
const WORTH_BYTES = 4 * 1024 * 1024
/** Above this a collection takes longer than anybody should wait, idle or not. */
const HEAP_LIMIT_BYTES = 256 * 1024 * 1024

export function collectWhenIdle(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  let before = performance.eventLoopUtilization()
  let keptBytes = 0
  setInterval(() => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, before)
    before = now
    const { heapUsed } = process.memoryUsage()
    if (utilization > IDLE_UTILIZATION || heapUsed > HEAP_LIMIT_BYTES || heapUsed - keptBytes < WORTH_BYTES) return
    collect()
    keptBytes = process.memoryUsage().heapUsed
  }, LOOK_EVERY_MS).unref()
}
