// The load process. It gets one job at a time from the benchmark, runs it, and answers with its result; whatever goes
// wrong, wherever, fails the job, so that a broken measurement is never taken for a slow one.
import { makeHistory } from './history.mjs'
import { acknowledged, pour } from './jobs/cell.mjs'
import { fill, hold, release, syncAll } from './jobs/documents.mjs'
import { present, typeUntilKilled } from './jobs/durability.mjs'
import { fanout } from './jobs/fanout.mjs'
import { ingest } from './jobs/ingest.mjs'
import { join } from './jobs/join.mjs'
import { many } from './jobs/many.mjs'

const jobs = {
  acknowledged,
  fanout,
  fill,
  hold,
  ingest,
  join,
  makeHistory,
  many,
  pour,
  present,
  release,
  syncAll,
  typeUntilKilled,
}

let current

process.on('message', async ({ id, job, task }) => {
  current = id
  try {
    answer(id, { result: await jobs[job](task) })
  } catch (error) {
    answer(id, { error: error.stack })
  }
})
process.on('uncaughtException', (error) => {
  if (current === undefined) throw error
  answer(current, { error: error.stack })
})
process.on('disconnect', () => process.exit(0))

function answer(id, outcome) {
  if (current !== id) return
  current = undefined
  process.send({ id, ...outcome })
}
