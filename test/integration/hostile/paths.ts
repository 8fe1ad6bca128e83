/** The ways in which an update can reach a replica, each with what its sender is told. */
import type { ReplicaProcess } from '../../support/replica-process.js'
import { Stranger } from '../../support/stranger.js'

export interface Answer {
  /** The code that the sender was given: as an HTTP answer, or as the reason of a close. */
  readonly code?: string | undefined
  readonly close?: number | undefined
  readonly status?: number | undefined
  /** SyncStatus of the hostile update, where there was one. */
  readonly applied?: boolean | undefined
  /** The replica asked for what is missing. */
  readonly asked?: boolean
}

export interface Path {
  readonly name: string
  readonly kind: 'update' | 'step2'
  /**
   * Sends `update`, and behind it, where the path is a connection, `marker`: an honest edit. Resolves when the fate of
   * both is known.
   */
  send(replica: ReplicaProcess, document: string, update: Uint8Array, marker: Uint8Array): Promise<Answer>
}

function overY(kind: Path['kind']): Path {
  return {
    name: `/y ${kind}`,
    kind,
    async send(replica, document, update, marker) {
      const stranger = await Stranger.at(`${replica.url}/y/${document}`)
      stranger.sayY({ type: kind, update }, { type: 'update', update: marker })
      await stranger.until(() => isBack(stranger, marker))
      stranger.leave()
      return stranger.closed ?? {}
    },
  }
}

/** The edit has come back to its sender: it is stored, and what was sent before it has been decided. */
export function isBack(stranger: Stranger, marker: Uint8Array): boolean {
  return stranger.y.some((message) => message.type === 'update' && sameBytes(message.update, marker))
}

function overHocuspocus(kind: Path['kind']): Path {
  return {
    name: `/hocuspocus ${kind}`,
    kind,
    async send(replica, document, update, marker) {
      const stranger = await Stranger.at(`${replica.url}/hocuspocus`)
      stranger.say(document, { type: 'token', token: '' }, { type: kind, update }, { type: 'update', update: marker })
      const asked = (): boolean => stranger.under(document).some(({ type }) => type === 'step1')
      // Of the marker the status comes last; where the other is withheld, it is the only one.
      await stranger.until(() => stranger.statuses(document).length >= (asked() ? 1 : 2))
      stranger.leave()
      return stranger.closed ?? { asked: asked(), applied: asked() ? undefined : stranger.statuses(document)[0] }
    },
  }
}

const overHttp: Path = {
  name: 'HTTP',
  kind: 'update',
  async send(replica, document, update) {
    const response = await fetch(`${replica.http}/v1/documents/${encodeURIComponent(document)}/updates`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: Buffer.from(update),
    })
    const body = (await response.json()) as { error?: { code: string } }
    return { status: response.status, code: body.error?.code }
  },
}

export const paths: readonly Path[] = [
  overY('update'),
  overY('step2'),
  overHocuspocus('update'),
  overHocuspocus('step2'),
  overHttp,
]

export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0
}
