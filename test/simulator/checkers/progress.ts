/**
 * I13, progress: a request with a deadline is answered by then, give or take a second; every call of a client that lives
 * is answered in the end; and when all is healed nothing waits for ever.
 */
import { type Checker, Findings } from '../observed.js'

const GRACE_MS = 1_000

export const checkProgress: Checker = ({ events, calls, sessions }) => {
  const findings = new Findings('I13')
  const end = events.findIndex(({ type }) => type === 'replica-settled')
  const gone = new Set(events.filter(({ type }) => type === 'gone').map(({ by }) => by))
  for (const call of calls) {
    const { request, invoked, settled, deadlineMs } = call
    const what = request.type === 'write' ? `write ${request.id}` : request.type
    if (settled === undefined) {
      const client = sessions[call.session]!.split('+')[0]!
      if (end >= 0 && !gone.has(client)) findings.add(invoked, `${what} is never answered`)
      continue
    }
    const tookMs = events[settled]!.atMs - events[invoked]!.atMs
    if (deadlineMs !== undefined && tookMs > deadlineMs + GRACE_MS) {
      findings.add(settled, `${what} is answered after ${tookMs} ms, its deadline was ${deadlineMs} ms`)
    }
  }
  for (const [at, event] of events.entries()) {
    if (event.type === 'replica-settled' && event.waiting > 0) {
      findings.add(at, `${event.by} ends with ${event.waiting} ops or requests that wait`)
    }
    if (event.type === 'client-settled' && event.outbox > 0) {
      findings.add(at, `${event.by} ends with ${event.outbox} writes in its outbox`)
    }
  }
  return findings.found
}
