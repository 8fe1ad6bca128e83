// The load process from outside: a process of its own, so that its CPU is neither the server's nor ours, which runs
// one job at a time and is bounded in time.
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { watch } from './server.mjs'

const program = fileURLToPath(new URL('../load/main.mjs', import.meta.url))

export class Generator {
  #child = fork(program, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  #jobs = 0

  constructor() {
    watch(this.#child)
  }

  /**
   * Runs one job of `load/jobs`.
   * @param limitSeconds after which the job counts as broken
   * @throws with the job's own error
   */
  run(job, task, limitSeconds = 120) {
    const id = ++this.#jobs
    return new Promise((resolve, reject) => {
      const finish = (settle, value) => {
        clearTimeout(deadline)
        this.#child.off('message', onMessage)
        this.#child.off('exit', onExit)
        settle(value)
      }
      const onMessage = (message) => {
        if (message.id !== id) return
        if (message.error) finish(reject, new Error(`${job}: ${message.error}`))
        else finish(resolve, message.result)
      }
      const onExit = (code, signal) => finish(reject, new Error(`${job}: the load process ended (${signal ?? code})`))
      const deadline = setTimeout(
        () => finish(reject, new Error(`${job}: not done within ${limitSeconds} s`)),
        limitSeconds * 1000,
      )
      this.#child.on('message', onMessage)
      this.#child.on('exit', onExit)
      this.#child.send({ id, job, task })
    })
  }

  async end() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGKILL')
    await exited
  }
}
