/** One of the log's threads as the main thread holds it: questions with answers, and what happens when it dies. */
import type { Worker } from 'node:worker_threads'
import { CausewayError } from '../../shared/errors/error.js'
import type { LogOptions } from './log.js'
import { type Answer, fromErrorMessage, type OpenLog, type Together } from './log-messages.js'
import { type LogRole, startLogThread } from './log-worker-thread.js'

interface Call {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: CausewayError) => void
}

export class LogThread<To extends { readonly type: string }, From extends { readonly type: string }> {
  private readonly worker: Worker
  private readonly calls = new Map<number, Call>()
  private lastCall = 0
  /** Questions that this turn of the event loop gathers. */
  private gathered: To[] = []
  private isOver = false
  private death: CausewayError | undefined
  private onMessage: (message: Exclude<From, Answer>) => void = () => {}
  private onDeath: (error: CausewayError) => void = () => {}

  /** Takes a thread that was started already, or starts one; it keeps no process alive until it is opened. */
  constructor(role: LogRole, worker = startLogThread(role)) {
    this.worker = worker
    this.worker.on('message', (message: From | Answer | Together<From | Answer>) => this.hear(message))
    const die = (cause: unknown): void => {
      if (this.isOver) return
      this.isOver = true
      const code = role === 'writer' ? 'storage/failed' : 'document/unavailable'
      this.death = new CausewayError(code, { thread: role, reason: String(cause) }, { cause })
      this.onDeath(this.death)
      this.rejectAll(this.death)
    }
    this.worker.on('error', die)
    this.worker.on('messageerror', die)
    this.worker.on('exit', (code) => die(new Error(`the thread ended with code ${code}`)))
    this.worker.unref() // Last: a listener for messages takes it back.
  }

  /**
   * Once, and before anything else is posted. `onMessage` gets what answers no call; `onDeath` is called once, unless
   * the thread was to end: after this has returned, also where the thread is dead already.
   */
  open(
    options: LogOptions,
    onMessage: (message: Exclude<From, Answer>) => void,
    onDeath: (error: CausewayError) => void,
  ): void {
    this.onMessage = onMessage
    this.onDeath = onDeath
    const { death } = this
    if (death !== undefined) queueMicrotask(() => onDeath(death))
    this.worker.ref()
    const message: OpenLog = { type: 'open', options }
    this.worker.postMessage(message)
  }

  get waiting(): number {
    return this.calls.size
  }

  post(message: To, transfer: readonly ArrayBuffer[] = []): void {
    this.postGathered()
    this.worker.postMessage(message, transfer)
  }

  /** Asks, and resolves with the answer. */
  call<Value>(ask: (id: number) => To): Promise<Value> {
    return new Promise((resolve, reject) => {
      const id = ++this.lastCall
      this.calls.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.post(ask(id))
    })
  }

  /** As `call`, for a thread that takes questions together: those of one turn of the event loop are one message. */
  callTogether<Value>(ask: (id: number) => To): Promise<Value> {
    return new Promise((resolve, reject) => {
      const id = ++this.lastCall
      this.calls.set(id, { resolve: resolve as (value: unknown) => void, reject })
      if (this.gathered.push(ask(id)) === 1) setImmediate(() => this.postGathered())
    })
  }

  private postGathered(): void {
    if (this.gathered.length === 0) return
    const together: Together<To> = { type: 'together', messages: this.gathered }
    this.gathered = []
    this.worker.postMessage(together)
  }

  private hear(message: From | Answer | Together<From | Answer>): void {
    if (message.type === 'together') for (const each of (message as Together<From | Answer>).messages) this.hear(each)
    else if (!this.settle(message as From | Answer)) this.onMessage(message as Exclude<From, Answer>)
  }

  private rejectAll(error: CausewayError): void {
    for (const { reject } of this.calls.values()) reject(error)
    this.calls.clear()
  }

  /** Asks the thread to close and waits until it has gone; its death now is no failure. */
  async close(ask: (id: number) => To): Promise<void> {
    this.isOver = true
    const gone = new Promise((resolve) => this.worker.once('exit', resolve))
    try {
      await Promise.race([this.call(ask), gone])
    } finally {
      await this.end()
    }
  }

  async end(): Promise<void> {
    this.isOver = true
    await this.worker.terminate()
    this.rejectAll(new CausewayError('cell/draining'))
  }

  private settle(message: From | Answer): boolean {
    if (message.type !== 'answered' && message.type !== 'failed') return false
    const answer = message as Answer
    const call = this.calls.get(answer.id)
    this.calls.delete(answer.id)
    if (answer.type === 'answered') call?.resolve(answer.value)
    else call?.reject(fromErrorMessage(answer.error))
    return true
  }
}
