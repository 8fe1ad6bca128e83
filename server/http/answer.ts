/** Answers that are not errors. */
import type { Response } from 'express'
import { replicaNameOf } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'

/** `value` as JSON; a text is taken as finished JSON. */
export function sendJson(response: Response, status: number, value: object | string): void {
  response.status(status).set('Content-Type', 'application/json; charset=utf-8')
  response.send(typeof value === 'string' ? value : JSON.stringify(value))
}

export function sendBytes(response: Response, bytes: Uint8Array): void {
  response.status(200).set('Content-Type', 'application/octet-stream')
  response.send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
}

/** `{"a":3}`: for people, the highest seq of each replica by its name. */
export function clockOf(vector: VersionVector): Record<string, number> {
  const clock: Record<string, number> = {}
  for (const [origin, seq] of vector) {
    const name = replicaNameOf(origin)
    clock[name] = Math.max(clock[name] ?? 0, seq)
  }
  return clock
}
