// Fan-out: one writer, 100 readers, at a rate where nothing can be gathered, at one where something can, and at one
// where a server that writes message by message is long saturated.

const readers = 100
const warmUpRate = 1_000
const drainSeconds = 2.5

export const fanout = {
  name: 'fanout',
  about: 'one document, one writer, 100 readers',
  contestants: {
    goals: ['causeway/hocuspocus', 'hocuspocus', 'causeway/y', 'relay'],
    others: ['y-websocket', 'y-leveldb'],
  },
  columns: [
    ['deliveriesPerSecond', 'deliveries/s'],
    ['framesPerSecond', 'frames/s'],
    ['deliveriesPerCpuSecond', 'deliveries per CPU s'],
    ['cpuUsPerDelivery', 'CPU us each'],
    ['p50Ms', 'p50 ms'],
    ['p99Ms', 'p99 ms'],
    ['missing', 'missing'],
    ['serverPct', 'server CPU %'],
    ['generatorPct', 'load CPU %'],
    ['otherPct', 'other CPU %'],
    ['rssMiB', 'RSS MiB'],
  ],
  notes: [
    'A delivery is one update at one reader; a server that merges updates needs fewer frames for them. Where load CPU is above 90 % the load process was the limit and the figures are lower bounds.',
  ],

  async measure(bench, contestant) {
    const rates = contestant.endsWith('hocuspocus') ? [100, 1_000, 4_000] : [1_000, 4_000]
    return bench.with(contestant, {}, async ({ generator, target, pid }) => {
      await warmUp(bench, generator, target, pid)
      const results = []
      for (const rate of rates) {
        const values = await generator.run('fanout', {
          target,
          pid,
          document: `fanout-${rate}`,
          client: 3_400_000_000 + rate,
          readers,
          rate,
          leadSeconds: bench.size(1, 0.5),
          seconds: bench.options.seconds ?? bench.size(3, 1),
          drainSeconds,
        })
        results.push({ point: `${readers} x ${rate}/s`, values })
      }
      return results
    })
  },
}

/** A fresh server spends several times more CPU on its first thousands of updates; nobody is measured there. */
export function warmUp(bench, generator, target, pid, seconds = bench.size(3, 1)) {
  return generator.run('fanout', {
    target,
    pid,
    document: 'warm-up',
    client: 3_400_000_000,
    readers,
    rate: warmUpRate / 2,
    leadSeconds: 0,
    seconds,
    drainSeconds,
  })
}
