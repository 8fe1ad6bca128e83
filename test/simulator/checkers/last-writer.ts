/**
 * I10, registers where the last writer wins are causally convergent (CCv): one order of all writes to a register extends
 * happens-before, and every read returns the last of those it knows. By bad patterns (Bouajjani et al. 2017, table 2):
 * a read in whose past its value was overwritten, a read of nothing with a write in its past, and a cycle of
 * happens-before and conflicts, a conflict being "came first, because a reader who knew both read the other".
 *
 * Cycles are looked for one register at a time: Yjs orders the concurrent writes of each map key by client id, which
 * needs not fit into one order over all keys.
 */
import { documentOfRegister } from '../history.js'
import { type Checker, Findings, type Observed, type Read, type Write } from '../observed.js'
import { type CausalPasts, causalPasts, isIn, type Past } from './causal-past.js'

export const checkLastWriter: Checker = (observed) => {
  const findings = new Findings('I10')
  const pasts = causalPasts(observed)
  const registers = writersByRegister(observed)
  const before = causalEdges(observed, pasts)
  const conflicts = new Map<string, [Write, Write][]>([...registers.keys()].map((register) => [register, []]))
  for (const read of observed.reads) {
    const past = pasts.ofRead.get(read)
    if (!past) continue
    for (const [register, authors] of registers) {
      if (!read.contents.writes.has(documentOfRegister(register))) continue
      const id = read.contents.registers.get(register)
      const value = id === undefined ? undefined : observed.writes.get(id)
      if (id !== undefined && !value) continue // I9 speaks of it.
      if (value?.isRemade) continue
      for (const writes of authors.values()) {
        const last = lastIn(past, writes)
        if (!last || last === value) continue
        if (!value) findings.add(read.returned, `${register} is empty, though write ${last.id} to it happened before`)
        else if (isIn(pasts.ofWrite.get(last)!, value)) {
          findings.add(read.returned, `${register} shows write ${value.id}, which write ${last.id} had overwritten`)
        } else conflicts.get(register)!.push([last, value])
      }
    }
  }
  for (const [register, edges] of conflicts) {
    const cycle = findCycle(observed, before, edges)
    if (cycle) {
      const at = lastRead(observed.reads, register)
      findings.add(
        at,
        `no order of the writes to ${register} explains what was read: ${cycle.map(({ id }) => id).join(' < ')}`,
      )
    }
  }
  return findings.found
}

/** Writes that set each register, by session, in session order. */
function writersByRegister(observed: Observed): Map<string, Map<number, Write[]>> {
  const registers = new Map<string, Map<number, Write[]>>()
  for (const write of observed.writes.values()) {
    if (!observed.isReal(write) || write.isRemade) continue
    for (const register of write.registers) {
      const authors = registers.get(register) ?? new Map<number, Write[]>()
      registers.set(register, authors.set(write.session, [...(authors.get(write.session) ?? []), write]))
    }
  }
  return registers
}

function lastIn(past: Past, writes: readonly Write[]): Write | undefined {
  return writes.findLast((write) => isIn(past, write))
}

/** For each write, of each session the last write before it: enough to walk happens-before backwards. */
function causalEdges(observed: Observed, { ofWrite }: CausalPasts): Map<Write, Write[]> {
  const bySession = new Map<number, Write[]>()
  for (const write of observed.writes.values()) {
    bySession.set(write.session, [...(bySession.get(write.session) ?? []), write])
  }
  const before = new Map<Write, Write[]>()
  for (const [write, past] of ofWrite) {
    const earlier: Write[] = []
    for (const [session, count] of past.entries()) {
      const last = count > 0 ? bySession.get(session)?.[count - 1] : undefined
      if (last) earlier.push(last)
    }
    before.set(write, earlier)
  }
  return before
}

/** A cycle of "comes before", latest first; `conflicts` are pairs of an earlier and a later write. */
function findCycle(
  observed: Observed,
  before: ReadonlyMap<Write, readonly Write[]>,
  conflicts: readonly (readonly [Write, Write])[],
): Write[] | undefined {
  const conflicting = new Map<Write, Write[]>()
  for (const [earlier, later] of conflicts) {
    const known = conflicting.get(later)
    if (known) known.push(earlier)
    else conflicting.set(later, [earlier])
  }
  const state = new Map<Write, 'open' | 'done'>()
  for (const start of observed.writes.values()) {
    if (state.has(start)) continue
    // Depth first with a stack of our own: chains are as long as histories.
    const path: { readonly write: Write; readonly earlier: readonly Write[]; next: number }[] = []
    const enter = (write: Write): void => {
      state.set(write, 'open')
      path.push({ write, earlier: [...(before.get(write) ?? []), ...(conflicting.get(write) ?? [])], next: 0 })
    }
    enter(start)
    for (let top = path.at(-1); top; top = path.at(-1)) {
      const earlier = top.earlier[top.next++]
      if (!earlier) {
        state.set(top.write, 'done')
        path.pop()
      } else if (!state.has(earlier)) enter(earlier)
      else if (state.get(earlier) === 'open') {
        const from = path.findIndex(({ write }) => write === earlier)
        return [...path.slice(from).map(({ write }) => write), earlier].reverse()
      }
    }
  }
  return undefined
}

function lastRead(reads: readonly Read[], register: string): number {
  return reads.findLast(({ contents }) => contents.registers.has(register))?.returned ?? 0
}
