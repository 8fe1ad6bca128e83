// What a window of a measurement used: the server's CPU, the load process's own, and everything else on the machine.
import { cpuMs, machineCpuMs, residentKiB } from '../harness/usage.mjs'

/** A moment: read the same counters again later and compare with `usedBetween`. */
export function sample(pid) {
  const own = process.cpuUsage()
  return {
    at: performance.now(),
    server: cpuMs(pid),
    own: (own.user + own.system) / 1000,
    machine: machineCpuMs(),
    residentKiB: residentKiB(pid),
  }
}

/**
 * @returns `{ms, serverMs, serverPct, generatorPct, otherPct, rssMiB}`: elapsed and CPU ms, percentages of one core,
 *   and the server's memory at the end
 */
export function usedBetween(begun, ended) {
  const ms = ended.at - begun.at
  const serverMs = ended.server - begun.server
  const ownMs = ended.own - begun.own
  const otherMs = Math.max(0, ended.machine - begun.machine - serverMs - ownMs)
  const percent = (cpu) => (100 * cpu) / ms
  return {
    ms,
    serverMs,
    serverPct: percent(serverMs),
    generatorPct: percent(ownMs),
    otherPct: percent(otherMs),
    rssMiB: ended.residentKiB / 1024,
  }
}
