/**
 * A cell of real processes on this machine, and a network between them that a test can break. Each replica reaches each
 * other one through a proxy of its own, so every direction of every pair can be cut, delayed and healed; clients and tests
 * speak to the replicas directly.
 *
 *   a ── proxy a→b ──▶ b        one connection may be made from either side, so what goes from a to b
 *   a ◀── proxy b→a ── b        goes forth through one proxy, and back through the other
 */
import { cpSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import { freePorts } from '../../server/cli/free-ports.js'
import { ReplicaProcess, temporaryDirectory } from './replica-process.js'
import { TcpProxy, type Wire } from './tcp-proxy.js'

/** A replica that takes longer to start, or to die, hangs. */
const READY_LIMIT_MS = 30_000
const END_LIMIT_MS = 10_000
const POLL_MS = 25

export interface CellOptions {
  /** Default: a, b, c. */
  readonly names?: readonly string[]
  /** Further arguments of `causeway serve`. */
  readonly args?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  /** Whether to wait until all are ready. Default: true. */
  readonly untilReady?: boolean
}

export interface RestartOptions {
  /** On an empty disk. */
  readonly wipe?: boolean
  /** On a copy that `copyData` made. */
  readonly restoreFrom?: string
  readonly args?: readonly string[]
  /** Whether to wait until it is ready. Default: true. */
  readonly untilReady?: boolean
}

/** Starts cells for the tests of a file; after each test, all of its processes are ended and their data removed. */
export function cellStarter(): (options?: CellOptions) => Promise<CellProcesses> {
  const cells: CellProcesses[] = []
  afterEach(async () => {
    await Promise.all(cells.splice(0).map((cell) => cell.close()))
  })
  return async (options = {}) => {
    const cell = await CellProcesses.prepare(options)
    cells.push(cell)
    await cell.start()
    return cell
  }
}

export class CellProcesses {
  readonly names: readonly string[]
  private readonly options: CellOptions
  private readonly directory = temporaryDirectory()
  private readonly ports: ReadonlyMap<string, number>
  /** By `from to`. */
  private readonly proxies: ReadonlyMap<string, TcpProxy>
  private readonly replicas = new Map<string, ReplicaProcess>()
  private readonly everStarted: ReplicaProcess[] = []
  private copies = 0

  private constructor(
    names: readonly string[],
    options: CellOptions,
    ports: ReadonlyMap<string, number>,
    proxies: ReadonlyMap<string, TcpProxy>,
  ) {
    this.names = names
    this.options = options
    this.ports = ports
    this.proxies = proxies
  }

  /** A cell with its network, and without a process. */
  static async prepare(options: CellOptions): Promise<CellProcesses> {
    const names = options.names ?? ['a', 'b', 'c']
    const free = await freePorts(names.length)
    const ports = new Map(names.map((name, index) => [name, free[index]!]))
    const proxies = new Map<string, TcpProxy>()
    for (const from of names) {
      for (const to of names) if (from !== to) proxies.set(`${from} ${to}`, await TcpProxy.start(ports.get(to)!))
    }
    return new CellProcesses(names, options, ports, proxies)
  }

  async start(): Promise<void> {
    for (const name of this.names) this.launch(name)
    if (this.options.untilReady ?? true) await this.ready()
  }

  /** The newest process of a replica, running or not. */
  replica(name: string): ReplicaProcess {
    const replica = this.replicas.get(name)
    if (replica === undefined) throw new Error(`no replica ${name}`)
    return replica
  }

  /** Resolves when `/readyz` of these replicas (default: all) answers 200; rejects when one ends, or none comes to it. */
  async ready(...names: readonly string[]): Promise<void> {
    await Promise.all((names.length > 0 ? names : this.names).map((name) => this.becomesReady(this.replica(name))))
  }

  /** Ends a process; resolves when it has gone. Its data stays. */
  async kill(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
    return await this.replica(name).end(signal)
  }

  /** Stops a process as it stands, with its connections; resolves when it stands. */
  async stop(name: string): Promise<void> {
    const { child, pid } = this.replica(name)
    child.kill('SIGSTOP')
    await this.until(`${name} stands still`, () => stateOf(pid) === 'T')
  }

  cont(name: string): void {
    this.replica(name).child.kill('SIGCONT')
  }

  /** A new process of a replica, which is ended in order first where it runs, at its old address. */
  async restart(name: string, options: RestartOptions = {}): Promise<ReplicaProcess> {
    const { isRunning, data } = this.replica(name)
    if (isRunning) await this.kill(name, 'SIGTERM')
    if (options.wipe || options.restoreFrom !== undefined) rmSync(data, { recursive: true })
    if (options.restoreFrom !== undefined) cpSync(options.restoreFrom, data, { recursive: true })
    const replica = this.launch(name, options.args)
    if (options.untilReady ?? true) await this.ready(name)
    return replica
  }

  /** Copies what a replica keeps, as a backup that a power loss took. It must have ended or stand still. */
  copyData(name: string): string {
    const { isRunning, pid, data } = this.replica(name)
    if (isRunning && stateOf(pid) !== 'T') throw new Error(`replica ${name} runs: its data changes while it is copied`)
    const copy = join(this.directory.path, `copy-${++this.copies}-of-${name}`)
    cpSync(data, copy, { recursive: true })
    return copy
  }

  /** Nothing that `from` sends reaches `to`, until `heal`. */
  cut(from: string, to: string): void {
    for (const wire of this.wires(from, to)) wire.isCut = true
  }

  /** Cuts the network between groups, in both directions. Who is in none of them is in a group with all such. */
  partition(...groups: readonly (readonly string[])[]): void {
    const groupOf = (name: string): number => groups.findIndex((group) => group.includes(name))
    for (const from of this.names) for (const to of this.names) if (groupOf(from) !== groupOf(to)) this.cut(from, to)
  }

  /** What `from` sends takes `ms` longer to `to`. */
  delay(ms: number, from: string, to: string): void {
    for (const wire of this.wires(from, to)) wire.delayMs = ms
  }

  /** Ends the connections between two replicas, as a network device that forgot them does. They may connect again. */
  reset(left: string, right: string): void {
    for (const key of [`${left} ${right}`, `${right} ${left}`]) this.proxies.get(key)?.reset()
  }

  /** The network is whole again: what waited arrives. */
  heal(): void {
    for (const { forth, back } of this.proxies.values()) {
      for (const wire of [forth, back]) {
        wire.delayMs = 0
        wire.isCut = false
      }
    }
  }

  /** Where `from` reaches `to`: what stands in its `--peers`. */
  peerUrl(from: string, to: string): string {
    return `ws://127.0.0.1:${from === to ? this.ports.get(to) : this.proxies.get(`${from} ${to}`)?.port}`
  }

  /** Ends all processes by force and removes all data. */
  async close(): Promise<void> {
    for (const { child } of this.everStarted) child.kill('SIGKILL')
    const late = new Promise<'late'>((resolve) => setTimeout(resolve, END_LIMIT_MS, 'late').unref())
    const gone = Promise.all(this.everStarted.map(({ ended }) => ended))
    const outcome = await Promise.race([gone, late])
    for (const proxy of this.proxies.values()) await proxy.close()
    this.directory.remove()
    if (outcome === 'late') {
      throw new Error(`still there: ${this.everStarted.filter((one) => one.isRunning).map(({ pid }) => pid)}`)
    }
  }

  private launch(name: string, args: readonly string[] = []): ReplicaProcess {
    const peers = this.names.map((to) => `${to}=${this.peerUrl(name, to)}`).join(',')
    const replica = new ReplicaProcess({
      name,
      port: this.ports.get(name)!,
      data: join(this.directory.path, name),
      args: ['--peers', peers, ...(this.options.args ?? []), ...args],
      environment: this.options.environment ?? {},
    })
    this.replicas.set(name, replica)
    this.everStarted.push(replica)
    return replica
  }

  private wires(from: string, to: string): readonly Wire[] {
    const [there, here] = [this.proxies.get(`${from} ${to}`), this.proxies.get(`${to} ${from}`)]
    if (there === undefined || here === undefined) throw new Error(`no way from ${from} to ${to}`)
    return [there.forth, here.back]
  }

  private async becomesReady(replica: ReplicaProcess): Promise<void> {
    await this.until(`replica ${replica.name} is ready`, async () => {
      if (!replica.isRunning) throw new Error(`replica ${replica.name} ended:\n${replica.out}${replica.err}`)
      const signal = AbortSignal.timeout(1_000)
      return await fetch(`${replica.http}/readyz`, { signal }).then(
        ({ status }) => status === 200,
        () => false,
      )
    })
  }

  private async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const deadlineMs = performance.now() + READY_LIMIT_MS
    while (!(await holds())) {
      if (performance.now() > deadlineMs) throw new Error(`not within ${READY_LIMIT_MS / 1000} s: ${what}`)
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
  }
}

/** As the kernel says: R runs, S waits, T stands still, Z has ended. */
function stateOf(pid: number): string | undefined {
  return /^State:\s+(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
}
