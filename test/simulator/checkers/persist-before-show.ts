/**
 * I3, persist before show: an op is sent, delivered, served or acknowledged by a replica only after it is on that
 * replica's disk and on its origin's; and what a replica called durable is there when it starts again, unless its disk
 * was replaced.
 */
import { replicaNameOf } from '../../../shared/clock/dot.js'
import type { DenseVector } from '../lineages.js'
import { joinInto } from '../lineages.js'
import { type Checker, Findings } from '../observed.js'

export const checkPersistBeforeShow: Checker = ({ events, lineages }) => {
  const findings = new Findings('I3')
  const durable = new Map<string, DenseVector>()
  /** By origin: what was ever on the disk of the replica whose origin it is. */
  const atOrigin = lineages.zero()
  const replaced = new Set<string>()
  const ownerOf = lineages.origins.map(replicaNameOf)

  const durableAt = (replica: string): DenseVector => {
    let vector = durable.get(replica)
    if (!vector) {
      vector = lineages.zero()
      durable.set(replica, vector)
    }
    return vector
  }
  const persist = (replica: string, vector: DenseVector): void => {
    joinInto(durableAt(replica), vector)
    for (const [index, owner] of ownerOf.entries()) {
      if (owner === replica && vector[index]! > atOrigin[index]!) atOrigin[index] = vector[index]!
    }
  }
  const showOne = (at: number, replica: string, index: number, seq: number, what: string): void => {
    if (lineages.isCoordination(index)) return
    const dot = (): string => lineages.format({ origin: lineages.origins[index]!, seq })
    if (seq > durableAt(replica)[index]!) findings.add(at, `${replica} ${what} ${dot()} before it is on its disk`)
    else if (seq > atOrigin[index]!) findings.add(at, `${replica} ${what} ${dot()}, which its origin never had on disk`)
  }
  const show = (at: number, replica: string, shown: DenseVector, what: string): void => {
    for (let index = 0; index < shown.length; index++) showOne(at, replica, index, shown[index]!, what)
  }

  for (const [at, event] of events.entries()) {
    switch (event.type) {
      case 'durable':
        persist(event.by, lineages.dense(event.clock))
        break
      case 'disk':
        replaced.add(event.by)
        break
      case 'start': {
        const found = lineages.dense(event.clock)
        const lost = replaced.has(event.by) ? undefined : lineages.excess(durableAt(event.by), found)
        if (lost) findings.add(at, `${event.by} called ${lost} durable and starts without it`)
        replaced.delete(event.by)
        durable.set(event.by, lineages.zero())
        persist(event.by, found)
        break
      }
      case 'send':
      case 'deliver': {
        const { origin, seq } = event.dot
        showOne(at, event.by, lineages.indexOf(origin), seq, event.type === 'send' ? 'sends' : 'delivers')
        break
      }
      case 'serve':
        show(at, event.by, lineages.dense(event.clock), 'serves')
        break
      case 'acknowledge':
        show(at, event.by, lineages.dense(event.clock), 'acknowledges')
    }
  }
  return findings.found
}
