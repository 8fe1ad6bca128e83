// What a killed server has forgotten: everything that it had acknowledged to a writer or shown to anybody must be
// there when it is back.
import * as Y from 'yjs'
import { readClocks } from '../clocks.mjs'
import { pause } from '../open-loop.mjs'
import { kinds, protocols } from '../protocols.mjs'
import { inParallel, Session } from '../session.mjs'
import { Frames, typedUpdates } from '../updates.mjs'

const openAtOnce = 10
const settleMs = 1_000
const writerOf = (index) => 3_300_000_001 + index

/**
 * Types into every document, kills the server at `killAfterMs`, and tells what its clients knew then.
 * @param task `{target, pid, prefix, documents, rate, killAfterMs}`; a writer and a reader for each document
 * @returns per document `{sent, acknowledged, shown}`: numbers of updates, where `acknowledged` counts
 *   acknowledgements, and `shown` is what any client, the writer included, has received
 */
export async function typeUntilKilled({ target, pid, prefix, documents, rate, killAfterMs }) {
  const { acknowledges } = protocols[target.protocol]
  const count = Math.ceil((rate * killAfterMs) / 1000) + rate
  let killed = false
  let open = 0
  const known = await inParallel(documents, openAtOnce, async (index) => {
    const document = `${prefix}${index}`
    const state = { sent: 0, acknowledged: 0, shown: 0, writer: undefined }
    const onRange = (_client, _from, to) => {
      state.shown = Math.max(state.shown, to)
    }
    const onMessage = (kind, bytes, start, end, wasReady) => {
      if (kind === kinds.update) readClocks(bytes, start, end, onRange)
      else if (kind === kinds.ack && wasReady && acknowledges) state.acknowledged++
    }
    const onClose = (reason) => {
      if (!killed) throw new Error(`${document}: ${reason} before the kill`)
      open--
    }
    state.frames = Frames.of(target, document, typedUpdates(writerOf(index), count))
    await Session.open(target, document, { onMessage, onClose })
    state.writer = await Session.open(target, document, { onMessage, onClose })
    open += 2
    return state
  })
  await pause(100)

  const startedAt = performance.now()
  while (performance.now() - startedAt < killAfterMs) {
    const due = Math.min(count, Math.floor(((performance.now() - startedAt) * rate) / 1000))
    for (const state of known) {
      while (state.sent < due) state.writer.send(state.frames.slice(state.sent++))
    }
    await pause(1)
  }
  killed = true
  process.kill(pid, 'SIGKILL')
  // What the kernel still holds for us was sent before the kill and counts as shown.
  const deadline = performance.now() + settleMs
  while (open > 0 && performance.now() < deadline) await pause(5)
  return { documents: known.map(({ sent, acknowledged, shown }) => ({ sent, acknowledged, shown })) }
}

/** How many updates of each document the server has now: `{present: number[]}`. */
export async function present({ target, prefix, documents, settledMs }) {
  const counts = await inParallel(documents, openAtOnce, async (index) => {
    let count = 0
    const session = await Session.open(target, `${prefix}${index}`, {
      onMessage(kind, bytes, start, end) {
        if (kind !== kinds.step2 && kind !== kinds.update) return
        const vector = Y.decodeStateVector(Y.encodeStateVectorFromUpdate(bytes.subarray(start, end)))
        count = Math.max(count, vector.get(writerOf(index)) ?? 0)
      },
    })
    // Some servers answer before they have loaded the document and send the rest as updates.
    await pause(settledMs)
    session.close()
    return count
  })
  return { present: counts }
}
