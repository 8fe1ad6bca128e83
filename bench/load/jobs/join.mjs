// How long a client waits for a document. A join is complete when the state that the client asked for has arrived,
// whether as the answer to its question or as updates that follow.
import * as Y from 'yjs'
import { historyClient, readHistory } from '../history.mjs'
import { pause } from '../open-loop.mjs'
import { kinds } from '../protocols.mjs'
import { sample, usedBetween } from '../sampling.mjs'
import { Session } from '../session.mjs'

const betweenJoinsMs = 5
const limitMs = 60_000

/**
 * @param task `{target, pid, document, history, unmeasured, count}`
 * @returns `{coldMs, coldCpuMs, warmMs, warmWorstMs, warmCpuMs}`: the first join of a started server, whose client
 *   stays, and then the median and slowest of `count` joins one after another, with the server's CPU for each
 */
export async function join({ target, pid, document, history, unmeasured, count }) {
  const { content, about } = readHistory(history)
  const expected = { [historyClient]: about.clock }

  const beforeCold = sample(pid)
  const cold = await timedJoin(target, document, expected)
  const coldUsed = usedBetween(beforeCold, sample(pid))
  const doc = new Y.Doc()
  for (const update of cold.updates) Y.applyUpdate(doc, update)
  // Deletions may follow the answer on servers that answer before they have loaded; the text is checked then.
  const text = doc.getText('text').toString()
  if (text !== content) throw new Error(`a join brought ${text.length} characters instead of ${content.length}`)

  for (let i = 0; i < unmeasured; i++) await briefJoin(target, document, expected)
  const times = []
  const beforeWarm = sample(pid)
  for (let i = 0; i < count; i++) times.push(await briefJoin(target, document, expected))
  const warmUsed = usedBetween(beforeWarm, sample(pid))
  cold.session.close()
  times.sort((a, b) => a - b)
  return {
    coldMs: cold.ms,
    coldCpuMs: coldUsed.serverMs,
    warmMs: times[Math.floor(times.length / 2)],
    warmWorstMs: times.at(-1),
    warmCpuMs: warmUsed.serverMs / count,
    otherPct: warmUsed.otherPct,
  }
}

/** The updates that a fresh client of `document` receives until it holds the `expected` clocks. */
export async function stateOf(target, document, expected) {
  const { session, updates } = await timedJoin(target, document, expected)
  session.close()
  return updates
}

async function briefJoin(target, document, expected) {
  const { session, ms } = await timedJoin(target, document, expected)
  session.close()
  await pause(betweenJoinsMs)
  return ms
}

/**
 * Joins and waits for the `expected` clocks, `{client: next clock}`.
 * @returns `{session, ms, updates}`: `ms` from before the TCP connection until the last needed frame had arrived
 */
export async function timedJoin(target, document, expected) {
  const updates = []
  let finish
  const complete = new Promise((resolve) => {
    finish = resolve
  })
  const startedAt = performance.now()
  const opened = Session.open(target, document, {
    onMessage(kind, bytes, start, end) {
      if (kind !== kinds.step2 && kind !== kinds.update) return
      const arrivedAt = performance.now()
      updates.push(new Uint8Array(bytes.subarray(start, end)))
      if (holds(updates, expected)) finish(arrivedAt)
    },
    onClose: () => finish(undefined),
  })
  const deadline = setTimeout(() => finish(undefined), limitMs)
  const [session, arrivedAt] = await Promise.all([opened, complete])
  clearTimeout(deadline)
  if (arrivedAt === undefined) throw new Error(`${document}: the join did not bring the whole document`)
  return { session, ms: arrivedAt - startedAt, updates }
}

function holds(updates, expected) {
  const clocks = new Map()
  for (const update of updates) {
    for (const [client, clock] of Y.decodeStateVector(Y.encodeStateVectorFromUpdate(update))) {
      clocks.set(client, Math.max(clock, clocks.get(client) ?? 0))
    }
  }
  return Object.entries(expected).every(([client, clock]) => (clocks.get(Number(client)) ?? 0) >= clock)
}
