/**
 * A pool of threads for work whose cost nobody knows beforehand. Three rules: a task over its budget costs its thread and
 * nobody else's task; what a person waits for goes before housekeeping; an idle pool is free, since threads start with
 * the first task and end when nothing came for a while.
 *
 * The budget is wall-clock time from the moment a ready thread gets the task: a thread that still starts is not held
 * against the task. The thread runs one task at a time, so whatever happens to it (killed, out of memory, crashed)
 * belongs to that task alone.
 */
import type { Worker } from 'node:worker_threads'
import { assert } from '../../shared/base/assert.js'
import { ERROR_CODES, type ErrorCodeName } from '../../shared/errors/codes.js'
import { CausewayError, type ErrorDetails } from '../../shared/errors/error.js'
import { detach } from './transfer.js'

/** `interactive`: somebody waits for the answer. `background`: upkeep, which gets every ninth turn at least. */
export type Priority = 'interactive' | 'background'

/** What the pool runs: functions by name. Only its type is used here; the functions live in the thread. */
// biome-ignore lint/suspicious/noExplicitAny: the inputs differ from task to task; `run` restores each one's own type
export type TaskTable = Readonly<Record<string, (...input: any[]) => unknown>>

/** Posted to a thread that is idle; answered by exactly one `TaskReply` with the same number. */
export interface TaskRequest {
  readonly number: number
  readonly kind: string
  readonly input: readonly unknown[]
}

/** Posted by a thread: first `ready`, once; then the outcome of each request. */
export type TaskReply =
  | { readonly type: 'ready' }
  | { readonly type: 'done'; readonly number: number; readonly result: unknown }
  | { readonly type: 'failed'; readonly number: number; readonly error: PortableError }

/** An error as it crosses threads: a code of the table, or, for what nobody foresaw, only the text. */
export interface PortableError {
  readonly code: ErrorCodeName | undefined
  readonly details: ErrorDetails
  readonly message: string
  readonly stack: string | undefined
}

export interface WorkerPoolOptions<Table extends TaskTable> {
  /** Starts one thread that serves the table (`serveTasks`). */
  readonly spawn: () => Worker
  readonly priorities: Readonly<Record<keyof Table, Priority>>
  /** Threads at most. */
  readonly threads: number
  /** Wall-clock milliseconds that one task may run. */
  readonly budgetMs: number
  /** Tasks that may wait, per priority; one more is refused with `document/busy`. */
  readonly queueLimit: number
  /** A thread that had no task for so long ends. */
  readonly idleMs: number
}

/** Times in milliseconds, since the pool was made. */
export interface TaskStats {
  /** Tasks that ended, `failed` ones included. */
  count: number
  failed: number
  waitMs: number
  longestWaitMs: number
  runMs: number
  longestRunMs: number
}

export interface PoolStats<Kind extends PropertyKey = string> {
  readonly threads: number
  readonly running: number
  readonly waiting: Readonly<Record<Priority, number>>
  /** Threads ended because a task went over its budget or crashed them. */
  readonly killed: number
  /** Tasks refused with `document/busy`. */
  readonly refused: number
  /** Of each kind that ran. */
  readonly tasks: Readonly<Partial<Record<Kind, Readonly<TaskStats>>>>
}

interface Task {
  readonly number: number
  readonly kind: string
  readonly input: readonly unknown[]
  readonly enqueuedAt: number
  readonly resolve: (result: unknown) => void
  readonly reject: (error: CausewayError) => void
}

interface RunningTask extends Task {
  readonly startedAt: number
  readonly budget: NodeJS.Timeout
}

interface Thread {
  readonly worker: Worker
  /** `ending`: terminated; it keeps its place until it is gone, so that there are never more than `threads`. */
  state: 'starting' | 'idle' | 'running' | 'ending'
  task: RunningTask | undefined
  idle: NodeJS.Timeout | undefined
}

/** Interactive tasks in a row while background ones wait. */
const INTERACTIVE_IN_A_ROW = 8

export class WorkerPool<Table extends TaskTable> {
  private readonly options: WorkerPoolOptions<Table>
  private readonly threads = new Set<Thread>()
  private readonly waiting: Record<Priority, Task[]> = { interactive: [], background: [] }
  private readonly taskStats: Partial<Record<keyof Table, TaskStats>> = {}
  private interactiveInARow = 0
  private nextNumber = 1
  private killed = 0
  private refused = 0
  private closed = false

  constructor(options: WorkerPoolOptions<Table>) {
    assert(options.threads >= 1 && options.queueLimit >= 1 && options.budgetMs > 0, 'a pool needs room to work in')
    this.options = options
  }

  /**
   * Runs a task in a thread. Bytes in `input` are copied when the task starts: they stay usable, and must not change
   * before the promise settles. The result owns its bytes. Rejects with what the task threw; `document/busy` when too
   * many wait; `document/too-slow` over the budget of time, `document/too-expensive` over that of memory (both with
   * `details.task`, `details.limit`);
   * `internal/failure` when the thread crashed; `cell/draining` once the pool is closed.
   */
  run<Kind extends keyof Table & string>(
    kind: Kind,
    ...input: Parameters<Table[Kind]>
  ): Promise<Awaited<ReturnType<Table[Kind]>>> {
    return new Promise((resolve, reject) => {
      if (this.closed) throw new CausewayError('cell/draining')
      const queue = this.waiting[this.options.priorities[kind]]
      if (queue.length >= this.options.queueLimit) {
        this.refused += 1
        throw new CausewayError('document/busy', { task: kind, waiting: queue.length })
      }
      queue.push({
        number: this.nextNumber++,
        kind,
        input,
        enqueuedAt: performance.now(),
        resolve: resolve as (result: unknown) => void,
        reject,
      })
      this.dispatch()
    })
  }

  stats(): PoolStats<keyof Table> {
    const { interactive, background } = this.waiting
    return {
      threads: this.threads.size,
      running: [...this.threads].filter((thread) => thread.task).length,
      waiting: { interactive: interactive.length, background: background.length },
      killed: this.killed,
      refused: this.refused,
      tasks: structuredClone(this.taskStats),
    }
  }

  /** Ends all threads now. What waits or runs is rejected with `cell/draining`; resolves when the threads are gone. */
  async close(): Promise<void> {
    this.closed = true
    for (const queue of Object.values(this.waiting)) {
      for (const task of queue.splice(0)) task.reject(new CausewayError('cell/draining'))
    }
    const ending = [...this.threads].map((thread) => {
      this.settle(thread)?.reject(new CausewayError('cell/draining'))
      return this.end(thread)
    })
    await Promise.all(ending)
  }

  private dispatch(): void {
    for (const thread of this.threads) {
      if (thread.state !== 'idle') continue
      const task = this.takeNext()
      if (!task) return
      this.start(thread, task)
    }
    // Threads that start are counted against what waits, so that one task never starts two threads.
    const starting = [...this.threads].filter((thread) => thread.state === 'starting').length
    let unserved = this.waiting.interactive.length + this.waiting.background.length - starting
    for (; unserved > 0 && this.threads.size < this.options.threads; unserved--) this.spawn()
  }

  private takeNext(): Task | undefined {
    const { interactive, background } = this.waiting
    const turn =
      background.length === 0 || (interactive.length > 0 && this.interactiveInARow < INTERACTIVE_IN_A_ROW)
        ? 'interactive'
        : 'background'
    this.interactiveInARow = turn === 'interactive' && background.length > 0 ? this.interactiveInARow + 1 : 0
    return this.waiting[turn].shift()
  }

  private spawn(): void {
    const thread: Thread = { worker: this.options.spawn(), state: 'starting', task: undefined, idle: undefined }
    this.threads.add(thread)
    let cause: unknown
    thread.worker.on('message', (reply: TaskReply) => this.receive(thread, reply))
    thread.worker.on('error', (error) => {
      cause = error
    })
    thread.worker.on('exit', () => this.exited(thread, cause))
  }

  private start(thread: Thread, task: Task): void {
    clearTimeout(thread.idle)
    const budget = setTimeout(() => {
      // A stalled main thread runs its timers before it reads messages: the answer may lie there already.
      setImmediate(() => {
        if (thread.task?.number === task.number) this.kill(thread)
      })
    }, this.options.budgetMs)
    thread.task = { ...task, startedAt: performance.now(), budget }
    thread.state = 'running'
    thread.worker.ref()
    const request: TaskRequest = { number: task.number, kind: task.kind, input: task.input }
    try {
      const { message, transfer } = detach(request, 'together')
      thread.worker.postMessage(message, transfer)
    } catch (cause) {
      // What no clone can carry never reached the thread.
      this.settle(thread, true)?.reject(new CausewayError('internal/failure', { task: task.kind }, { cause }))
      thread.state = 'idle'
      this.rest(thread)
    }
  }

  private receive(thread: Thread, reply: TaskReply): void {
    if (thread.state === 'ending') return
    if (reply.type !== 'ready') {
      assert(thread.task?.number === reply.number, 'a thread answered something it was not asked')
      const task = this.settle(thread, reply.type === 'failed')
      if (reply.type === 'done') task?.resolve(reply.result)
      else task?.reject(revive(reply.error))
    }
    thread.state = 'idle'
    this.dispatch()
    if (thread.state === 'idle') this.rest(thread)
  }

  /** Nothing to do: the process may end, and the thread too after a while. */
  private rest(thread: Thread): void {
    thread.worker.unref()
    thread.idle = setTimeout(() => void this.end(thread), this.options.idleMs).unref()
  }

  private kill(thread: Thread): void {
    const task = this.settle(thread, true)
    this.killed += 1
    // Time passes for reasons that are not the document's: that it was too long says nothing of the next attempt.
    task?.reject(new CausewayError('document/too-slow', { task: task.kind, limit: `${this.options.budgetMs} ms` }))
    void this.end(thread)
  }

  private async end(thread: Thread): Promise<void> {
    clearTimeout(thread.idle)
    thread.state = 'ending'
    await thread.worker.terminate()
  }

  private exited(thread: Thread, cause: unknown): void {
    clearTimeout(thread.idle)
    this.threads.delete(thread)
    const task = this.settle(thread, true)
    if (task) {
      this.killed += 1
      task.reject(crash(task.kind, cause))
    } else if (thread.state === 'starting') {
      // A thread that cannot start would be tried for ever: who waits is told instead.
      for (const queue of Object.values(this.waiting)) {
        for (const waiting of queue.splice(0)) waiting.reject(crash(waiting.kind, cause))
      }
    }
    if (!this.closed) this.dispatch()
  }

  /** Takes the running task off its thread and counts it. */
  private settle(thread: Thread, failed = false): RunningTask | undefined {
    const task = thread.task
    if (!task) return undefined
    clearTimeout(task.budget)
    thread.task = undefined
    const waitMs = task.startedAt - task.enqueuedAt
    const runMs = performance.now() - task.startedAt
    const stats: TaskStats = this.taskStats[task.kind] ?? {
      count: 0,
      failed: 0,
      waitMs: 0,
      longestWaitMs: 0,
      runMs: 0,
      longestRunMs: 0,
    }
    stats.count += 1
    stats.failed += failed ? 1 : 0
    stats.waitMs += waitMs
    stats.longestWaitMs = Math.max(stats.longestWaitMs, waitMs)
    stats.runMs += runMs
    stats.longestRunMs = Math.max(stats.longestRunMs, runMs)
    this.taskStats[task.kind as keyof Table] = stats
    return task
  }
}

function crash(task: string, cause: unknown): CausewayError {
  const outOfMemory = cause instanceof Error && (cause as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY'
  return outOfMemory
    ? new CausewayError('document/too-expensive', { task, limit: 'memory' }, { cause })
    : new CausewayError('internal/failure', { task }, { cause: cause ?? new Error('the thread ended') })
}

function revive(error: PortableError): CausewayError {
  if (error.code !== undefined && Object.hasOwn(ERROR_CODES, error.code)) {
    return new CausewayError(error.code, error.details, { message: error.message })
  }
  const cause = new Error(error.message)
  if (error.stack !== undefined) cause.stack = error.stack
  return new CausewayError('internal/failure', {}, { cause })
}
