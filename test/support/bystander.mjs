/**
 * The thread of `Bystander`: types into a document of its own, one letter when the one before has come back, and keeps
 * the times. No Yjs, no garbage to speak of: what it measures is the replica and the line.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { WebSocket } from 'ws'

const PAUSE_MS = 3
const { url, clientId } = workerData

function varUint(value) {
  const bytes = []
  let rest = value
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80)
  return [...bytes, rest]
}

/** An update frame: one letter of ours at `clock`, at the head of root `b`. */
function letter(clock) {
  const update = [1, 1, ...varUint(clientId), ...varUint(clock), 4, 1, 1, 0x62, 1, 0x78, 0]
  return Uint8Array.from([0, 2, update.length, ...update])
}

const socket = new WebSocket(url)
let clock = 0
let sentAtMs = 0
let times = []
let lap
let isFirst = true

function type() {
  sentAtMs = performance.now()
  socket.send(letter(clock++))
}

/** A lap is over when a letter that was typed inside it, or was under way when it was called, is back. */
function returned() {
  times.push(performance.now() - sentAtMs)
  if (lap !== undefined) {
    parentPort.postMessage({ lap, times })
    lap = undefined
    times = []
  }
  setTimeout(type, PAUSE_MS)
}

parentPort.on('message', (message) => {
  lap = message.lap
})
socket.on('message', (data) => {
  if (data[0] !== 0) return
  // The replica asks first: only then is the document open.
  if (isFirst && data[1] === 0) {
    isFirst = false
    type()
  } else if (data[1] === 2) returned()
})
socket.on('close', (code) => parentPort.postMessage({ closed: code }))
socket.on('error', () => {})
