// Documents by the hundred: filling them, keeping them open, and finding them again after a restart.
import * as Y from 'yjs'
import { readHistory } from '../history.mjs'
import { pause, waitUntil } from '../open-loop.mjs'
import { kinds, protocols } from '../protocols.mjs'
import { sample, usedBetween } from '../sampling.mjs'
import { inParallel, Session } from '../session.mjs'
import { textUpdate, updateFrame } from '../updates.mjs'
import { timedJoin } from './join.mjs'

const openAtOnce = 50
const echoLimitMs = 10_000
const retryMs = 3
const held = []

/** The client id that wrote document number `index`. */
const writerOf = (index) => 3_200_000_001 + index

/**
 * Writes one update into each of `count` documents and waits until the server has taken it.
 * @param task `{target, prefix, count, characters | history, keepOpen}`: a text of that many characters, or the state
 *   of the history in that file; with `keepOpen` the clients stay connected until `release`
 */
export async function fill({ target, prefix, count, characters, history, keepOpen }) {
  const whole = history && readHistory(history).state
  await inParallel(count, openAtOnce, async (index) => {
    const update = whole ?? textUpdate(writerOf(index), characters)
    let taken = false
    const document = `${prefix}${index}`
    const session = await Session.open(target, document, {
      onMessage(kind, _bytes, _start, _end, wasReady) {
        if (wasReady && (kind === kinds.ack || kind === kinds.update)) taken = true
      },
    })
    session.send(updateFrame(target, document, update))
    // The relay answers nothing; everybody else acknowledges or echoes.
    if (!protocols[target.protocol].answersJoin) await pause(20)
    else if (!(await waitUntil(() => taken, echoLimitMs, 2))) throw new Error(`${document}: the update got no answer`)
    if (keepOpen) held.push(session)
    else session.close()
  })
  return {}
}

/**
 * Opens one client for each of the documents `from` up to `to` that `fill` has written, checks that each document is
 * whole, and keeps the clients connected until `release`.
 */
export async function hold({ target, prefix, from, to, history }) {
  const { about } = readHistory(history)
  const doc = new Y.Doc()
  Y.applyUpdate(doc, readHistory(history).state)
  const expected = Object.fromEntries(Y.decodeStateVector(Y.encodeStateVector(doc)))
  await inParallel(to - from, 4, async (index) => {
    held.push((await timedJoin(target, `${prefix}${from + index}`, expected)).session)
  })
  return { documents: to - from, stateBytes: about.stateBytes }
}

/** Closes what `fill` and `hold` keep open. */
export async function release() {
  for (const session of held.splice(0)) session.close()
  return {}
}

/**
 * The documents that `fill` has written, each joined once, at a server that may still be starting.
 * @param task `{target, pid, prefix, count, characters, startedAt, limitSeconds}`; `startedAt` is the moment of the server's
 *   start in epoch ms
 * @returns `{firstMs, allMs}` from the start to the first complete join, and to the last of all
 */
export async function syncAll({ target, pid, prefix, count, characters, startedAt, limitSeconds }) {
  const begun = sample(pid)
  const sinceStart = () => performance.timeOrigin + performance.now() - startedAt
  let firstMs
  for (;;) {
    try {
      await joinWhole(0)
      firstMs = sinceStart()
      break
    } catch (error) {
      if (error.code !== 'ECONNREFUSED' && !/before the upgrade/.test(error.message)) throw error
      if (sinceStart() > limitSeconds * 1000) throw new Error('the server did not start in time', { cause: error })
      await pause(retryMs)
    }
  }
  await inParallel(count - 1, openAtOnce, (index) => joinWhole(index + 1))
  const allMs = sinceStart()
  return { firstMs, allMs, otherPct: usedBetween(begun, sample(pid)).otherPct }

  async function joinWhole(index) {
    const { session } = await timedJoin(target, `${prefix}${index}`, { [writerOf(index)]: characters })
    session.close()
  }
}
