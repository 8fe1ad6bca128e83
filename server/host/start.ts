/**
 * Starts one replica. For now only its HTTP side, in front of documents that are not there yet: every call on one answers
 * `cell/starting`, and so does `/readyz`.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CausewayError } from '../../shared/errors/error.js'
import { parseListen } from '../access/address.js'
import { createAuthenticator, isOpenAccess } from '../access/authenticator.js'
import { createOriginPolicy } from '../access/origin.js'
import { createHttpApi, type Readiness } from '../http/api.js'
import type { DocumentWork } from '../http/documents.js'
import { HTTP_SERVER_OPTIONS } from '../http/server-options.js'
import type { Documents } from '../replica/documents.js'
import type { Config } from './config.js'
import { createLog } from './log.js'
import { Metrics } from './metrics.js'
import { createMetricsPage } from './metrics-page.js'

export interface RunningReplica {
  readonly port: number
  /** `http://127.0.0.1:4400`. */
  readonly url: string
  /** Sends clients away and resolves when everything is on disk. */
  stop(): Promise<void>
}

/** Rejects with `config/invalid`, `storage/in-use`, `storage/damaged`, or the system's error where it cannot listen. */
export async function startReplica(config: Config): Promise<RunningReplica> {
  const metrics = new Metrics()
  let state: Readiness['state'] = 'starting'
  const api = createHttpApi({
    documents: absentDocuments,
    workers: absentWork,
    authenticate: createAuthenticator(config, { now: Date.now }),
    origins: createOriginPolicy({ origins: config.origins, open: isOpenAccess(config) }),
    metrics,
    metricsPage: createMetricsPage(metrics),
    readiness: () => ({ ready: false, quorum: false, state }),
    config,
    log: createLog({ level: config.log.level, base: { replica: config.name, cell: config.cell } }),
    version: '0',
    now: () => performance.now(),
  })
  const server = createServer(HTTP_SERVER_OPTIONS, api)
  const { host, port } = parseListen(config.listen)!
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, host, resolve)
  })
  const listening = (server.address() as AddressInfo).port
  return {
    port: listening,
    url: `http://${host.includes(':') ? `[${host}]` : host}:${listening}`,
    async stop() {
      state = 'draining'
      server.closeIdleConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const absent = async (): Promise<never> => {
  throw new CausewayError('cell/starting')
}
const absentDocuments: Documents = {
  subscribe() {
    throw new CausewayError('cell/starting')
  },
  submit: absent,
  read: absent,
  list: absent,
}
const absentWork: DocumentWork = { view: absent, diff: absent, patch: absent }
