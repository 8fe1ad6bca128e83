/**
 * I20, fresh reads: a read at level `fresh` shows every write whose majority acknowledgement had reached its client
 * before the read began, and all that fresh reads showed which had returned by then.
 */
import type { WriteId } from '../history.js'
import { type Checker, Findings, Marks } from '../observed.js'

export const checkFreshReads: Checker = ({ events, writes, reads, callAt, idEnd }) => {
  const findings = new Findings('I20')
  const returned = new Map(reads.filter(({ level }) => level === 'fresh').map((read) => [read.returned, read]))
  /** By document, in the order in which they became due; a fresh read owes what is due when it begins. */
  const due = new Map<string, WriteId[]>()
  const isDue = new Map<string, Set<WriteId>>()
  const owed = new Map<number, ReadonlyMap<string, number>>()
  const shown = new Marks(idEnd)
  const become = (document: string, id: WriteId): void => {
    const known = isDue.get(document) ?? new Set()
    isDue.set(document, known)
    if (known.has(id)) return
    known.add(id)
    const list = due.get(document) ?? []
    due.set(document, list)
    list.push(id)
  }
  for (const [at, event] of events.entries()) {
    if (event.type === 'saved') {
      for (const document of writes.get(event.id)?.documents ?? []) become(document, event.id)
    } else if (event.type === 'invoke' && event.request.type === 'read' && event.request.level === 'fresh') {
      owed.set(at, new Map(event.request.documents.map((document) => [document, due.get(document)?.length ?? 0])))
    }
    const read = returned.get(at)
    if (!read) continue
    for (const [document, ids] of read.contents.writes) {
      shown.clear()
      for (const id of ids) shown.add(id)
      const count = owed.get(callAt.get(at)!.invoked)?.get(document) ?? 0
      for (const id of (due.get(document) ?? []).slice(0, count)) {
        if (!shown.has(id))
          findings.add(at, `a fresh read of ${document} lacks write ${id}, saved or freshly read before`)
      }
      for (const id of ids) become(document, id)
    }
  }
  return findings.found
}
