/**
 * I4, clock honesty: what a replica serves at a clock is exactly the ops under that clock that touch the documents, no
 * more and no fewer.
 */
import type { WriteId } from '../history.js'
import { type Checker, Findings, Marks } from '../observed.js'

interface Touch {
  readonly index: number
  readonly seq: number
  readonly id: WriteId
}

export const checkClockHonesty: Checker = ({ events, lineages, accepts, idEnd }) => {
  const findings = new Findings('I4')
  const touches = new Map<string, Touch[]>()
  for (const event of accepts.values()) {
    if (event.id === undefined) continue
    const touch = { index: lineages.indexOf(event.dot.origin), seq: event.dot.seq, id: event.id }
    for (const document of event.documents) {
      const known = touches.get(document)
      if (known) known.push(touch)
      else touches.set(document, [touch])
    }
  }
  const served = new Marks(idEnd)
  const due = new Marks(idEnd)
  for (const [at, event] of events.entries()) {
    if (event.type !== 'serve') continue
    const clock = lineages.dense(event.clock)
    for (const [document, ids] of event.contents.writes) {
      served.clear()
      for (const id of ids) {
        if (!served.add(id)) findings.add(at, `${event.by} serves write ${id} of ${document} twice`)
      }
      due.clear()
      // One write may have several dots: its client has offered it again elsewhere.
      for (const { index, seq, id } of touches.get(document) ?? []) if (seq <= clock[index]!) due.add(id)
      for (const id of ids) {
        if (!due.has(id))
          findings.add(at, `${event.by} serves write ${id} of ${document}, which its clock does not cover`)
      }
      for (const { index, seq, id } of touches.get(document) ?? []) {
        if (seq <= clock[index]! && !served.has(id)) {
          findings.add(at, `${event.by} serves ${document} without write ${id}, which its clock covers`)
        }
      }
    }
  }
  return findings.found
}
