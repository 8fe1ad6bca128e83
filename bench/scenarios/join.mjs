// How long a client waits for a long document: the first of a freshly started server, and those that follow while the
// document is open.
import { storedHistory } from './ingest.mjs'

const idleMs = 1_000

export const join = {
  name: 'join',
  about: 'clients that open the document with the long history',
  contestants: { goals: ['causeway/hocuspocus', 'hocuspocus'], others: ['causeway/y', 'y-leveldb'] },
  columns: [
    ['coldMs', 'cold ms'],
    ['coldCpuMs', 'CPU ms, cold'],
    ['warmMs', 'warm ms (p50)'],
    ['warmWorstMs', 'warm ms (worst)'],
    ['warmCpuMs', 'CPU ms, warm'],
    ['otherPct', 'other CPU %'],
  ],
  notes: [
    'From before the TCP connection to the last byte of the state. Pages of the files are in the system’s cache.',
  ],

  async measure(bench, contestant) {
    const data = await storedHistory(bench, contestant)
    const { file } = await bench.history()
    const values = await bench.with(contestant, { data }, async ({ server, generator, target, pid }) => {
      await server.settle({ quietMs: idleMs, limitMs: 10_000 })
      const task = { target, pid, document: 'history', history: file, unmeasured: 10, count: bench.size(60, 20) }
      return generator.run('join', task)
    })
    return [{ point: 'history', values }]
  },
}
