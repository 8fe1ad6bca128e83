/** One HTTP request as a program makes it, over connections that are kept, and what became of it as plain data. */
import { Agent, type IncomingHttpHeaders, request as send } from 'node:http'
import { text } from 'node:stream/consumers'

export interface HttpRequest {
  readonly method: 'GET' | 'PATCH' | 'POST'
  /** Address with path and query. */
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
}

export type HttpOutcome =
  | { readonly type: 'answer'; readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: string }
  /** Nobody listens: nothing was sent. */
  | { readonly type: 'not-sent' }
  /** The connection ended, or `signal` was aborted, before the answer was there: it may have been carried out. */
  | { readonly type: 'unknown' }

const agent = new Agent({ keepAlive: true, maxSockets: 64, maxFreeSockets: 64 })

export function call({ method, url, headers = {}, body }: HttpRequest, signal: AbortSignal): Promise<HttpOutcome> {
  return new Promise((resolve) => {
    const outgoing = send(url, { method, headers, agent, signal }, (incoming) => {
      text(incoming).then(
        (body) => resolve({ type: 'answer', status: incoming.statusCode ?? 0, headers: incoming.headers, body }),
        () => resolve({ type: 'unknown' }),
      )
    })
    outgoing.on('error', ({ code }: NodeJS.ErrnoException) => {
      resolve(code === 'ECONNREFUSED' ? { type: 'not-sent' } : { type: 'unknown' })
    })
    outgoing.end(body)
  })
}
