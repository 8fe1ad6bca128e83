// What a scenario works with: servers and load processes that are always ended again, folders on the real disk, data
// that is prepared once and measured often, and the history that all servers get.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { contestants } from '../servers/contestants.mjs'
import { Cell } from './cell.mjs'
import { Generator } from './generator.mjs'
import { Server } from './server.mjs'

const historyEdits = { full: 260_000, quick: 20_000 }

export class Bench {
  #folders = 0
  #stored = new Map()
  #history
  /** Number of the current round, from 1. */
  round = 1
  /** What a scenario wants to know in its next round. */
  memory = new Map()

  constructor(options) {
    this.options = options
    this.folder = mkdtempSync(join(tmpdir(), 'causeway-bench-'))
  }

  /** `full`, or `quick` in a smoke run. */
  size(full, quick) {
    return this.options.quick ? quick : full
  }

  newFolder() {
    const folder = join(this.folder, `data-${++this.#folders}`)
    mkdirSync(folder)
    return folder
  }

  /**
   * Runs `work({server, generator, target, pid})` with a started server and a load process, and ends both.
   * @param options `data`: an existing data folder, else a new one that is removed afterwards;
   *   `waitsUntilReady` as for `Server.start`; `stops`: let the server stop by itself, so that its data is whole
   */
  async with(contestant, options, work) {
    const data = options.data ?? this.newFolder()
    const generator = new Generator()
    let server
    try {
      server = await Server.start(contestants[contestant], { data, root: this.options.root }, options)
      const result = await work({ server, generator, target: server.target, pid: server.pid })
      server.mustLive()
      if (options.stops) await server.stop()
      return result
    } finally {
      await generator.end()
      await server?.kill()
      if (!options.data) rmSync(data, { recursive: true, force: true })
    }
  }

  /** Runs `work({cell, generator})` with a started cell of three replicas and a load process, and ends all. */
  async withCell(work) {
    const data = this.newFolder()
    const generator = new Generator()
    let cell
    try {
      cell = await Cell.start({ data, root: this.options.root })
      return await work({ cell, generator })
    } finally {
      await generator.end()
      await cell?.kill()
      rmSync(data, { recursive: true, force: true })
    }
  }

  /** The data folder kept under `name` for this contestant; made by `make(folder)` when it is first asked for. */
  async stored(name, contestant, make) {
    const key = `${name} ${contestant}`
    if (!this.#stored.has(key)) {
      const folder = this.newFolder()
      await make(folder)
      this.#stored.set(key, folder)
    }
    return this.#stored.get(key)
  }

  hasStored(name, contestant) {
    return this.#stored.has(`${name} ${contestant}`)
  }

  /** The long history as a file, with a word about it: `{file, about}`. */
  async history() {
    if (!this.#history) {
      const file = join(this.folder, 'history')
      const limit = this.size(historyEdits.full, historyEdits.quick)
      const generator = new Generator()
      try {
        const about = await generator.run('makeHistory', { trace: this.options.trace, limit, file })
        this.#history = { file, about }
      } finally {
        await generator.end()
      }
    }
    return this.#history
  }

  /** What the history is, once a scenario has asked for it. */
  get historyAbout() {
    return this.#history?.about
  }

  /** Whether this contestant can be measured at all; Causeway has to be built. */
  static missing(contestant, root) {
    if (contestants[contestant].server !== 'causeway') return undefined
    return existsSync(`${root}/dist/server/cli/main.js`) ? undefined : 'dist/server/cli/main.js is not there'
  }

  end() {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
