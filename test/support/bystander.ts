/**
 * Somebody in another document, who must feel nothing. Types in a thread of its own, so that a test which is busy itself
 * measures the replica, not itself.
 */
import { Worker } from 'node:worker_threads'

type Message = { readonly lap: number; readonly times: readonly number[] } | { readonly closed: number }

export class Bystander {
  /** Milliseconds from a keystroke to its echo while nothing else happens. */
  usualMs = 0
  private readonly worker: Worker
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
    return await times
  }

  /** What a keystroke may take while somebody misbehaves elsewhere. */
  get limitMs(): number {
    return 10 * this.usualMs + 50
  }

  async stop(): Promise<void> {
    await this.worker.terminate()
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}
