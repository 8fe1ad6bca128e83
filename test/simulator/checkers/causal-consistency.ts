/**
 * I9, causal consistency: happens-before has no cycle, no read shows a write that nobody made, and each read of a
 * document shows all writes to it that happened before. With one id per write this is decided in linear time and no
 * search (differentiated histories: Bouajjani, Enea, Guerraoui, Hamza 2017, section 5).
 *
 * I7, monotonic writes, and I8, writes follow reads, are parts of it that tell better what broke: whoever has seen a
 * session's write sees the writes it made before, and what it had read before.
 */
import { type Call, type Checker, Findings, Marks, type Observed, type Read, type Write } from '../observed.js'
import { causalPasts, isIn, joinPast, shownBy } from './causal-past.js'

export const checkCausalConsistency: Checker = (observed) => {
  const findings = new Findings('I9')
  const { ofRead, unexplained } = causalPasts(observed)
  for (const read of observed.reads) {
    for (const id of shownBy(read)) {
      if (!observed.writes.has(id)) findings.add(read.returned, `shows write ${id}, which was never made`)
    }
  }
  const [first] = unexplained
  if (first) findings.add(first.returned, `${unexplained.length} reads show writes that happened after them`)
  eachMissing(observed, (read, document, write) => {
    const past = ofRead.get(read)
    if (!past || !isIn(past, write)) return
    const author = observed.nameOf(write.session)
    findings.add(read.returned, `${document} lacks write ${write.id} of ${author}, which happened before the read`)
  })
  return findings.found
}

export const checkMonotonicWrites: Checker = (observed) => {
  const findings = new Findings('I7')
  const sessions = observed.sessions.length
  /** By session: one more than the greatest place seen of each session's writes. */
  const seen = observed.sessions.map(() => new Int32Array(sessions))
  const begun = new Map<Call, Int32Array>()
  const required = new Map<Read, Int32Array>()
  inOrder(observed, {
    invoked: (call) => begun.set(call, seen[call.session]!.slice()),
    read(read) {
      const now = begun.get(read.call)!
      for (const ids of read.contents.writes.values()) {
        for (const id of ids) {
          const write = observed.writes.get(id)
          if (write && write.place >= now[write.session]!) now[write.session] = write.place + 1
        }
      }
      required.set(read, now)
      joinPast(seen[read.session]!, now)
    },
  })
  eachMissing(observed, (read, document, write) => {
    if (write.place >= (required.get(read)?.[write.session] ?? 0)) return
    const author = observed.nameOf(write.session)
    findings.add(read.returned, `${document} lacks write ${write.id} of ${author}, of whom a later one was seen`)
  })
  return findings.found
}

export const checkWritesFollowReads: Checker = (observed) => {
  const findings = new Findings('I8')
  const sessions = observed.sessions.length
  const documents = new Map(
    [...observed.writes.values()].flatMap(({ documents }) => documents).map((name) => [name, 0]),
  )
  for (const [at, name] of [...documents.keys()].entries()) documents.set(name, at)
  /** Entries by document and author: one more than the greatest place. */
  const place = (document: string, session: number): number => documents.get(document)! * sessions + session
  const nothing = (): Int32Array => new Int32Array(documents.size * sessions)

  const seen = observed.sessions.map(nothing)
  /** What was read before the writes that a session has seen were made. */
  const followed = observed.sessions.map(nothing)
  const begun = new Map<Call, { readonly seen: Int32Array; readonly followed: Int32Array }>()
  const readBefore = new Map<Write, Int32Array>()
  const required = new Map<Read, Int32Array>()
  inOrder(observed, {
    invoked(call) {
      const { request, session } = call
      const write = request.type === 'write' ? observed.writes.get(request.id)! : undefined
      if (write) readBefore.set(write, seen[write.session]!.slice())
      else begun.set(call, { seen: seen[session]!.slice(), followed: followed[session]!.slice() })
    },
    read(read) {
      const now = begun.get(read.call)!
      for (const [document, ids] of read.contents.writes) {
        for (const id of ids) {
          const write = observed.writes.get(id)
          // A later write to the document was seen already: it follows all that this one follows.
          if (!write || write.place < now.seen[place(document, write.session)]!) continue
          now.seen[place(document, write.session)] = write.place + 1
          const before = readBefore.get(write)
          if (before) joinPast(now.followed, before)
        }
      }
      required.set(read, now.followed)
      joinPast(seen[read.session]!, now.seen)
      joinPast(followed[read.session]!, now.followed)
    },
  })
  eachMissing(observed, (read, document, write) => {
    if (write.place >= (required.get(read)?.[place(document, write.session)] ?? 0)) return
    findings.add(
      read.returned,
      `${document} lacks write ${write.id}, which the author of a write that was seen had read`,
    )
  })
  return findings.found
}

/** Calls in real time order; reads that promise nothing are left out. */
function inOrder(
  observed: Observed,
  look: { readonly invoked: (call: Call) => void; readonly read: (read: Read) => void },
): void {
  const readOf = new Map(observed.reads.map((read) => [read.returned, read]))
  for (const at of [...observed.callAt.keys()].sort((one, other) => one - other)) {
    const call = observed.callAt.get(at)!
    const read = readOf.get(at)
    if (call.invoked === at) look.invoked(call)
    else if (read && read.level !== 'eventual') look.read(read)
  }
}

/** Each real write to a document that a read of it does not show. */
function eachMissing(observed: Observed, look: (read: Read, document: string, write: Write) => void): void {
  const marks = new Marks(observed.idEnd)
  const writesTo = new Map<string, Write[]>()
  for (const write of observed.writes.values()) {
    if (!observed.isReal(write)) continue
    for (const document of write.documents) {
      const known = writesTo.get(document)
      if (known) known.push(write)
      else writesTo.set(document, [write])
    }
  }
  for (const read of observed.reads) {
    for (const [document, ids] of read.contents.writes) {
      marks.clear()
      for (const id of ids) marks.add(id)
      for (const write of writesTo.get(document) ?? []) if (!marks.has(write.id)) look(read, document, write)
    }
  }
}
