/**
 * I16, blue before red: a proposal is let through only when a majority has on disk what its session had seen; and who
 * has read a claim gets no answer any more that lacks what preceded it, unless told so.
 */
import { type DenseVector, joinInto } from '../lineages.js'
import { type Checker, Findings } from '../observed.js'
import { replayDurable } from './majority-cut.js'

export const checkBlueBeforeRed: Checker = (observed) => {
  const findings = new Findings('I16')
  const { events, lineages } = observed
  replayDurable(observed, (at, event, isMajorityDurable) => {
    if (event.type !== 'propose') return
    const lacking = isMajorityDurable(lineages.dense(event.deps))
    if (lacking) findings.add(at, `a proposal for ${event.key} is let through before a majority has ${lacking}`)
  })
  const owed = new Map<number, DenseVector>()
  /** What was owed when a call began: answers that overlap owe one another nothing. */
  const begun = new Map<number, DenseVector>()
  const marked = new Map<string, number>()
  for (const [at, event] of events.entries()) {
    if (event.type === 'marked') marked.set(event.by, at)
    const call = observed.callAt.get(at)
    if (!call) continue
    if (event.type === 'invoke') {
      const debt = owed.get(call.session)
      if (debt) begun.set(call.invoked, debt.slice())
    }
    if (event.type !== 'ok') continue
    const { request } = call
    // A call that a mark overtook is answered to the session after it.
    const debt = (marked.get(event.by) ?? -1) > call.invoked ? undefined : begun.get(call.invoked)
    const isBound = request.type === 'read' ? request.level !== 'eventual' : request.type === 'write'
    const lacking = isBound && debt && lineages.excess(debt, lineages.dense(event.cut))
    if (lacking) findings.add(at, `the answer lacks ${lacking}, which preceded a claim that was read`)
    if (event.response.type === 'claim' && event.response.deps) {
      const total = owed.get(call.session) ?? lineages.zero()
      joinInto(total, lineages.dense(event.response.deps))
      owed.set(call.session, total)
    }
  }
  return findings.found
}
