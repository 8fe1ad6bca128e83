/**
 * I18, truncation safety: a log is cut only below the majority-durable cut that its replica has announced; whatever one
 * member asks another for, it has in the end, by log or by state transfer, unless it died with a disk; and a state
 * transfer lowers no clock and removes no write.
 */
import type { WriteId } from '../history.js'
import { type DenseVector, joinInto } from '../lineages.js'
import { type Checker, Findings, keyOf } from '../observed.js'

interface Replica {
  clock: DenseVector
  readonly cut: DenseVector
  held: Set<WriteId>
  end: DenseVector | undefined
  needs: { readonly at: number; readonly index: number; readonly from: number }[]
}

export const checkTruncation: Checker = (observed) => {
  const findings = new Findings('I18')
  const { events, lineages } = observed
  const replicas = new Map<string, Replica>()
  const replicaOf = (name: string): Replica => {
    let replica = replicas.get(name)
    if (!replica) {
      replica = { clock: lineages.zero(), cut: lineages.zero(), held: new Set(), end: undefined, needs: [] }
      replicas.set(name, replica)
    }
    return replica
  }
  /** What anybody has at the end. */
  const kept = lineages.zero()
  let mayBeLost = false
  for (const [at, event] of events.entries()) {
    switch (event.type) {
      case 'start': {
        const replica = replicaOf(event.by)
        replica.clock = lineages.dense(event.clock).slice()
        replica.held = new Set(observed.idsUnder(replica.clock))
        replica.needs = []
        break
      }
      case 'deliver': {
        const replica = replicaOf(event.by)
        lineages.raise(replica.clock, lineages.indexOf(event.dot.origin), event.dot.seq)
        const id = observed.accepts.get(keyOf(event.dot))?.id
        if (id !== undefined) replica.held.add(id)
        break
      }
      case 'majority-cut':
        joinInto(replicaOf(event.by).cut, lineages.dense(event.cut))
        break
      case 'truncate':
        if (event.seq > replicaOf(event.by).cut[lineages.indexOf(event.origin)]!) {
          findings.add(at, `${event.by} drops ${lineages.format(event)} from its log, above the majority-durable cut`)
        }
        break
      case 'need':
        replicaOf(event.by).needs.push({ at, index: lineages.indexOf(event.origin), from: event.from })
        break
      case 'install': {
        const replica = replicaOf(event.by)
        const after = lineages.dense(event.clock)
        const lowered = lineages.excess(replica.clock, after)
        if (lowered) findings.add(at, `state transfer to ${event.by} takes ${lowered} back`)
        const held = new Set(event.held)
        for (const id of replica.held)
          if (!held.has(id)) findings.add(at, `state transfer to ${event.by} removes write ${id}`)
        joinInto(replica.clock, after)
        replica.held = held
        break
      }
      case 'replica-settled':
        joinInto(kept, lineages.dense(event.clock))
        replicaOf(event.by).end = lineages.dense(event.clock)
        break
      case 'disk':
        mayBeLost = true
    }
  }
  for (const [name, { needs, end }] of replicas) {
    for (const { at, index, from } of needs) {
      if (!end || end[index]! >= from || (mayBeLost && kept[index]! < from)) continue
      const dot = { origin: lineages.origins[index]!, seq: from }
      findings.add(at, `${name} asks for ${lineages.format(dot)} and never gets it`)
    }
  }
  return findings.found
}
