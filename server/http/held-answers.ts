/**
 * What readers have asked for and not taken yet. A document may be large and its reader slow, or not reading at all, and
 * each answer is a copy of its own: beyond a bound, all together, the next one is told to come back.
 */
import type { ServerResponse } from 'node:http'
import { CausewayError } from '../../shared/errors/error.js'
import { onceOver } from './answer-end.js'

export const HELD_ANSWERS_LIMIT_BYTES = 256 * 1024 * 1024

export class HeldAnswers {
  private readonly limitBytes: number
  private heldBytes = 0

  constructor(limitBytes = HELD_ANSWERS_LIMIT_BYTES) {
    this.limitBytes = limitBytes
  }

  /** Counts an answer until it was taken or its connection has ended. Throws `document/busy`, except for the only one. */
  hold(response: ServerResponse, bytes: number): void {
    if (this.heldBytes > 0 && this.heldBytes + bytes > this.limitBytes) {
      throw new CausewayError('document/busy', {}, { message: 'Too many answers wait for their readers.' })
    }
    this.heldBytes += bytes
    onceOver(response, () => {
      this.heldBytes -= bytes
    })
  }
}
