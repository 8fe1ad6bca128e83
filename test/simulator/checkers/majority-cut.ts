/**
 * I17, soundness of the majority-durable cut: when a replica announces that a majority of the members has something on
 * disk, so it is, with all that it depends on. A disk that is replaced later takes nothing back: a promise that survives
 * the loss of any minority is kept by those that are left.
 */
import type { HistoryEvent } from '../history.js'
import { type DenseVector, joinInto } from '../lineages.js'
import { type Checker, Findings, type Observed } from '../observed.js'

export const checkMajorityCut: Checker = (observed) => {
  const findings = new Findings('I17')
  const { accepts, lineages } = observed
  const deps: DenseVector[][] = lineages.origins.map(() => [])
  for (const { dot, deps: vector } of accepts.values()) {
    deps[lineages.indexOf(dot.origin)]![dot.seq] = lineages.dense(vector)
  }
  const examined = lineages.zero()
  replayDurable(observed, (at, event, isMajorityDurable) => {
    if (event.type !== 'majority-cut') return
    const cut = lineages.dense(event.cut)
    const lacking = isMajorityDurable(cut)
    if (lacking) findings.add(at, `${event.by} announces ${lacking}, and no majority has it on disk`)
    for (let index = 0; index < cut.length; index++) {
      for (let seq = examined[index]! + 1; seq <= cut[index]!; seq++) {
        const missing = deps[index]![seq] && lineages.excess(deps[index]![seq]!, cut)
        const dot = lineages.format({ origin: lineages.origins[index]!, seq })
        if (missing) findings.add(at, `${event.by} announces ${dot} without ${missing}, which it depends on`)
      }
    }
    joinInto(examined, cut)
  })
  return findings.found
}

type IsMajorityDurable = (vector: DenseVector) => string | undefined

/**
 * Calls `look` with each event and with the question what of a vector a majority of the members never had on disk.
 * Coordination entries are durable by their own rules and do not count.
 */
export function replayDurable(
  { events, lineages, history }: Observed,
  look: (at: number, event: HistoryEvent, isMajorityDurable: IsMajorityDurable) => void,
): void {
  let members = history.members
  const durable = new Map<string, DenseVector>()
  const isMajorityDurable = (vector: DenseVector): string | undefined => {
    const majority = Math.floor(members.length / 2) + 1
    for (let index = 0; index < vector.length; index++) {
      if (vector[index] === 0 || lineages.isCoordination(index)) continue
      let holders = 0
      for (const member of members) if ((durable.get(member)?.[index] ?? 0) >= vector[index]!) holders++
      if (holders < majority) return lineages.format({ origin: lineages.origins[index]!, seq: vector[index]! })
    }
    return undefined
  }
  for (const [at, event] of events.entries()) {
    look(at, event, isMajorityDurable)
    if (event.type === 'members') members = event.members
    if (event.type !== 'durable' && event.type !== 'start') continue
    const known = durable.get(event.by)
    if (known) joinInto(known, lineages.dense(event.clock))
    else durable.set(event.by, lineages.dense(event.clock).slice())
  }
}
