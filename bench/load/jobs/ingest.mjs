// A long history sent as fast as the server takes it: one writer, one reader, a bounded number of updates under way.
import * as Y from 'yjs'
import { readClocks } from '../clocks.mjs'
import { historyClient, readHistory } from '../history.mjs'
import { pause, waitUntil } from '../open-loop.mjs'
import { kinds, protocols } from '../protocols.mjs'
import { sample, usedBetween } from '../sampling.mjs'
import { Session } from '../session.mjs'
import { Frames } from '../updates.mjs'
import { stateOf } from './join.mjs'

const keepAliveMs = 15_000
const framesPerWrite = 64

/**
 * @param task `{target, pid, document, history, window, limitSeconds}`; `history` is the file
 * @returns throughput from the first send until every update is acknowledged (where the protocol acknowledges) and has
 *   reached the reader; what the document holds afterwards is checked against the history
 */
export async function ingest({ target, pid, document, history, window, limitSeconds }) {
  const { updates, clocks, content, about } = readHistory(history)
  const frames = Frames.of(target, document, updates)
  const { acknowledges } = protocols[target.protocol]
  let sent = 0
  let acknowledged = 0
  let readerClock = 0
  let shown = 0

  const fill = () => {
    const until = Math.min(updates.length, (acknowledges ? acknowledged : shown) + window)
    while (sent < until) {
      const end = Math.min(until, sent + framesPerWrite)
      writer.send(frames.slice(sent, end))
      sent = end
    }
  }
  const onRange = (client, _from, to) => {
    if (client === historyClient && to > readerClock) readerClock = to
  }
  const reader = await Session.open(target, document, {
    onMessage(kind, bytes, start, end) {
      if (kind !== kinds.update) return
      readClocks(bytes, start, end, onRange)
      while (shown < updates.length && clocks[shown] <= readerClock) shown++
      if (!acknowledges) fill()
    },
  })
  const writer = await Session.open(target, document, {
    onMessage(kind, _bytes, _start, _end, wasReady) {
      if (kind !== kinds.ack || !wasReady) return
      acknowledged++
      fill()
    },
  })
  await pause(200)

  const keepAlive = setInterval(() => reader.keepAlive(), keepAliveMs)
  const begun = sample(pid)
  let ended
  fill()
  const isDone = () => shown === updates.length && (!acknowledges || acknowledged >= updates.length)
  await waitUntil(
    () => {
      if (!ended && isDone()) ended = sample(pid)
      return ended !== undefined
    },
    limitSeconds * 1000,
    2,
  )
  clearInterval(keepAlive)
  if (!ended) {
    throw new Error(`${shown} of ${updates.length} updates shown, ${acknowledged} acknowledged in ${limitSeconds} s`)
  }
  const used = usedBetween(begun, ended)
  const result = {
    updatesPerSecond: (updates.length * 1000) / used.ms,
    cpuUsPerUpdate: (used.serverMs * 1000) / updates.length,
    serverPct: used.serverPct,
    generatorPct: used.generatorPct,
    otherPct: used.otherPct,
    rssMiB: used.rssMiB,
  }
  if (protocols[target.protocol].answersJoin) await mustHold(target, document, content, about.clock)
  reader.close()
  writer.close()
  return result
}

/** A fresh join must bring the history's text. The last deletions carry no clock, so they get a moment to arrive. */
async function mustHold(target, document, content, clock) {
  let text
  for (let attempt = 0; attempt < 20; attempt++) {
    const doc = new Y.Doc()
    for (const update of await stateOf(target, document, { [historyClient]: clock })) Y.applyUpdate(doc, update)
    text = doc.getText('text').toString()
    if (text === content) return
    await pause(100)
  }
  throw new Error(`the document holds another text than was sent (${text.length} for ${content.length} characters)`)
}
