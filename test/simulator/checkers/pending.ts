/** I19, nothing pending: no delivery leaves a document with parts that wait for others. */
import { type Checker, Findings } from '../observed.js'

export const checkPending: Checker = ({ events }) => {
  const findings = new Findings('I19')
  for (const [at, event] of events.entries()) {
    if (event.type !== 'pending') continue
    findings.add(
      at,
      `${event.by} has ${event.structs} structs and ${event.deletes} deletes of ${event.document} that wait`,
    )
  }
  return findings.found
}
