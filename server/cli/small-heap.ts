/**
 * Keeps the heap as small as what it holds. A server with thousands of small, long-lived connections would otherwise pay
 * twice for each burst of them:
 *
 * - V8's young generation grows to 48 MiB once some collections are survived, and is given back late or never. It stays
 *   at its first size here; what an update allocates dies young, so small collections are no slower (fan-out gets
 *   cheaper, as the young generation stays in the processor's cache).
 * - The old generation is collected when it has grown by a good part, so after a burst half of it may be garbage for as
 *   long as it stays quiet. An idle process has the tens of milliseconds that a collection takes.
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

export function keepHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
  let before = performance.eventLoopUtilization()
  let keptBytes = 0
  let collect: (() => void) | undefined
  setInterval(() => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, before)
    before = now
    const { heapUsed } = process.memoryUsage()
    if (utilization > IDLE_UTILIZATION || heapUsed > HEAP_LIMIT_BYTES || heapUsed - keptBytes < WORTH_BYTES) return
    collect ??= findCollector()
    collect()
    keptBytes = process.memoryUsage().heapUsed
  }, LOOK_EVERY_MS).unref()
}

function findCollector(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}
