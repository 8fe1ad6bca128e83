// A long editing history at full speed, as when documents are imported or an offline week comes back. The number of
// updates under way is one at which every server here does well: with thousands of them, a server that merges what one
// turn of its event loop has brought merges thousands at once, and its cost per update rises several times.
import { contestants } from '../servers/contestants.mjs'

const window = 500
const limitSeconds = 240

export const ingest = {
  name: 'ingest',
  about: `a keystroke history, one update each, ${window} under way unless --window says otherwise, one reader`,
  contestants: {
    goals: ['causeway/hocuspocus', 'hocuspocus'],
    others: ['causeway/y', 'relay', 'y-websocket', 'y-leveldb'],
  },
  columns: [
    ['updatesPerSecond', 'updates/s'],
    ['cpuUsPerUpdate', 'CPU us each'],
    ['serverPct', 'server CPU %'],
    ['generatorPct', 'load CPU %'],
    ['otherPct', 'other CPU %'],
    ['rssMiB', 'RSS MiB'],
  ],
  notes: [
    'Over when every update is acknowledged (hocuspocus protocol) and has reached the reader. What an acknowledgement is worth is not the same everywhere: see `durability`.',
  ],

  async measure(bench, contestant) {
    let values
    if (
      bench.round === bench.options.runs &&
      contestants[contestant].stores &&
      !bench.hasStored('history', contestant)
    ) {
      await storedHistory(bench, contestant, (measured) => {
        values = measured
      })
    } else values = await bench.with(contestant, {}, (running) => send(bench, running))
    return [{ point: 'history', values }]
  },
}

/** A data folder that holds the history as the document `history`, sent keystroke by keystroke and settled. */
export function storedHistory(bench, contestant, onMeasured = () => {}) {
  return bench.stored('history', contestant, (data) =>
    bench.with(contestant, { data, stops: true }, async (running) => {
      onMeasured(await send(bench, running))
      await running.server.settle({ quietMs: bench.size(3_500, 1_000), limitMs: 90_000 })
    }),
  )
}

async function send(bench, { generator, target, pid }) {
  const { file } = await bench.history()
  const task = { target, pid, document: 'history', history: file, window: bench.options.window ?? window, limitSeconds }
  return generator.run('ingest', task, limitSeconds + 60)
}
