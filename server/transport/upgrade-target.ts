/**
 * What an upgrade request asks for. Everything here comes from a stranger before any check, so nothing throws: a request
 * line that is no path is nobody's, a malformed escape stands for itself.
 */
import { decodeLeniently } from '../../shared/protocol/document-name.js'

export interface UpgradeTarget {
  readonly endpoint: 'y' | 'hocuspocus'
  /** The room of `/y`, decoded; empty on `/hocuspocus`, where frames name documents. */
  readonly document: string
  readonly parameters: URLSearchParams
}

const Y_PATH = '/y/'
const HOCUSPOCUS_PATH = '/hocuspocus'
const TOKEN_PROTOCOLS = ['causeway-token.', 'yauth-']

/** Absent where the path is none of ours. */
export function parseUpgradeTarget(url: string | undefined): UpgradeTarget | undefined {
  if (url === undefined || !url.startsWith('/')) return undefined
  const question = url.indexOf('?')
  const path = question < 0 ? url : url.slice(0, question)
  const parameters = new URLSearchParams(question < 0 ? '' : url.slice(question + 1))
  if (path.startsWith(Y_PATH)) {
    return { endpoint: 'y', document: decodeLeniently(path.slice(Y_PATH.length)), parameters }
  }
  if (path === HOCUSPOCUS_PATH || path.startsWith(`${HOCUSPOCUS_PATH}/`)) {
    return { endpoint: 'hocuspocus', document: '', parameters }
  }
  return undefined
}

/** The token among the subprotocols that a client offers. */
export function tokenOfProtocols(header: string | undefined): string | undefined {
  for (const offered of header?.split(',') ?? []) {
    const protocol = offered.trim()
    for (const prefix of TOKEN_PROTOCOLS) if (protocol.startsWith(prefix)) return protocol.slice(prefix.length)
  }
  return undefined
}

/** Which of the offered subprotocols is answered: one must be, and rather one that holds no token. */
export function chooseProtocol(offered: Iterable<string>): string | false {
  let first: string | undefined
  for (const protocol of offered) {
    if (!TOKEN_PROTOCOLS.some((prefix) => protocol.startsWith(prefix))) return protocol
    first ??= protocol
  }
  return first ?? false
}
