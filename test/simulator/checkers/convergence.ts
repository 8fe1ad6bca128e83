/**
 * I11, convergence. At any moment: the same ops to a document make the same document. At the end, when all is healed and
 * quiet: all replicas have the same clock and hold the same writes, which are the acknowledged ones and some of those
 * whose outcome is unknown.
 */
import type { WriteId } from '../history.js'
import type { DenseVector } from '../lineages.js'
import { type Checker, Findings } from '../observed.js'

export const checkConvergence: Checker = ({ events, lineages, writes }) => {
  const findings = new Findings('I11')
  const fingerprints = new Map<string, string>()
  let first: { readonly by: string; readonly clock: DenseVector; readonly held: ReadonlySet<WriteId> } | undefined
  for (const [at, event] of events.entries()) {
    if (event.type === 'fingerprint') {
      const ops = `${event.document} ${event.digest}`
      const known = fingerprints.get(ops)
      if (known === undefined) fingerprints.set(ops, event.fingerprint)
      else if (known !== event.fingerprint) {
        findings.add(at, `${event.by} made another ${event.document} of the same ops`)
      }
    }
    if (event.type !== 'replica-settled') continue
    const settled = { by: event.by, clock: lineages.dense(event.clock), held: new Set(event.held) }
    if (!first) {
      first = settled
      for (const id of settled.held) {
        const outcome = writes.get(id)?.call.outcome
        if (outcome === undefined) findings.add(at, `${event.by} holds write ${id}, which was never made`)
        else if (outcome === 'refused') findings.add(at, `${event.by} holds write ${id}, which was refused`)
      }
      continue
    }
    const excess = lineages.excess(settled.clock, first.clock) ?? lineages.excess(first.clock, settled.clock)
    if (excess) findings.add(at, `${event.by} and ${first.by} end with different clocks: ${excess}`)
    for (const id of settled.held) if (!first.held.has(id)) findings.add(at, `${first.by} ends without write ${id}`)
    for (const id of first.held) if (!settled.held.has(id)) findings.add(at, `${event.by} ends without write ${id}`)
  }
  return findings.found
}
