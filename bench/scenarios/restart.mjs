// A server comes back to a thousand documents whose clients are all waiting.

const characters = 100

export const restart = {
  name: 'restart',
  about: 'from the start of the process until the first client, and until all are synced, 50 at a time',
  contestants: { goals: ['causeway/hocuspocus', 'hocuspocus'], others: ['causeway/y', 'y-leveldb'] },
  columns: [
    ['firstMs', 'first ms'],
    ['allMs', 'all ms'],
    ['otherPct', 'other CPU %'],
  ],
  notes: [],

  async measure(bench, contestant) {
    const count = bench.size(1_000, 100)
    const data = await bench.stored('small documents', contestant, (folder) =>
      bench.with(contestant, { data: folder, stops: true }, async ({ server, generator, target }) => {
        await generator.run('fill', { target, prefix: 'small-', count, characters, keepOpen: false })
        await server.settle({ quietMs: bench.size(3_500, 1_000), limitMs: 60_000 })
      }),
    )
    const values = await bench.with(
      contestant,
      { data, waitsUntilReady: false },
      ({ server, generator, target, pid }) =>
        generator.run('syncAll', {
          target,
          pid,
          prefix: 'small-',
          count,
          characters,
          startedAt: server.startedAt,
          limitSeconds: 30,
        }),
    )
    return [{ point: `${count} documents`, values }]
  },
}
