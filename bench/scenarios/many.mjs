// Many documents at once, two typists each at five updates a second. The window is ten seconds, because a server that
// stores a document every ten seconds must pay for each of them once in it.

const rate = 5
const windowSeconds = 10

export const many = {
  name: 'many',
  about: 'two typists per document, 5 updates/s each',
  contestants: {
    goals: ['causeway/hocuspocus', 'hocuspocus', 'causeway/y', 'relay'],
    others: ['y-websocket', 'y-leveldb'],
  },
  columns: [
    ['deliveriesPerSecond', 'deliveries/s'],
    ['framesPerSecond', 'frames/s'],
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
    'A delivery is one character of the other typist; frames count what a server echoes, too. The bare relay echoes nothing.',
  ],

  async measure(bench, contestant) {
    const counts = contestant.endsWith('hocuspocus') ? [200, 1_000] : [1_000]
    const results = []
    for (const count of counts) {
      const documents = bench.size(count, count / 10)
      const values = await bench.with(contestant, {}, ({ generator, target, pid }) =>
        generator.run('many', {
          target,
          pid,
          prefix: 'many-',
          documents,
          rate,
          leadSeconds: bench.size(3, 1),
          seconds: bench.options.seconds ?? bench.size(windowSeconds, 2),
          drainSeconds: 6,
        }),
      )
      results.push({ point: `${documents} documents`, values })
    }
    return results
  },
}
