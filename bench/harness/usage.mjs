// CPU time and memory of a server from /proc: all its threads, and its children. The sum of user and system time is
// exact to one clock tick (10 ms), unlike its two parts.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
const msPerTick = 1000 / ticksPerSecond

/** CPU ms that the process, its threads, its living descendants and its ended children have used. */
export function cpuMs(pid) {
  const fields = statFields(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  let ticks = 0
  for (const field of [11, 12, 13, 14]) ticks += Number(fields[field])
  let total = ticks * msPerTick
  for (const child of childrenOf(pid)) total += cpuMs(child)
  return total
}

/** Resident memory of the process and its descendants in KiB. */
export function residentKiB(pid) {
  const own = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  if (!own) throw new Error(`process ${pid} has no resident memory: it has ended`)
  return childrenOf(pid).reduce((sum, child) => sum + residentKiB(child), Number(own[1]))
}

/** CPU ms that all processes of the machine have used since it started. */
export function machineCpuMs() {
  const [, user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0].split(/\s+/)
  return (Number(user) + Number(nice) + Number(system) + Number(irq) + Number(softirq)) * msPerTick
}

export const cores = availableParallelism()

/** The fields behind the command name, which may itself hold spaces and brackets. */
function statFields(stat) {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

function childrenOf(pid) {
  const children = []
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      children.push(...readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean))
    } catch (error) {
      // A thread may end between the two reads.
      if (error.code !== 'ENOENT' && error.code !== 'ESRCH') throw error
    }
  }
  return children
}
