/**
 * Addresses: what we listen on, and whether somebody is on this machine. Names are not resolved; `localhost` and what ends
 * in `.localhost` are loopback by RFC 6761.
 */
export interface ListenAddress {
  /** A name, an IPv4 or an IPv6 address, without brackets. */
  readonly host: string
  /** 0: any free port. */
  readonly port: number
}

const LISTEN = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/

/** Reads `host:port` (`127.0.0.1:4400`, `[::1]:4400`); undefined where `text` is none. */
export function parseListen(text: string): ListenAddress | undefined {
  const [, ipv6, host, digits] = LISTEN.exec(text) ?? []
  const port = Number(digits)
  return digits !== undefined && port <= 65535 ? { host: (ipv6 ?? host)!, port } : undefined
}

/** Whether `host` (a name or address, brackets or not) can only be this machine. */
export function isLoopbackHost(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '').toLowerCase()
  if (bare === 'localhost' || bare.endsWith('.localhost') || bare === '::1') return true
  return /^(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(bare)
}

/**
 * The part of a remote address that one customer of a network provider cannot change at will: an IPv4 address, the
 * first 64 bits of an IPv6 address. What limits per address count by.
 */
export function addressKey(remoteAddress: string): string {
  const mapped = remoteAddress.replace(/^::ffff:(?=\d+\.)/, '')
  if (!mapped.includes(':')) return mapped
  const [head = '', tail] = (mapped.split('%')[0] ?? '').split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? [] : Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0')
  return [...left, ...zeros, ...right].slice(0, 4).join(':')
}
