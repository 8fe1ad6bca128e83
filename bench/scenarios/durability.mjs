// kill -9 under load at a random moment, again and again over the same data: what a client was told is saved, or was
// shown, must be there afterwards, also after later kills.
import { contestants } from '../servers/contestants.mjs'

const documents = 10
const rate = 20
const killBetweenMs = [1_000, 4_000]
const killsInAll = 10

export const durability = {
  name: 'durability',
  about: `kill -9 while ${documents} documents are typed into, ${rate} updates/s each`,
  contestants: { goals: ['causeway/hocuspocus', 'causeway/y', 'hocuspocus'], others: ['y-leveldb'] },
  columns: [
    ['kills', 'kills'],
    ['sent', 'sent'],
    ['acknowledged', 'acknowledged'],
    ['shown', 'shown'],
    ['lost', 'lost'],
  ],
  notes: [
    'Updates; shown means received by any client. Lost are those acknowledged or shown that are gone after the restart. A killed process is not a power cut: what the system had taken, it still writes.',
  ],

  async measure(bench, contestant) {
    // Peers show how they differ with one kill a round; Causeway has to stand 20 in all, ten by each protocol.
    const isCauseway = contestants[contestant].server === 'causeway'
    const kills = isCauseway ? bench.size(Math.ceil(killsInAll / bench.options.runs), 1) : 1
    const data = bench.newFolder()
    const values = { kills, sent: 0, acknowledged: 0, shown: 0, lost: 0, killedAfterMs: [] }
    const promised = []
    for (let kill = 0; kill < kills; kill++) {
      const prefix = `kill-${kill}-`
      const killAfterMs = killBetweenMs[0] + Math.random() * (killBetweenMs[1] - killBetweenMs[0])
      values.killedAfterMs.push(Math.round(killAfterMs))
      const known = await runAndKill(bench, contestant, data, { prefix, documents, rate, killAfterMs })
      for (const { sent, acknowledged, shown } of known) {
        values.sent += sent
        values.acknowledged += acknowledged
        values.shown += shown
      }
      promised.push({ prefix, counts: known.map(({ acknowledged, shown }) => Math.max(acknowledged, shown)) })
    }
    await bench.with(contestant, { data }, async ({ generator, target }) => {
      for (const { prefix, counts } of promised) {
        const { present } = await generator.run('present', { target, prefix, documents, settledMs: 300 })
        for (const [index, count] of counts.entries()) values.lost += Math.max(0, count - present[index])
      }
    })
    if (values.shown === 0) throw new Error('nothing was shown before the kills: nothing was tested')
    return [{ point: 'kill -9', values }]
  },
}

/** The server starts over what earlier kills left, which must not stop it. */
async function runAndKill(bench, contestant, data, task) {
  let known
  try {
    await bench.with(contestant, { data }, async ({ server, generator, target, pid }) => {
      known = (await generator.run('typeUntilKilled', { ...task, target, pid })).documents
      await server.gone()
    })
  } catch (error) {
    // The server's death is what this scenario is about; every other trouble comes before `known` is set.
    if (!known) throw error
  }
  return known
}
