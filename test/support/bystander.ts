/**
 * Somebody in another document, who must feel nothing. Types in a thread of its own, so that a test which is busy itself
 * measures the replica, not itself.
 */
import { Worker } from 'node:worker_threads'

const ATTEMPTS = 3

type Message = { readonly lap: number; readonly times: readonly number[] } | { readonly closed: number }

export class Bystander {
  /** Milliseconds from a keystroke to its echo while nothing else happens. */
  usualMs = 0
  private readonly worker: Worker
  private slowestMs = 0
  private laps = 0
  private waiting:
    | { lap: number; resolve: (times: readonly number[]) => void; reject: (error: Error) => void }
    | undefined

  private constructor(url: string, clientId: number) {
    this.worker = new Worker(new URL('./bystander.mjs', import.meta.url), { workerData: { url, clientId } })
    this.worker.on('message', (message: Message) => {
      const { waiting } = this
      if ('closed' in message) waiting?.reject(new Error(`the bystander was closed with ${message.closed}`))
      else if (message.lap === waiting?.lap) {
        this.waiting = undefined
        waiting.resolve(message.times)
      }
    })
  }

  /** `url`: of the document on `/y`, in which nobody else writes as `clientId`. Resolves when the usual delay is known. */
  static async start(url: string, clientId = 7): Promise<Bystander> {
    const bystander = new Bystander(url, clientId)
    const times: number[] = []
    while (times.length < 200) times.push(...(await bystander.lap()))
    // The first ones meet code that was never run.
    bystander.usualMs = median(times.slice(50))
    return bystander
  }

  /** Milliseconds of each keystroke since the lap before, the one under way included. */
  async lap(): Promise<readonly number[]> {
    const lap = ++this.laps
    const times = new Promise<readonly number[]>((resolve, reject) => {
      this.waiting = { lap, resolve, reject }
    })
    this.worker.postMessage({ lap })
    this.slowestMs = Math.max(this.slowestMs, ...(await times))
    return await times
  }

  /**
   * The slowest keystroke while `attack` runs, in ms. A machine may be busy for a moment; what an attack does, it does
   * each time: where it was too slow the attack is run again, and the least of three counts.
   */
  async slowestDuring(attack: (attempt: number) => Promise<void>): Promise<number> {
    let leastMs = Number.POSITIVE_INFINITY
    for (let attempt = 1; attempt <= ATTEMPTS && leastMs > this.limitMs; attempt++) {
      await this.lap()
      this.slowestMs = 0
      await attack(attempt)
      await this.lap()
      leastMs = Math.min(leastMs, this.slowestMs)
    }
    return leastMs
  }

  /** What a keystroke may take while somebody misbehaves elsewhere. */
  get limitMs(): number {
    return 10 * this.usualMs + 250
  }

  async stop(): Promise<void> {
    await this.worker.terminate()
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}
