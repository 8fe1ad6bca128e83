/**
 * Request targets. Names travel as single encoded segments and are decoded leniently, as on the WebSocket endpoints; the
 * router would refuse a malformed escape. So a target is brought into a form that every decoder reads alike, before
 * anything routes by it.
 */
import { decodeLeniently } from '../../shared/protocol/document-name.js'
import { invalid } from './invalid.js'

/** `target` with each segment decoded and properly encoded again; undefined where it has no path (`*`, `http://[`). */
export function normaliseTarget(target: string): string | undefined {
  const local = target.startsWith('/') ? target : pathOfAbsolute(target)
  if (local === undefined) return undefined
  const question = local.indexOf('?')
  const path = question < 0 ? local : local.slice(0, question)
  const segments = path.split('/').map((segment) => encodeURIComponent(decodeLeniently(segment)))
  return segments.join('/') + (question < 0 ? '' : local.slice(question))
}

/** Proxies may send the whole address; then only what follows the host concerns us. */
function pathOfAbsolute(target: string): string | undefined {
  return /^https?:\/\/[^/?#\s]+(\/.*)$/i.exec(target)?.[1]
}

/** The query of a target by name. Throws `request/invalid` for a name that stands there twice. */
export function readQuery(target: string): Record<string, string> {
  const question = target.indexOf('?')
  const query: Record<string, string> = Object.create(null)
  if (question < 0) return query
  for (const [name, value] of new URLSearchParams(target.slice(question + 1))) {
    if (name in query) throw invalid(name, 'must be given once')
    query[name] = value
  }
  return query
}
