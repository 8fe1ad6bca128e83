/**
 * What `causeway dev` starts: names, ports and folders of a cell on this machine, and the arguments of each replica. Its
 * data folder has a folder for each replica. One that was begun with a single replica grows where it is: the one that has
 * the data begins the cell, and the others join it.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { CausewayError } from '../../shared/errors/error.js'
import type { Config } from '../host/config.js'
import type { MemberPlan } from './dev-member.js'
import { freePorts } from './free-ports.js'
import { readConfig } from './sources.js'

export interface DevOptions {
  /** Absent: as many as the data folder holds, at least three. */
  readonly replicas?: string
  readonly port: string
  readonly data: string
  readonly json?: boolean
}

export interface CellPlan {
  /** Of the first replica; the others differ in name, addresses and folder. */
  readonly config: Config
  readonly members: readonly MemberPlan[]
  /** Absolute. */
  readonly data: string
}

const NAMES = 'abcdefg'
const USUAL_SIZE = 3
const LAST_PORT = 65_535

/** Throws `config/invalid`. */
export async function planCell(
  options: DevOptions,
  env: Readonly<Record<string, string | undefined>>,
): Promise<CellPlan> {
  const data = resolve(options.data)
  const held = [...NAMES].filter((name) => holdsSomething(join(data, name)))
  const size = readSize(options.replicas, data, held)
  const first = wholeNumber('port', options.port, 0, LAST_PORT + 1 - size)
  const ports = first === 0 ? await freePorts(size) : Array.from({ length: size }, (_, index) => first + index)
  const places = ports.map((port, index) => ({ name: NAMES[index]!, port, url: `http://127.0.0.1:${port}` }))
  const beginner = size > 1 && held.length === 1 ? held[0] : undefined

  const peers = places.map(({ name, port }) => `${name}=ws://127.0.0.1:${port}`).join(',')
  const own = (name: string, port: number) => ({ name, peers, listen: `127.0.0.1:${port}`, data: join(data, name) })
  const presets = { cell: 'dev', demo: true, 'log.level': 'warn' }
  const config = await readConfig(own('a', ports[0]!), env, presets)
  const common = { peers, cell: config.cell, 'log-level': config.log.level }
  const members = places.map((place) => {
    const flags = Object.entries({ ...common, ...own(place.name, place.port) }).map(
      ([flag, text]) => `--${flag}=${text}`,
    )
    const switches = [...(config.demo ? ['--demo'] : []), ...(place.name === beginner ? ['--new-cell'] : [])]
    return { ...place, args: ['serve', '--json', '--end-with-parent', ...flags, ...switches] }
  })
  return { config, members, data }
}

/** A replica that is left out of its own cell would be missed by the others, and could not serve without them. */
function readSize(text: string | undefined, data: string, held: readonly string[]): number {
  const least = NAMES.indexOf(held.at(-1) ?? 'a') + 1
  if (text === undefined) return Math.max(USUAL_SIZE, least + 1 - (least % 2))
  if (!/^[1357]$/.test(text)) throw wrong('replicas', 'must be 1, 3, 5 or 7')
  if (Number(text) >= least) return Number(text)
  throw wrong('replicas', `must not be less than the ${least} that ${data} holds; another --data begins another cell`)
}

function holdsSomething(folder: string): boolean {
  return existsSync(folder) && readdirSync(folder).length > 0
}

function wholeNumber(option: string, text: string, least: number, most: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  throw wrong(option, `must be a whole number from ${least} to ${most}`)
}

function wrong(option: string, says: string): CausewayError {
  return new CausewayError('config/invalid', { option }, { message: `${option} ${says} (set by --${option}).` })
}
