// From records to what a person reads: one table a scenario, then the goals.
import { contestants } from '../servers/contestants.mjs'
import { boundText, disturbedAbovePct, goals, judge } from './goals.mjs'
import { spread } from './statistics.mjs'
import { number, spreadText, table } from './table.mjs'

/** @param records `{contestant, point, round, values}` of one scenario */
export function scenarioReport(scenario, records) {
  const groups = new Map()
  for (const record of records) groups.set(keyOf(record), [...(groups.get(keyOf(record)) ?? []), record])
  const rows = [...groups.values()]
    .sort((a, b) => order(records, a[0]) - order(records, b[0]))
    .map((group) => {
      const [{ contestant, point }] = group
      const cells = scenario.columns.map(([metric]) => spreadText(spread(group.map(({ values }) => values[metric]))))
      return [`${point}: ${contestants[contestant].label}`, ...cells]
    })
  const rounds = Math.max(...records.map(({ round }) => round))
  return [
    `## ${scenario.name}: ${scenario.about}`,
    `${rounds} round${rounds === 1 ? '' : 's'}; min / median / max`,
    table(['', ...scenario.columns.map(([, label]) => label)], rows),
    ...scenario.notes,
  ].join('\n\n')
}

/** Rows of one point stand together, in the order in which the points were first measured. */
function order(records, { point, contestant }) {
  const points = [...new Set(records.map((record) => record.point))]
  return points.indexOf(point) * 100 + Object.keys(contestants).indexOf(contestant)
}

function keyOf({ point, contestant }) {
  return `${point} ${contestant}`
}

/**
 * The table of goals that could be judged, with the rounds' ratios.
 * @param all `{scenario, contestant, point, round, values}`
 * @returns `{text, verdicts}`
 */
export function goalsReport(all) {
  const verdicts = []
  const rows = []
  for (const goal of goals) {
    const judged = judge(
      goal,
      all.filter(({ scenario }) => scenario === goal.scenario),
    )
    if (!judged) continue
    verdicts.push({ ...goal, ...judged })
    const against = goal.peer ? `${goal.subject} against ${goal.peer}` : goal.subject
    rows.push([
      `${goal.scenario}, ${goal.point}, ${goal.metric}: ${against}`,
      spreadText(judged.subject),
      judged.peer ? number(judged.peer.median) : '-',
      judged.ratio ? spreadText(judged.ratio) : '-',
      boundText(goal, goal.goal),
      boundText(goal, goal.floor),
      judged.verdict,
      `${judged.disturbedRounds} of ${judged.rounds}`,
    ])
  }
  if (rows.length === 0) return { text: '## goals\n\nNone: no goal’s servers were both measured.', verdicts }
  const explanation = `The median over rounds of the comparison within a round decides. Disturbed: rounds in which other work took more than ${disturbedAbovePct} % of a core; judge those again on a quiet machine.`
  const heads = ['', 'value', 'peer', 'ratio per round', 'goal', 'floor', 'verdict', 'disturbed']
  return { text: `## goals\n\n${explanation}\n\n${table(heads, rows)}`, verdicts }
}
