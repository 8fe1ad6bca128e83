/** What a replica says of itself, read over HTTP, and the memory of its process. */
import { readFileSync } from 'node:fs'
import type { ReplicaProcess } from './replica-process.js'

/** The value of one sample: its name, labels included, as the page writes it. */
export async function metric(replica: ReplicaProcess, sample: string): Promise<number> {
  const page = await (await fetch(`${replica.http}/metrics`)).text()
  const line = page.split('\n').find((candidate) => candidate.startsWith(`${sample} `))
  if (line === undefined) throw new Error(`no sample ${sample}`)
  return Number(line.slice(sample.length + 1))
}

/** Connections of all endpoints that are open now. */
export async function openConnections(replica: ReplicaProcess): Promise<number> {
  const [opened, closed] = await Promise.all(
    ['opened', 'closed'].map((what) => metric(replica, `causeway_connection_events_total{event="connection-${what}"}`)),
  )
  return opened! - closed!
}

/** Resident memory in bytes. */
export function rssOf({ pid }: ReplicaProcess): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kib) * 1024
}
