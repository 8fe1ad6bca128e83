// A process that writes words to a document until it is killed or its disk fails, and says what it was told: a line
// `open <position>`, then `stored <n>` for each word in order, `failed <code>` for each that was refused. It snapshots
// and prunes as it goes, so that a kill may meet those, too. Arguments: directory, incarnation, words at most.
import { writeSync } from 'node:fs'
import { openLog } from '../../../dist/.modules/server/storage/log-client.js'
import { encodeOpBatch } from '../../../dist/.modules/shared/protocol/op-codec.js'

const [directory, incarnation, most] = process.argv.slice(2)
// Not console.log: what was said must be out before anything else happens.
const say = (line) => {
  for (let rest = Buffer.from(`${line}\n`); rest.length > 0; ) {
    try {
      rest = rest.subarray(writeSync(1, rest))
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}

const log = await openLog({ directory, replicaName: 'a', incarnation }).catch((error) => {
  say(`refused ${error.code}`)
  process.exit(5)
})
const { predecessor, latestHlc, position } = log.recovered
const origin = `a.${incarnation}`
let seq = predecessor?.seq ?? 0
let hlc = latestHlc || 1
const loaded = await log.load('words')
const text = (document) =>
  [document?.snapshot?.update, ...(document?.tail ?? []).map(({ update }) => update)]
    .map((bytes) => new TextDecoder().decode(bytes))
    .join('')
let word = text(loaded).split(' ').length - 1
say(`open ${position}`)

const next = () => ({ dot: { origin, seq: ++seq }, deps: new Map(), hlc: ++hlc })
const edit = () => {
  const update = new TextEncoder().encode(`w${++word} `)
  return { kind: 'data', ...next(), parts: [{ document: 'words', generation: 0, update }] }
}

let told = word
let failures = 0
const commit = (ops) =>
  new Promise((resolve) => {
    const words = ops.filter(({ kind }) => kind === 'data').length
    try {
      log.commit(encodeOpBatch(ops), (error) => {
        for (let index = 0; index < words; index++) say(error ? `failed ${error.code}` : `stored ${++told}`)
        if (error) failures++
        resolve()
      })
    } catch (error) {
      say(`failed ${error.code}`)
      failures++
      resolve()
    }
  })

await commit([{ kind: 'open', ...next(), ...(predecessor && { predecessor }) }])
for (let round = 1; word < Number(most) && failures < 3; round++) {
  const waiting = [1, 2, 3].map((size) => commit(Array.from({ length: (size * round) % 7 || 1 }, edit)))
  if (round % 5 === 0 && failures === 0) await compact().catch((error) => say(`failed ${error.code}`))
  await Promise.all(waiting)
}

async function compact() {
  const document = await log.load('words')
  const bytes = new Uint8Array(8)
  const update = new TextEncoder().encode(text(document))
  const { position, generation } = document
  await log.saveSnapshot({
    document: 'words',
    generation,
    position,
    update,
    known: bytes,
    fingerprint: bytes,
  })
  await log.prune({ maxBytes: 2_000, maxAgeMs: 1e12, nowMs: Date.now(), ceiling: new Map([[origin, seq]]) })
}

if (failures > 0) process.exit(5)
await log.close()
say('closed')
