// A server comes back to a thousand documents whose clients are all waiting.

const characters = 100

export const restart = {
  name: 'restart',
  about: 'from the start of the process until the first client, and until all are synced, 50 at a time',
  contestants: { goals: ['causeway/hocuspocus', 'hocuspocus'], others: ['causeway/y', 'y-leveldb'] },
  columns: [
    ['firstMs', 'first ms'],
    ['allMs', 'all ms'],
  ],
  notes: [],

  async measure(bench, contestant) {
    const count = bench.size(1_000, 100)
    const data = await bench.stored('small documents', contestant, (folder) =>
      bench.with(contestant, { data: folder, stops: true }, async ({ server, generator, target }) => {
        await generator.run('fill', { target, prefix: 'small-', count, characters, keepOpen: false })
        await server.settle({ quietMs: 3_500, limitMs: 60_000 })
      }),
    )
    const values = await bench.with(contestant, { data, waitsUntilReady: false }, ({ server, generator, target }) =>
      generator.run('syncAll', {
        target,
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
