// Three replicas against one: what an edit's way to another replica adds, what the others cost, how fast a replica comes
// back, and what is said between them. All on one machine, where three replicas share the cores that one has alone.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { replicaNames } from '../harness/cell.mjs'
import { cpuMs } from '../harness/usage.mjs'

const heldBack = fileURLToPath(new URL('../load/held-back.mjs', import.meta.url))
const local = '/hocuspocus?w=local'
const majority = '/hocuspocus?w=majority'
const client = 3_450_000_000
const rates = [20, 1_000]
const documents = 200
const window = 20
const limitSeconds = 240
const followLimitSeconds = 120
const donors = ['a', 'b']
/** A replica prunes once a minute, and what holds that back is out of the way at the next time. */
const pruningMs = 150_000

export const cell = {
  name: 'cell',
  about: 'three replicas, a, b and c, against one',
  contestants: { goals: ['causeway/y', 'cell'], others: [] },
  columns: [
    ['p50Ms', 'p50 ms'],
    ['p99Ms', 'p99 ms'],
    ['opsPerSecond', 'ops/s'],
    ['megabytesPerSecond', 'MB/s'],
    ['seconds', 'seconds'],
    ['cpuUsA', 'CPU us/op a'],
    ['cpuUsB', 'CPU us/op b'],
    ['cpuUsC', 'CPU us/op c'],
    ['tagBytes', 'tag B/op'],
    ['otherBytes', 'other B/op'],
    ['bytesEach', 'B each'],
    ['missing', 'missing'],
    ['otherPct', 'other CPU %'],
  ],
  notes: [
    'Typing: one writer, one reader, from the scheduled time; "a to c": the reader is at another replica than the writer. Acknowledged: `w` says where an update is on disk by then. Ingest: small updates in 200 documents, until the last one is on disk at every replica. Catch-up: from the start of the process until it has on disk what the others had; with an empty disk, MB of what it was sent: ops of a whole log, or the state where the log was pruned.',
    'Tag bytes: what an op message has per op beside the update itself; other bytes: all other messages between the replicas, per op. Single: each op by itself; batched: during ingest. Held back: memory of one op that waits for its causes, its update included, of messages of 500 ops and of one. Catch-up, empty disk and held back are measured in the first round only.',
  ],

  async measure(bench, contestant) {
    if (contestant !== 'cell') return bench.with(contestant, {}, (running) => alone(bench, running))
    const results = await bench.withCell((running) => together(bench, running))
    return bench.round > 1 ? results : [...results, ...heldBackPoints(bench)]
  },
}

async function alone(bench, { generator, target, pid }) {
  const results = []
  await warmUp(bench, generator, target, target, pid)
  for (const rate of rates) results.push(await typing(bench, generator, target, target, pid, rate, 'same replica'))
  for (const clients of [1, 100]) {
    results.push(await acknowledged(bench, generator, via(target, local), pid, clients, 'local'))
  }
  const before = cpuMs(pid)
  const poured = await pour(generator, via(target, local), 'ingest-', bench.size(100_000, 10_000))
  const cpuUsA = ((cpuMs(pid) - before) * 1000) / poured.updates
  return [...results, { point: 'ingest', values: { ...rateOf(poured.updates, poured.ms), cpuUsA } }]
}

async function together(bench, { cell, generator }) {
  const results = []
  const pid = replicaNames.map((name) => cell.replica(name).pid)
  const y = (name) => cell.target(name, 'y-websocket', '/y')
  await warmUp(bench, generator, y('a'), y('c'), pid)
  for (const rate of rates) {
    results.push(await typing(bench, generator, y('a'), y('a'), pid, rate, 'same replica'))
    const before = await sent(cell)
    const typed = await typing(bench, generator, y('a'), y('c'), pid, rate, 'a to c')
    await cell.until(['b', 'c'], 'a', followLimitSeconds)
    results.push(typed)
    if (rate === rates[0]) {
      results.push({ point: 'wire, single', values: wire(before, await sent(cell), typed.sent) })
    }
  }
  for (const clients of [1, 100]) {
    results.push(await acknowledged(bench, generator, via(y('a'), local), pid, clients, 'local'))
    results.push(await acknowledged(bench, generator, via(y('a'), majority), pid, clients, 'majority'))
  }
  results.push(...(await ingest(bench, cell, generator, via(y('a'), local))))
  // Minutes: once in a run.
  if (bench.round > 1) return results
  results.push(await catchUp(bench, cell, generator, via(y('a'), local)))
  results.push(await emptyDisk(cell, 'empty disk, whole log'))
  if (!bench.options.quick) results.push(await stateTransfer(cell))
  return results
}

async function ingest(bench, cell, generator, target) {
  const bytesBefore = await sent(cell)
  const cpuBefore = cell.cpu()
  const poured = await pour(generator, target, 'ingest-', bench.size(100_000, 10_000))
  const acknowledgedAt = performance.now()
  await cell.until(['b', 'c'], 'a', followLimitSeconds)
  // From the first send, as `poured.ms`.
  const ms = poured.ms + performance.now() - acknowledgedAt
  const cpuAfter = cell.cpu()
  const used = Object.fromEntries(
    replicaNames.map((name) => [
      `cpuUs${name.toUpperCase()}`,
      ((cpuAfter[name] - cpuBefore[name]) * 1000) / poured.updates,
    ]),
  )
  const values = { ...rateOf(poured.updates, ms), ...used }
  return [
    { point: 'ingest', values },
    { point: 'wire, batched', values: wire(bytesBefore, await sent(cell), poured) },
  ]
}

/** Replica c is down while a takes many ops, and comes back. */
async function catchUp(bench, cell, generator, target) {
  await cell.replica('c').stop()
  const missed = await pour(generator, target, 'missed-', bench.size(1_000_000, 20_000))
  await cell.until(['b'], 'a', followLimitSeconds)
  const before = cell.cpu()
  const ms = await returned(cell, {})
  const after = cell.cpu()
  const each = (cpu) => (cpu * 1000) / missed.updates
  return {
    point: `catch-up of ${missed.updates.toLocaleString('en-US')} ops`,
    values: {
      ...rateOf(missed.updates, ms),
      cpuUsA: each(after.a - before.a),
      cpuUsB: each(after.b - before.b),
      cpuUsC: each(after.c),
    },
  }
}

/** Replica c comes back with an empty disk; the others' logs still begin at the beginning, or do not any more. */
async function emptyDisk(cell, point) {
  await cell.replica('c').stop()
  const before = await sent(cell, donors)
  const ms = await returned(cell, { emptied: true })
  const after = await sent(cell, donors)
  const megabytes = (after.ops + after.chunks - before.ops - before.chunks) / 1e6
  const statePct = (100 * (after.chunks - before.chunks)) / (megabytes * 1e6)
  return { point, values: { megabytesPerSecond: (megabytes * 1000) / ms, seconds: ms / 1000, megabytes, statePct } }
}

/** From now on the donors keep no more of their logs than they must, and some rounds of pruning later c asks. */
async function stateTransfer(cell) {
  for (const name of donors) {
    await cell.replica(name).stop()
    await cell.startReplica(name, { environment: { CAUSEWAY_LOG_BUDGET_MAX_AGE_MS: '0' } })
  }
  await new Promise((resolve) => setTimeout(resolve, pruningMs))
  const measured = await emptyDisk(cell, 'empty disk, pruned log')
  if (measured.values.statePct < 50) throw new Error('the log of the donors was not pruned: no state was transferred')
  return measured
}

/** Ms from the start of c until it has all that a has. */
async function returned(cell, options) {
  const startedAt = performance.now()
  await cell.startReplica('c', { ...options, waitsUntilReady: false })
  await cell.until(['c'], 'a', limitSeconds)
  return performance.now() - startedAt
}

/** What a fresh process spends more on its first updates is spent here. */
async function warmUp(bench, generator, target, readersAt, pid) {
  await run(bench, generator, target, readersAt, pid, 500, 'warm-up')
}

async function typing(bench, generator, target, readersAt, pid, rate, between) {
  const values = await run(
    bench,
    generator,
    target,
    readersAt,
    pid,
    rate,
    `typing-${between.replaceAll(' ', '-')}-${rate}`,
  )
  const { p50Ms, p99Ms, missing, otherPct, sent } = values
  return { point: `typing, ${rate}/s, ${between}`, values: { p50Ms, p99Ms, missing, otherPct }, sent }
}

async function run(bench, generator, target, readersAt, pid, rate, document) {
  const seconds = bench.options.seconds ?? bench.size(rate < 100 ? 10 : 4, 1)
  const leadSeconds = bench.size(1, 0.5)
  const task = { target, readersAt, pid, document, client: client + rate, readers: 1, rate, leadSeconds, seconds }
  return generator.run('fanout', { ...task, drainSeconds: 5 })
}

async function acknowledged(bench, generator, target, pid, clients, concern) {
  const values = await generator.run('acknowledged', {
    target,
    pid,
    prefix: `acknowledged-${concern}-${clients}-`,
    client,
    clients,
    rate: clients === 1 ? 20 : 5,
    leadSeconds: 1,
    seconds: bench.size(6, 1),
    drainSeconds: 5,
  })
  return { point: `acknowledged, w=${concern}, ${clients} client${clients === 1 ? '' : 's'}`, values }
}

function pour(generator, target, prefix, updates) {
  const task = { target, prefix, client, documents, each: updates / documents, window, limitSeconds }
  return generator.run('pour', task, limitSeconds + 60)
}

function via(target, base) {
  return { ...target, protocol: 'hocuspocus', base }
}

function rateOf(ops, ms) {
  return { opsPerSecond: (ops * 1000) / ms, seconds: ms / 1000 }
}

/** Bytes that these replicas have sent to their peers. */
async function sent(cell, names = replicaNames) {
  const totals = { ops: 0, chunks: 0, others: 0 }
  for (const name of names) {
    for (const [type, bytes] of Object.entries(await cell.sentBytes(name))) {
      totals[type === 'ops' ? 'ops' : type === 'state-chunk' ? 'chunks' : 'others'] += bytes
    }
  }
  return totals
}

/** Each op goes to two others; `updates` of them, with `updateBytes` together. */
function wire(before, after, { updates, updateBytes }) {
  const copies = replicaNames.length - 1
  return {
    tagBytes: ((after.ops - before.ops) / copies - updateBytes) / updates,
    otherBytes: (after.others - before.others) / copies / updates,
  }
}

function heldBackPoints(bench) {
  const ops = bench.size(100_000, 10_000)
  return [500, 1].map((opsPerMessage) => {
    const args = ['--expose-gc', heldBack, bench.options.root, String(ops), String(opsPerMessage)]
    const output = execFileSync(process.execPath, args, { encoding: 'utf8', timeout: 120_000 })
    const label = opsPerMessage === 1 ? 'one by one' : `${opsPerMessage} a message`
    return { point: `held back, ${label}`, values: JSON.parse(output) }
  })
}
