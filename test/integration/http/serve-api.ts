/** The HTTP API on a free port of loopback, over fake documents, with everything that it logs and counts at hand. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type AuthenticateHook, createAuthenticator } from '../../../server/access/authenticator.js'
import { mintDevToken } from '../../../server/access/mint.js'
import { createOriginPolicy } from '../../../server/access/origin.js'
import { parseConfig } from '../../../server/host/config.js'
import { createLog } from '../../../server/host/log.js'
import { Metrics } from '../../../server/host/metrics.js'
import { createMetricsPage } from '../../../server/host/metrics-page.js'
import { createHttpApi, type Readiness } from '../../../server/http/api.js'
import { HTTP_SERVER_OPTIONS } from '../../../server/http/server-options.js'
import type { ConvergenceReport } from '../../../server/replica/convergence.js'
import { FakeCell } from './fake-cell.js'
import { FakeDocuments, fakeWork } from './fake-documents.js'

export const SECRET = 'canary-secret-of-more-than-32-bytes'

export interface ServedApi {
  readonly url: string
  readonly port: number
  readonly documents: FakeDocuments
  readonly cell: FakeCell
  /** What convergence was asked for, and what is answered next. */
  readonly convergence: { asked: object | undefined; report: ConvergenceReport | Error }
  readonly metrics: Metrics
  readonly lines: string[]
  /** What `/readyz` and the connections go by. */
  readiness: Readiness
  token(scope: string, userId?: string): Promise<string>
  close(): Promise<void>
}

export interface ServeOptions {
  readonly config?: Parameters<typeof parseConfig>[0]
  readonly hook?: AuthenticateHook
  readonly pages?: string
  readonly waitingPerCaller?: number
}

/** Asks for tokens unless `config.auth` is `{}`. */
export async function serveApi(options: ServeOptions = {}): Promise<ServedApi> {
  const config = parseConfig({ auth: { secret: SECRET }, ...options.config })
  const documents = new FakeDocuments()
  const cell = new FakeCell(() => documents.vector)
  const convergence: ServedApi['convergence'] = { asked: undefined, report: new Error('nothing to report') }
  const metrics = new Metrics()
  const lines: string[] = []
  const served: { readiness: Readiness } = { readiness: { ready: true, quorum: true, state: 'ready' } }
  const api = createHttpApi({
    documents,
    workers: fakeWork,
    cell,
    convergence: async (asked) => {
      convergence.asked = asked
      if (convergence.report instanceof Error) throw convergence.report
      return convergence.report
    },
    authenticate: createAuthenticator(config, { now: Date.now, hook: options.hook }),
    origins: createOriginPolicy({ origins: config.origins, open: config.auth.secret === undefined }),
    metrics,
    metricsPage: createMetricsPage(metrics),
    readiness: () => served.readiness,
    config,
    log: createLog({ level: 'debug', destination: { write: (line) => void lines.push(line) } }),
    version: '1.2.3',
    now: () => cell.clock.now(),
    ...(options.waitingPerCaller === undefined ? {} : { waitingPerCaller: options.waitingPerCaller }),
    ...(options.pages === undefined ? {} : { pages: options.pages }),
  })
  const server = createServer(HTTP_SERVER_OPTIONS, api)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return Object.assign(served, {
    url: `http://127.0.0.1:${port}`,
    port,
    documents,
    cell,
    convergence,
    metrics,
    lines,
    token: (scope: string, userId = 'ada') =>
      mintDevToken({ secret: SECRET }, { userId, scope, lifeS: 60 }, Date.now()),
    close: () => closed(server),
  })
}

async function closed(server: Server): Promise<void> {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
}
