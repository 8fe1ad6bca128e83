// What Causeway has to reach, as ratios to a peer measured in the same round. A bound is `factor` times the peer's
// value plus `plus`; a goal without a peer is an absolute bound. The floor is where a change is turned down.
import { spread } from './statistics.mjs'

const hocuspocus = { subject: 'causeway/hocuspocus', peer: 'hocuspocus' }
const relay = { subject: 'causeway/y', peer: 'relay' }
const leveldb = { subject: 'causeway/y', peer: 'y-leveldb' }

const atLeast = (goal, floor) => ({ atLeast: true, goal: { factor: goal }, floor: { factor: floor } })
const atMost = (goal, floor) => ({ atLeast: false, goal: { factor: goal }, floor: { factor: floor } })

const fanout = (point, pair, goal, floor) => ({
  scenario: 'fanout',
  point,
  metric: 'deliveriesPerCpuSecond',
  ...pair,
  ...atLeast(goal, floor),
})

export const goals = [
  fanout('100 x 1000/s', hocuspocus, 2, 1.3),
  fanout('100 x 4000/s', hocuspocus, 2, 1.3),
  fanout('100 x 1000/s', relay, 1.5, 1),
  fanout('100 x 4000/s', relay, 1.5, 1),
  fanout('100 x 100/s', hocuspocus, 1.2, 1),
  { scenario: 'capacity', point: '100 readers', metric: 'highestRate', ...leveldb, ...atLeast(8, 4) },
  { scenario: 'many', point: '1000 documents', metric: 'cpuUsPerDelivery', ...hocuspocus, ...atMost(0.4, 0.6) },
  {
    scenario: 'many',
    point: '1000 documents',
    metric: 'p99Ms',
    ...relay,
    atLeast: false,
    goal: { factor: 1, plus: 20 },
    floor: { factor: 2, plus: 50 },
  },
  { scenario: 'many', point: '200 documents', metric: 'cpuUsPerDelivery', ...hocuspocus, ...atMost(0.8, 1.2) },
  { scenario: 'ingest', point: 'history', metric: 'updatesPerSecond', ...hocuspocus, ...atLeast(3, 2) },
  { scenario: 'join', point: 'history', metric: 'coldMs', ...hocuspocus, ...atMost(0.3, 0.5) },
  { scenario: 'join', point: 'history', metric: 'warmMs', ...hocuspocus, ...atMost(0.5, 0.7) },
  { scenario: 'join', point: 'history', metric: 'warmCpuMs', ...hocuspocus, ...atMost(0.3, 0.7) },
  { scenario: 'idle', point: 'open documents', metric: 'kibEach', ...hocuspocus, ...atMost(0.2, 0.4) },
  { scenario: 'idle', point: 'idle connections', metric: 'kibEach', ...hocuspocus, ...atMost(0.4, 0.6) },
  { scenario: 'restart', point: '1000 documents', metric: 'firstMs', ...hocuspocus, ...atMost(1, 1) },
  { scenario: 'restart', point: '1000 documents', metric: 'allMs', ...hocuspocus, ...atMost(0.5, 0.7) },
  {
    scenario: 'cell',
    point: 'wire, batched',
    metric: 'tagBytes',
    subject: 'cell',
    atLeast: false,
    goal: { plus: 40 },
    floor: { plus: 40 },
  },
  ...['causeway/hocuspocus', 'causeway/y'].map((subject) => ({
    scenario: 'durability',
    point: 'kill -9',
    metric: 'lost',
    subject,
    atLeast: false,
    total: true,
    goal: { plus: 0 },
    floor: { plus: 0 },
  })),
]

/** Other work than server and load, in % of one core, above which a round counts as disturbed. */
export const disturbedAbovePct = 50

/**
 * Judges a goal by the records of its scenario (`{contestant, point, round, values}`).
 * @returns undefined where its servers were not measured, else `{ratio, subject, peer, rounds, disturbedRounds, verdict}`:
 *   the spread of the rounds' ratios and of both sides' values, and `goal met`, `floor held` or `BELOW THE FLOOR`
 */
export function judge(goal, records) {
  const at = records.filter(({ point }) => point === goal.point)
  const valuesOf = (contestant) =>
    new Map(
      at.filter((record) => record.contestant === contestant).map(({ round, values }) => [round, values[goal.metric]]),
    )
  const subject = valuesOf(goal.subject)
  const peer = goal.peer ? valuesOf(goal.peer) : undefined
  const rounds = [...subject.keys()].filter((round) => !peer || peer.has(round))
  if (rounds.length === 0) return undefined

  const margins = (bound) =>
    rounds.map((round) => {
      const limit = (bound.factor ?? 0) * (peer?.get(round) ?? 0) + (bound.plus ?? 0)
      return goal.atLeast ? subject.get(round) - limit : limit - subject.get(round)
    })
  // A total counts over all rounds: the worst one decides.
  const holds = (bound) => {
    const all = spread(margins(bound))
    return (goal.total ? all?.min : all?.median) >= 0
  }
  return {
    ratio: peer && spread(rounds.map((round) => subject.get(round) / peer.get(round))),
    subject: spread([...subject.values()]),
    peer: peer && spread([...peer.values()]),
    rounds: rounds.length,
    disturbedRounds: rounds.filter((round) =>
      at.some(
        ({ contestant, round: other, values }) =>
          other === round && [goal.subject, goal.peer].includes(contestant) && values.otherPct > disturbedAbovePct,
      ),
    ).length,
    verdict: holds(goal.goal) ? 'goal met' : holds(goal.floor) ? 'floor held' : 'BELOW THE FLOOR',
  }
}

/** A bound in words: `>= 2x`, `<= 1x + 20`, `<= 0`. */
export function boundText({ atLeast }, { factor, plus }) {
  const parts = [factor === undefined ? '' : `${factor}x`, plus === undefined ? '' : String(plus)].filter(Boolean)
  return `${atLeast ? '>=' : '<='} ${parts.join(' + ')}`
}
