/**
 * I2, causal delivery: an op takes effect only where the ops before it of its origin and all that it depends on have;
 * and it depends on exactly what its acceptor had then. I15, red before blue: the same for coordination entries, which
 * take effect in order and are the same everywhere.
 */
import type { HistoryEvent } from '../history.js'
import { type DenseVector, joinInto, type Lineages } from '../lineages.js'
import { type Accept, type Checker, Findings, keyOf } from '../observed.js'

export const checkCausalDelivery: Checker = ({ events, lineages, accepts }) => {
  const findings = new Findings('I2')
  /** With what is on its way to the log. */
  const ahead = new Map<string, DenseVector>()
  replayClocks(events, lineages, (at, event, clock) => {
    if (event.type === 'taken') {
      const taken = ahead.get(event.by) ?? clock.slice()
      ahead.set(event.by, taken)
      lineages.raise(taken, lineages.indexOf(event.dot.origin), event.dot.seq)
    } else if (event.type === 'rewound' || event.type === 'start') ahead.delete(event.by)
    if (event.type === 'accept') {
      const taken = ahead.get(event.by)
      const had = taken ? taken.slice() : clock
      if (taken) joinInto(had, clock)
      const difference = dependsOnAll(event, had, lineages)
      if (difference) findings.add(at, `${lineages.format(event.dot)} ${difference}`)
    }
    if (event.type !== 'deliver') return
    const accept = accepts.get(keyOf(event.dot))
    if (!accept) return // I1 speaks of it.
    const index = lineages.indexOf(event.dot.origin)
    const last = clock[index] || lineages.baseOf(index)
    if (event.dot.seq !== last + 1) findings.add(at, `${lineages.format(event.dot)} is delivered after seq ${last}`)
    const missing = excessOf(lineages, lineages.dense(accept.deps), clock, (entry) => !lineages.isCoordination(entry))
    if (missing) findings.add(at, `${lineages.format(event.dot)} is delivered before ${missing}, which it depends on`)
  })
  return findings.found
}

export const checkRedBeforeBlue: Checker = ({ events, lineages, accepts }) => {
  const findings = new Findings('I15')
  const entries = new Map<string, string>()
  replayClocks(events, lineages, (at, event, clock) => {
    if (event.type === 'deliver') {
      const accept = accepts.get(keyOf(event.dot))
      const deps = accept && lineages.dense(accept.deps)
      const missing = deps && excessOf(lineages, deps, clock, (entry) => lineages.isCoordination(entry))
      if (missing) findings.add(at, `${lineages.format(event.dot)} is delivered before coordination entry ${missing}`)
    }
    if (event.type !== 'coordinate') return
    const name = lineages.format({ origin: event.origin, seq: event.index })
    const last = clock[lineages.indexOf(event.origin)]!
    if (event.index !== last + 1) findings.add(at, `${name} takes effect after entry ${last}`)
    const known = entries.get(name)
    if (known !== undefined && known !== event.entry) findings.add(at, `${name} is another entry here than elsewhere`)
    entries.set(name, event.entry)
  })
  return findings.found
}

/** Calls `look` with each event of a replica and the replica's clock just before it. */
function replayClocks(
  events: readonly HistoryEvent[],
  lineages: Lineages,
  look: (at: number, event: HistoryEvent, clock: DenseVector) => void,
): void {
  const clocks = new Map<string, DenseVector>()
  for (const [at, event] of events.entries()) {
    let clock = clocks.get(event.by)
    if (!clock) {
      clock = lineages.zero()
      clocks.set(event.by, clock)
    }
    look(at, event, clock)
    if (event.type === 'start') clocks.set(event.by, lineages.dense(event.clock).slice())
    else if (event.type === 'install') joinInto(clock, lineages.dense(event.clock))
    else if (event.type === 'deliver') lineages.raise(clock, lineages.indexOf(event.dot.origin), event.dot.seq)
    else if (event.type === 'coordinate') lineages.raise(clock, lineages.indexOf(event.origin), event.index)
  }
}

/** What is wrong with the deps of an op that is accepted at `clock`. Its own origin is implied: seq - 1. */
function dependsOnAll({ dot, deps }: Accept, clock: DenseVector, lineages: Lineages): string | undefined {
  const own = lineages.indexOf(dot.origin)
  const complete = (vector: DenseVector): DenseVector => {
    const copy = vector.slice()
    lineages.raise(copy, own, dot.seq - 1)
    copy[own] = 0
    return copy
  }
  const named = complete(lineages.dense(deps))
  const had = complete(clock)
  const missing = lineages.excess(had, named)
  if (missing) return `does not depend on ${missing}, which its acceptor had`
  const surplus = lineages.excess(named, had)
  return surplus && `depends on ${surplus}, which its acceptor did not have`
}

function excessOf(
  lineages: Lineages,
  lower: DenseVector,
  upper: DenseVector,
  counts: (index: number) => boolean,
): string | undefined {
  for (let index = 0; index < lower.length; index++) {
    if (lower[index]! > upper[index]! && counts(index)) {
      return lineages.format({ origin: lineages.origins[index]!, seq: lower[index]! })
    }
  }
  return undefined
}
