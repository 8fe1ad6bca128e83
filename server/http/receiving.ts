/**
 * Bodies that are being read. Each is bounded by itself; but who sends half of one and waits could do so on thousands of
 * connections. So all together are bounded too, and it is the largest that goes, not who comes last.
 */
export const RECEIVING_LIMIT_BYTES = 256 * 1024 * 1024

export interface Receiving {
  bytes: number
  /** Gives the body up. */
  readonly giveUp: () => void
}

export class ReceivingBodies {
  private readonly limitBytes: number
  private readonly bodies = new Set<Receiving>()
  private heldBytes = 0

  constructor(limitBytes = RECEIVING_LIMIT_BYTES) {
    this.limitBytes = limitBytes
  }

  begin(body: Receiving): void {
    this.bodies.add(body)
  }

  /** More of a body has come. Gives up the largest ones where there is too much, perhaps this one. */
  grow(body: Receiving, bytes: number): void {
    body.bytes += bytes
    this.heldBytes += bytes
    while (this.heldBytes > this.limitBytes) {
      let largest = body
      for (const other of this.bodies) if (other.bytes > largest.bytes) largest = other
      this.end(largest)
      largest.giveUp()
    }
  }

  /** The body is whole, or was given up; saying so twice is no harm. */
  end(body: Receiving): void {
    if (this.bodies.delete(body)) this.heldBytes -= body.bytes
  }
}
