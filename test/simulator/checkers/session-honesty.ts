/**
 * I21, session honesty: no plain answer to a session stands on less than its token, and no answer lowers the token. Who
 * cannot give that refuses, or says that the session begins anew.
 */
import { type Checker, Findings } from '../observed.js'

export const checkSessionHonesty: Checker = ({ events, lineages, callAt }) => {
  const findings = new Findings('I21')
  for (const [at, event] of events.entries()) {
    if (event.type !== 'ok') continue
    const { request } = callAt.get(at)!
    if (request.type === 'read' && request.level === 'eventual') continue
    const sent = lineages.dense(event.sent)
    const short = lineages.excess(sent, lineages.dense(event.cut))
    if (short) findings.add(at, `the answer stands on less than the token, which has ${short}`)
    const kept = lineages.dense(event.token)
    const dropped = lineages.excess(sent, kept) ?? lineages.excess(lineages.dense(event.cut), kept)
    if (dropped) findings.add(at, `the token after the answer lacks ${dropped}`)
  }
  return findings.found
}
