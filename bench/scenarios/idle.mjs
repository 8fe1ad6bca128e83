// Memory of what does nothing: connections with a small document each, and open long documents.
import { residentKiB } from '../harness/usage.mjs'

const characters = 100
const warmUpDocuments = 50

export const idle = {
  name: 'idle',
  about: 'resident memory per idle connection with its own small document, and per open long document',
  contestants: {
    goals: ['causeway/hocuspocus', 'hocuspocus'],
    others: ['causeway/y', 'y-leveldb', 'y-websocket', 'relay'],
  },
  columns: [
    ['kibEach', 'KiB each'],
    ['baseMiB', 'base MiB'],
    ['totalMiB', 'total MiB'],
    ['count', 'count'],
  ],
  notes: [
    'Differences of resident memory, each after the server came to rest. No garbage collection is forced, so a collection by chance moves a figure.',
  ],

  async measure(bench, contestant) {
    const results = [{ point: 'idle connections', values: await connections(bench, contestant) }]
    if (!['relay', 'y-websocket'].includes(contestant)) {
      results.push({ point: 'open documents', values: await documents(bench, contestant) })
    }
    return results
  },
}

function connections(bench, contestant) {
  const count = bench.size(2_000, 200)
  return bench.with(contestant, {}, async ({ server, generator, target, pid }) => {
    await generator.run('fill', { target, prefix: 'warm-up-', count: warmUpDocuments, characters, keepOpen: false })
    await server.settle({ quietMs: bench.size(2_500, 1_000), limitMs: 10_000 })
    const base = residentKiB(pid)
    await generator.run('fill', { target, prefix: 'idle-', count, characters, keepOpen: true })
    await server.settle({ quietMs: bench.size(2_500, 1_000), limitMs: 20_000 })
    return difference(base, residentKiB(pid), count)
  })
}

async function documents(bench, contestant) {
  const count = bench.size(50, 5)
  const { file } = await bench.history()
  const data = await bench.stored('long documents', contestant, (folder) =>
    bench.with(contestant, { data: folder, stops: true }, async ({ server, generator, target }) => {
      await generator.run('fill', { target, prefix: 'long-', count, history: file, keepOpen: false })
      await server.settle({ quietMs: bench.size(3_500, 1_000), limitMs: 60_000 })
    }),
  )
  return bench.with(contestant, { data }, async ({ server, generator, target, pid }) => {
    const open = (from, to) => generator.run('hold', { target, prefix: 'long-', from, to, history: file })
    await open(0, 1)
    await server.settle({ quietMs: bench.size(2_000, 1_000), limitMs: 10_000 })
    const base = residentKiB(pid)
    await open(1, count)
    await server.settle({ quietMs: bench.size(2_000, 1_000), limitMs: 10_000 })
    return difference(base, residentKiB(pid), count - 1)
  })
}

function difference(base, total, count) {
  return { kibEach: (total - base) / count, baseMiB: base / 1024, totalMiB: total / 1024, count }
}
