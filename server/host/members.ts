/**
 * The members of a cell as a configuration lists them. The list names all of them, this one included, so that every member
 * can be given the same text; its own address is for people. It says how a cell begins, and where the others are:
 * once a cell is born, the membership that it stores wins (DESIGN.md section 2, "Birth, loss and recovery").
 */
import { CausewayError } from '../../shared/errors/error.js'
import { isLoopbackHost, parseListen } from '../access/address.js'

/** Members of one cell at most: vectors, links and quorums are made for so many. */
export const MEMBERS_LIMIT = 7

/** The part of a configuration that speaks of members. */
export interface MemberConfig {
  readonly name: string
  readonly listen: string
  readonly peers?: Readonly<Record<string, string>> | undefined
  readonly cellSecret?: string | undefined
}

export interface ConfiguredMembers {
  /** All members, this one included: alone in a cell of one. */
  readonly names: ReadonlySet<string>
  /** Where to reach each of the others: `ws://host:port/peer`. */
  readonly others: ReadonlyMap<string, string>
}

/**
 * Who is listed. Throws `config/invalid` where this replica is not among them, where two have one address, and where other
 * machines could pose as members because there is no secret.
 */
export function configuredMembers(config: MemberConfig): ConfiguredMembers {
  const { name, peers } = config
  if (peers === undefined) return { names: new Set([name]), others: new Map() }
  if (!Object.hasOwn(peers, name)) throw wrong('peers', `peers must name this replica too, which is called ${name}.`)
  const members = new Map(Object.entries(peers).map(([member, address]) => [member, peerAddress(address)!]))
  const nameAt = new Map<string, string>()
  for (const [member, address] of members) {
    const other = nameAt.get(address)
    if (other !== undefined) throw wrong('peers', `peers.${other} and peers.${member} must not have the same address.`)
    nameAt.set(address, member)
  }
  if (members.size > 1 && config.cellSecret === undefined) requireThisMachine(config.listen, members)
  const others = new Map([...members].filter(([member]) => member !== name))
  return { names: new Set(members.keys()), others }
}

/**
 * The WebSocket address of a peer, `/peer` added where there is no path; undefined where `text` is none, or carries a user
 * name, a password, a query, or another path.
 */
export function peerAddress(text: string): string | undefined {
  if (!URL.canParse(text) || /[?#]/.test(text)) return undefined
  const url = new URL(text)
  if ((url.protocol !== 'ws:' && url.protocol !== 'wss:') || url.port === '0') return undefined
  if (url.username !== '' || url.password !== '') return undefined
  if (url.pathname === '/') url.pathname = '/peer'
  return url.pathname.endsWith('/peer') ? url.href : undefined
}

function requireThisMachine(listen: string, members: ReadonlyMap<string, string>): void {
  const away = [...members].find(([, address]) => !isLoopbackHost(new URL(address).hostname))?.[0]
  const isHere = isLoopbackHost(parseListen(listen)?.host ?? '')
  if (isHere && away === undefined) return
  const why = isHere ? `peers.${away} is on another machine` : `listen (${listen}) can be reached from other machines`
  throw wrong(
    'cellSecret',
    `cellSecret must be set, in the configuration file or CAUSEWAY_CELL_SECRET, because ${why}.`,
  )
}

function wrong(option: string, message: string): CausewayError {
  return new CausewayError('config/invalid', { option }, { message })
}
