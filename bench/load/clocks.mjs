// Which (client, clock) ranges a Yjs update brings, read from its structs without building anything: that is how the
// load process tells when an update has arrived, also inside a merged one. It knows the structs that the benchmark's
// own edits lead to (text, deleted text, collected and skipped ranges) and refuses others, rather than count wrongly.
import { varUint } from './varint.mjs'

const utf8 = new TextDecoder()

/**
 * Calls `onRange(client, from, to)` for every run of clocks in the V1 update at `[start, end)`; skips are no content.
 * @throws on a kind of struct that the benchmark never writes, and where the structs run over the end
 */
export function readClocks(bytes, start, end, onRange) {
  let clients = varUint(bytes, start)
  let at = varUint.end
  for (; clients > 0; clients--) {
    let structs = varUint(bytes, at)
    const client = varUint(bytes, varUint.end)
    let clock = varUint(bytes, varUint.end)
    let from = clock
    at = varUint.end
    for (; structs > 0; structs--) {
      const info = bytes[at++]
      const length = structLength(bytes, at, info)
      at = structEnd
      if ((info & 0x1f) === 10) {
        if (clock > from) onRange(client, from, clock)
        from = clock + length
      }
      clock += length
    }
    if (clock > from) onRange(client, from, clock)
  }
  if (at > end) throw new Error('an update whose structs run over its end')
}

let structEnd = 0

/** Length in clocks of the struct whose info byte stands before `at`; sets `structEnd`. */
function structLength(bytes, at, info) {
  const kind = info & 0x1f
  if (kind === 0 || kind === 10) return endingAt(varUint(bytes, at))
  if ((info & 0xc0) === 0) {
    at = afterParent(bytes, at)
    if ((info & 0x20) !== 0) at = afterString(bytes, at)
  } else {
    if ((info & 0x80) !== 0) at = afterId(bytes, at)
    if ((info & 0x40) !== 0) at = afterId(bytes, at)
  }
  if (kind === 1) return endingAt(varUint(bytes, at))
  if (kind !== 4) throw new Error(`an update with content of kind ${kind}, which the benchmark never writes`)
  const size = varUint(bytes, at)
  at = varUint.end
  structEnd = at + size
  for (let i = at; i < structEnd; i++) {
    // Clocks count UTF-16 units; only ASCII has as many of them as bytes.
    if (bytes[i] >= 0x80) return utf8.decode(bytes.subarray(at, structEnd)).length
  }
  return size
}

function endingAt(length) {
  structEnd = varUint.end
  return length
}

function afterParent(bytes, at) {
  const isRoot = varUint(bytes, at) === 1
  return isRoot ? afterString(bytes, varUint.end) : afterId(bytes, varUint.end)
}

function afterString(bytes, at) {
  const size = varUint(bytes, at)
  return varUint.end + size
}

function afterId(bytes, at) {
  varUint(bytes, at)
  varUint(bytes, varUint.end)
  return varUint.end
}
