/**
 * I1, dot uniqueness: one dot, one op, wherever it is accepted or delivered; each incarnation's seqs are gap-free and go
 * on where its predecessor's ended. Chain values stand for the ops: they hash all that came before, too.
 */
import { type Checker, Findings } from '../observed.js'

export const checkDots: Checker = ({ events, lineages }) => {
  const findings = new Findings('I1')
  const chains = new Map<string, string>()
  const accepted = lineages.zero()
  const shown = new Set<string>()
  for (const [at, event] of events.entries()) {
    if (event.type === 'send') shown.add(`${event.dot.origin}:${event.dot.seq}`)
    if (event.type === 'withdraw') {
      const key = `${event.dot.origin}:${event.dot.seq}`
      if (shown.has(key)) findings.add(at, `${lineages.format(event.dot)} is withdrawn after it was shown`)
      chains.delete(key)
      accepted[lineages.indexOf(event.dot.origin)]!--
      continue
    }
    if (event.type !== 'accept' && event.type !== 'deliver') continue
    const dot = lineages.format(event.dot)
    const key = `${event.dot.origin}:${event.dot.seq}`
    const known = chains.get(key)
    if (known === undefined && event.type === 'deliver') findings.add(at, `${dot} is delivered and nobody accepted it`)
    if (known !== undefined && known !== event.chain) findings.add(at, `${dot} names two ops`)
    chains.set(key, event.chain)
    if (event.type === 'deliver') {
      shown.add(key)
      continue
    }
    // The same op again is a duplicate acceptance: a dot that was used twice, though for the same.
    if (known === event.chain) findings.add(at, `${dot} is accepted twice`)
    const index = lineages.indexOf(event.dot.origin)
    const last = accepted[index] || lineages.baseOf(index)
    if (known === undefined && event.dot.seq !== last + 1) findings.add(at, `${dot} is accepted after seq ${last}`)
    accepted[index] = event.dot.seq
  }
  return findings.found
}
