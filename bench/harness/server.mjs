// A server under test as a process of its own: started, waited for, watched, and ended by its process id.
import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { cpuMs } from './usage.mjs'

const host = '127.0.0.1'
const readyTimeoutMs = 30_000
const keptErrorBytes = 4_000
const living = new Set()

export class Server {
  #child
  #errors = ''
  #exited
  /** `performance.timeOrigin`-based epoch ms of the start. */
  startedAt = 0

  /**
   * Starts a contestant.
   * @param place `{data, root}`: its data folder, and the checkout of Causeway to run
   * @param options `waitsUntilReady` false leaves the waiting to the caller; `port`: where it listens, else a free one;
   *   `environment`: further variables
   */
  static async start(contestant, place, { waitsUntilReady = true, port, environment = {} } = {}) {
    const server = new Server()
    server.port = port ?? (await freePort())
    server.contestant = contestant
    server.#spawn(contestant.command({ ...place, port: server.port }), environment)
    try {
      if (waitsUntilReady) await server.ready
    } catch (error) {
      await server.kill()
      throw error
    }
    return server
  }

  get pid() {
    return this.#child.pid
  }

  /** What the load process needs to reach it. */
  get target() {
    const { protocol, base } = this.contestant
    return { host, port: this.port, protocol, base }
  }

  #spawn(args, environment) {
    this.startedAt = performance.timeOrigin + performance.now()
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_ENV: 'production', ...environment },
    })
    this.#child = child
    living.add(child)
    this.#exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        living.delete(child)
        this.ended = signal ?? `exit code ${code}`
        resolve()
      })
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-keptErrorBytes)
    })
    let output = ''
    this.ready = new Promise((resolve, reject) => {
      const giveUp = (reason) => reject(new Error(`${this.contestant.label} ${reason}\n${output}${this.#errors}`))
      const deadline = setTimeout(() => giveUp(`was not ready within ${readyTimeoutMs} ms`), readyTimeoutMs)
      child.stdout.setEncoding('utf8').on('data', (text) => {
        if (output === undefined) return
        output += text
        if (!this.contestant.ready.test(output)) return
        clearTimeout(deadline)
        output = undefined
        resolve()
      })
      child.once('exit', () => {
        clearTimeout(deadline)
        giveUp(`ended before it was ready (${this.ended})`)
      })
    })
    this.ready.catch(() => {})
  }

  /** Throws if the server ended by itself: then whatever was measured is worthless. */
  mustLive() {
    if (this.ended)
      throw new Error(`${this.contestant.label} ended during the measurement (${this.ended})\n${this.#errors}`)
  }

  /** Waits until the server has been idle for `quietMs`, at most `limitMs`; tells whether it was. */
  async settle({ quietMs, limitMs }) {
    const deadline = performance.now() + limitMs
    let last = cpuMs(this.pid)
    let quietSince = performance.now()
    while (performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 250))
      this.mustLive()
      const used = cpuMs(this.pid)
      // Timers and heartbeats cost a tick now and then; work costs more.
      if (used - last > 20) quietSince = performance.now()
      last = used
      if (performance.now() - quietSince >= quietMs) return true
    }
    return false
  }

  /** SIGTERM, and SIGKILL after `graceMs`; tells whether it went by itself. */
  async stop({ graceMs = 20_000 } = {}) {
    if (this.ended) return true
    this.#child.kill('SIGTERM')
    const deadline = setTimeout(() => this.#child.kill('SIGKILL'), graceMs)
    await this.#exited
    clearTimeout(deadline)
    return this.ended !== 'SIGKILL'
  }

  /** Waits for the end of a server that somebody killed. */
  async gone() {
    await this.#exited
  }

  /** Ends it at once, for servers whose data nobody needs any more. */
  async kill() {
    if (!this.ended) this.#child.kill('SIGKILL')
    await this.#exited
  }
}

/** Ends every process that was started here, when the benchmark itself ends early. */
export function killAll() {
  for (const child of living) child.kill('SIGKILL')
}

/** Adds a process to those that `killAll` ends. */
export function watch(child) {
  living.add(child)
  child.once('exit', () => living.delete(child))
}

/** A port of the loopback interface that nobody listens on now. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, host, () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}
