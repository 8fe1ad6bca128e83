/**
 * Lines to standard output, written at once by the thread that logs: what was logged before a crash is there after it.
 * A reader that is behind is waited for, but only so long: one that has stopped must not stop the replica, and from then
 * on costs the lines until it reads again. So does one that has gone, or a disk that is full.
 */
import { writeSync } from 'node:fs'

const STANDARD_OUTPUT = 1
/** How long a full pipe is left alone, and how often for one line. */
const FULL_WAIT_MS = 5
const FULL_WAITS = 100

/** `writeSome` writes a part, returns its size, and throws as `fs.writeSync`. */
export function lineWriter(writeSome = writeToStandardOutput): (line: string) => void {
  let isStuck = false
  /** The last line was written in part: the next one begins with the end of it. */
  let isCut = false
  return (line) => {
    const bytes = Buffer.from(isCut ? `\n${line}` : line)
    let written = 0
    for (let waits = 0; written < bytes.length; ) {
      try {
        written += writeSome(bytes.subarray(written))
        isStuck = false
      } catch (error) {
        const isFull = (error as { code?: string }).code === 'EAGAIN'
        isStuck ||= isFull && waits++ >= FULL_WAITS
        if (isStuck || !isFull) break
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_WAIT_MS)
      }
    }
    if (written > 0) isCut = written < bytes.length
  }
}

function writeToStandardOutput(bytes: Uint8Array): number {
  return writeSync(STANDARD_OUTPUT, bytes)
}
