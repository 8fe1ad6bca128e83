// The highest rate that a server fans out to 100 readers in time: a ladder of rates a quarter apart. The first round
// climbs by doubling and then halves the interval; later rounds start where the last one ended. A server that failed a
// rate is replaced, so that its backlog does not weigh on the next.
import { warmUp } from './fanout.mjs'

const readers = 100
const p99LimitMs = 100
const ladder = [
  ...[50, 63, 80, 100, 125, 160, 200, 250, 320, 400, 500, 640, 800],
  ...[1_000, 1_250, 1_600, 2_000, 2_500, 3_200, 4_000, 5_000, 6_400, 8_000],
]
const doubling = 3
const firstRung = ladder.indexOf(500)

export const capacity = {
  name: 'capacity',
  about: `highest rate at ${readers} readers with p99 below ${p99LimitMs} ms and nothing lost`,
  contestants: {
    goals: ['causeway/y', 'y-leveldb'],
    others: ['causeway/hocuspocus', 'hocuspocus', 'y-websocket', 'relay'],
  },
  columns: [
    ['highestRate', 'updates/s'],
    ['deliveriesPerSecond', 'deliveries/s'],
    ['framesPerSecond', 'frames/s'],
    ['p99Ms', 'p99 ms'],
    ['serverPct', 'server CPU %'],
    ['generatorPct', 'load CPU %'],
    ['otherPct', 'other CPU %'],
    ['highestAsked', 'highest asked'],
  ],
  notes: [
    `Rates are a quarter apart, the highest is ${ladder.at(-1)}/s. The other columns are those of the passing rate.`,
  ],

  async measure(bench, contestant) {
    const key = `capacity ${contestant}`
    const results = new Map()
    let highestAsked = 0
    const passes = async (rung) => {
      if (rung < 0) return true
      if (rung >= ladder.length) return false
      if (!results.has(rung)) results.set(rung, await probe.at(ladder[rung]))
      highestAsked = Math.max(highestAsked, ladder[rung])
      return isPass(results.get(rung))
    }
    const probe = new Prober(bench, contestant)
    try {
      const start = bench.memory.get(key)
      const best = start === undefined ? await climb(passes, bench.size(ladder.length, 2)) : await walk(passes, start)
      bench.memory.set(key, Math.max(best, 0))
      const values = results.get(best)
      return [
        { point: `${readers} readers`, values: { ...values, highestRate: best < 0 ? 0 : ladder[best], highestAsked } },
      ]
    } finally {
      await probe.end()
    }
  },
}

function isPass({ p99Ms, missing, closed }) {
  return p99Ms < p99LimitMs && missing === 0 && closed === 0
}

/** By doubling from the first rung, then by halving; at most `limit` doublings. Returns the highest passing rung. */
async function climb(passes, limit) {
  let low = -1
  let high = firstRung
  if (await passes(high)) {
    low = high
    for (let step = 0; step < limit && low === high; step++) {
      high = Math.min(high + doubling, ladder.length)
      if (await passes(high)) low = high
    }
    if (low === high) return low
  } else {
    for (low = high - doubling; !(await passes(low)); low -= doubling) high = low
    low = Math.max(low, -1)
  }
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (await passes(middle)) low = middle
    else high = middle
  }
  return low
}

/** One rung at a time from where the last round ended. */
async function walk(passes, start) {
  let rung = start
  if (await passes(rung)) {
    while (await passes(rung + 1)) rung++
    return rung
  }
  while (!(await passes(rung - 1))) rung--
  return Math.max(rung - 1, -1)
}

/** Probes single rates, at one warm server as long as it passes. */
class Prober {
  #bench
  #contestant
  #running
  #probes = 0

  constructor(bench, contestant) {
    this.#bench = bench
    this.#contestant = contestant
  }

  async at(rate) {
    this.#running ??= await this.#start()
    const { generator, target, pid } = this.#running
    const values = await generator.run('fanout', {
      target,
      pid,
      document: `capacity-${++this.#probes}`,
      client: 3_500_000_000 + this.#probes,
      readers,
      rate,
      leadSeconds: this.#bench.size(1, 0.5),
      seconds: this.#bench.size(2, 1),
      drainSeconds: 1,
    })
    if (!isPass(values)) await this.end()
    return values
  }

  /** A server and a load process that stay until `end`. */
  #start() {
    return new Promise((resolve, reject) => {
      this.ended = this.#bench
        .with(this.#contestant, {}, async ({ generator, target, pid }) => {
          await warmUp(this.#bench, generator, target, pid, this.#bench.size(2, 1))
          await new Promise((finish) => resolve({ generator, target, pid, finish }))
        })
        .catch(reject)
    })
  }

  async end() {
    this.#running?.finish()
    this.#running = undefined
    await this.ended
  }
}
