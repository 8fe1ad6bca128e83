/**
 * Lines to standard output, written at once by the thread that logs: what was logged before a crash is there after it.
 * A reader that does not keep up slows us down, since a queue would have to end somewhere; one that has gone, or a disk
 * that is full, costs the line and is no reason to stop serving.
 */
import { writeSync } from 'node:fs'

const STANDARD_OUTPUT = 1
/** How long a full pipe is left alone. */
const FULL_WAIT_MS = 5

/** `writeSome` writes a part, returns its size, and throws as `fs.writeSync`. */
export function writeLine(line: string, writeSome = writeToStandardOutput): void {
  for (let rest: Uint8Array = Buffer.from(line); rest.length > 0; ) {
    try {
      rest = rest.subarray(writeSome(rest))
    } catch (error) {
      if ((error as { code?: string }).code !== 'EAGAIN') return
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_WAIT_MS)
    }
  }
}

function writeToStandardOutput(bytes: Uint8Array): number {
  return writeSync(STANDARD_OUTPUT, bytes)
}
