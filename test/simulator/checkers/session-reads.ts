/**
 * I5, read your writes, and I6, monotonic reads: a read contains what its session wrote and was told of, and what it read
 * before, of the same document. Writes and reads that overlap in time are not compared.
 */
import type { WriteId } from '../history.js'
import { type Checker, Findings, Marks, type Observed, type Read } from '../observed.js'

export const checkReadYourWrites: Checker = (observed) => {
  const findings = new Findings('I5')
  // By session and document: answered writes, in the order of the answers.
  const written = new Map<string, { readonly id: WriteId; readonly settled: number }[]>()
  for (const write of observed.writes.values()) {
    const { settled, outcome } = write.call
    if (outcome !== 'ok') continue
    for (const document of write.documents)
      push(written, `${write.call.session} ${document}`, { id: write.id, settled: settled! })
  }
  for (const list of written.values()) list.sort((one, other) => one.settled - other.settled)
  eachSessionRead(observed, (read, document, has) => {
    for (const { id, settled } of written.get(`${read.session} ${document}`) ?? []) {
      if (settled > read.invoked) break
      if (!has(id))
        findings.add(read.returned, `${observed.nameOf(read.session)} reads ${document} without its own write ${id}`)
    }
  })
  return findings.found
}

export const checkMonotonicReads: Checker = (observed) => {
  const findings = new Findings('I6')
  const earlier = new Map<string, { readonly ids: readonly WriteId[]; readonly returned: number }[]>()
  eachSessionRead(observed, (read, document, has, ids) => {
    const key = `${read.session} ${document}`
    const reads = earlier.get(key) ?? []
    // The latest read that had returned: it holds all the earlier ones, or they were reported already.
    const last = reads.findLast(({ returned }) => returned < read.invoked)
    for (const id of last?.ids ?? []) {
      if (!has(id))
        findings.add(
          read.returned,
          `${observed.nameOf(read.session)} reads ${document} without write ${id}, which it read before`,
        )
    }
    push(earlier, key, { ids, returned: read.returned })
  })
  return findings.found
}

/** Each document of each read that promises something to its session, with a way to ask what it contains. */
function eachSessionRead(
  observed: Observed,
  look: (read: Read, document: string, has: (id: WriteId) => boolean, ids: readonly WriteId[]) => void,
): void {
  const marks = new Marks(observed.idEnd)
  const has = (id: WriteId): boolean => marks.has(id)
  for (const read of observed.reads) {
    if (read.level === 'eventual') continue
    for (const [document, ids] of read.contents.writes) {
      marks.clear()
      for (const id of ids) marks.add(id)
      look(read, document, has, ids)
    }
  }
}

function push<Item>(lists: Map<string, Item[]>, key: string, item: Item): void {
  const list = lists.get(key)
  if (list) list.push(item)
  else lists.set(key, [item])
}
