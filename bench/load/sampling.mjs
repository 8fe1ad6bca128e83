// What a window of a measurement used: the server's CPU, the load process's own, and everything else on the machine.
import { cpuMs, machineCpuMs, residentKiB } from '../harness/usage.mjs'

/** A moment: read the same counters again later and compare with `usedBetween`. `pid`: of the server, or of all its processes. */
export function sample(pid) {
  const pids = [pid].flat()
  const own = process.cpuUsage()
  return {
    at: performance.now(),
    server: sum(pids.map(cpuMs)),
    own: (own.user + own.system) / 1000,
    machine: machineCpuMs(),
    residentKiB: sum(pids.map(residentKiB)),
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

function sum(values) {
  return values.reduce((total, value) => total + value, 0)
}
