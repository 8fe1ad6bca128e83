// A cell of three replicas on this machine, each a process of its own on a folder of its own, and what each says about
// itself: what it has on disk, and what it has sent to its peers.
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { cellMember } from '../servers/contestants.mjs'
import { freePort, Server } from './server.mjs'
import { cpuMs } from './usage.mjs'

export const replicaNames = ['a', 'b', 'c']
const pollMs = 10

export class Cell {
  #place
  #ports = new Map()
  #servers = new Map()

  /**
   * Starts all three and waits until each serves.
   * @param place `{data, root}`: a folder for the folders of all, and the checkout of Causeway to run
   */
  static async start(place) {
    const cell = new Cell()
    cell.#place = place
    for (const name of replicaNames) cell.#ports.set(name, await freePort())
    try {
      await Promise.all(replicaNames.map((name) => cell.startReplica(name)))
    } catch (error) {
      await cell.kill()
      throw error
    }
    return cell
  }

  /** Starts a replica that is not running; `emptied`: on an empty disk; without `waitsUntilReady`, resolves while it starts. */
  async startReplica(name, { emptied = false, waitsUntilReady = true, environment } = {}) {
    const data = join(this.#place.data, name)
    if (emptied) rmSync(data, { recursive: true, force: true })
    mkdirSync(data, { recursive: true })
    const contestant = cellMember(name, this.#ports)
    const options = { waitsUntilReady, environment, port: this.#ports.get(name) }
    this.#servers.set(name, await Server.start(contestant, { data, root: this.#place.root }, options))
  }

  replica(name) {
    return this.#servers.get(name)
  }

  /** What the load process needs to reach a replica by this protocol. */
  target(name, protocol, base) {
    return { ...this.replica(name).target, protocol, base }
  }

  /** CPU ms that each running replica has used, by name. */
  cpu() {
    return Object.fromEntries(
      [...this.#servers].filter(([, { ended }]) => !ended).map(([name, { pid }]) => [name, cpuMs(pid)]),
    )
  }

  /** What this replica has on disk: `{origin: seq}`. Undefined while it answers nobody. */
  async vector(name) {
    let answer
    try {
      answer = await fetch(`http://127.0.0.1:${this.#ports.get(name)}/v1/cell`)
    } catch {
      return undefined
    }
    const { self, members } = await answer.json()
    return members?.find((member) => member.name === self)?.durable
  }

  /** Waits until `names` have on disk what `source` has now. Throws after `limitSeconds`. */
  async until(names, source, limitSeconds) {
    const wanted = await this.vector(source)
    const deadline = performance.now() + limitSeconds * 1000
    const missing = new Set(names)
    while (missing.size > 0) {
      for (const name of missing) {
        const held = await this.vector(name)
        if (held && Object.entries(wanted).every(([origin, seq]) => (held[origin] ?? 0) >= seq)) missing.delete(name)
      }
      if (missing.size === 0) return
      if (performance.now() > deadline)
        throw new Error(`${[...missing]} lack what ${source} has, ${limitSeconds} s later`)
      for (const name of [source, ...names]) this.replica(name).mustLive()
      await new Promise((resolve) => setTimeout(resolve, pollMs))
    }
  }

  /** Bytes that this replica has sent to its peers, by type of message. */
  async sentBytes(name) {
    const page = await (await fetch(`http://127.0.0.1:${this.#ports.get(name)}/metrics`)).text()
    const samples = page.matchAll(/^causeway_peer_sent_bytes_total\{type="([^"]+)"\} (\S+)$/gm)
    return Object.fromEntries([...samples].map(([, type, value]) => [type, Number(value)]))
  }

  async kill() {
    await Promise.all([...this.#servers.values()].map((server) => server.kill()))
  }
}
