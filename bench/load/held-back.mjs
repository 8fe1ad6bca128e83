// What an op costs that waits for its causes: 100,000 ops of one origin, decoded from messages as a peer sends them, all
// waiting for one op of another. A process of its own with `--expose-gc`; writes `{bytesEach}` to its standard output.
// The cores come from their sources, since the build has them inside of one file.
import { createServer } from 'vite'
import { typedUpdates } from './updates.mjs'

const [root, opsText, opsPerMessageText] = process.argv.slice(2)
const ops = Number(opsText)
const opsPerMessage = Number(opsPerMessageText)

const vite = await createServer({
  root,
  configFile: false,
  logLevel: 'error',
  appType: 'custom',
  server: { middlewareMode: true, ws: false, watch: null },
  optimizeDeps: { noDiscovery: true },
})
const load = (path) => vite.ssrLoadModule(`${root}/${path}`)
const { CausalDelivery } = await load('shared/causal/delivery.ts')
const { Lineages } = await load('shared/clock/lineages.ts')
const { makeOrigin } = await load('shared/clock/dot.ts')
const { flowCost } = await load('shared/protocol/peer.ts')
const { PeerDecoder, PeerEncoder } = await load('shared/protocol/peer-codec.ts')

const [own, writer, missing] = ['a', 'b', 'c'].map((name, index) => makeOrigin(name, String(index).padStart(16, '0')))
const chain = new Uint8Array(16)
const delivery = new CausalDelivery({
  own,
  lineages: new Lineages(),
  chain: () => chain,
  vector: new Map([[writer, 1]]),
  heads: new Map([[writer, { seq: 1, chain }]]),
})
const messages = encoded()
const decoder = new PeerDecoder()

const before = used()
for (let index = 0; index < messages.length; index++) {
  const message = decoder.decode(messages[index])
  const run = { origin: writer, ops: message.ops, chain, bytes: flowCost(message) }
  delivery.step({ type: 'runs-received', from: 'b', runs: [run], nowMs: 0 })
}
const after = used()
const { heldOps, dropped } = delivery.figures
if (heldOps !== ops || dropped > 0) throw new Error(`${heldOps} of ${ops} ops are held back`)
// Not freed before the second look, nor the messages that their updates are views of.
if (messages.length === 0) throw new Error('no messages')
process.stdout.write(JSON.stringify({ bytesEach: (after - before + messageBytes()) / ops }))
await vite.close()
process.exit(0)

function encoded() {
  const updates = typedUpdates(3_500_000_001, ops)
  const encoder = new PeerEncoder()
  const result = []
  const deps = new Map([[missing, 1]])
  for (let at = 0; at < ops; at += opsPerMessage) {
    const batch = updates.slice(at, at + opsPerMessage).map((update, index) => ({
      kind: 'data',
      dot: { origin: writer, seq: at + index + 2 },
      deps,
      hlc: 1_900_000_000_000 * 4096 + at + index,
      parts: [{ document: `notes-${(at + index) % 200}`, generation: 1, update }],
    }))
    const chains = new Map([[writer, chain]])
    result.push(encoder.encode({ type: 'ops', pull: 0, urgent: false, ops: batch, chains }))
  }
  return result
}

function messageBytes() {
  return messages.reduce((sum, { length }) => sum + length, 0)
}

function used() {
  globalThis.gc()
  globalThis.gc()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
