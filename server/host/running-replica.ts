/**
 * A replica around its open log: core, workers, transports, HTTP, put together and taken apart. The HTTP API is loaded
 * while the replica already serves WebSockets: after a restart clients sync first.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { AddressInfo } from 'node:net'
import { assert } from '../../shared/base/assert.js'
import { incarnationOf } from '../../shared/clock/dot.js'
import { asCausewayError, type CausewayError } from '../../shared/errors/error.js'
import { parseListen } from '../access/address.js'
import { createAuthenticator, isOpenAccess } from '../access/authenticator.js'
import { createOriginPolicy } from '../access/origin.js'
import { DocumentWorkers } from '../document/pool.js'
import type { HttpApi, Readiness } from '../http/api.js'
import { limitPlainConnections } from '../http/plain-connections.js'
import { HTTP_SERVER_OPTIONS, STALL_MS } from '../http/server-options.js'
import { Replica } from '../replica/replica.js'
import type { TransportLog } from '../transport/observer.js'
import { PeerNetwork } from '../transport/peer-network.js'
import { createWebSocketServer, refuseUpgrade } from '../transport/websocket-server.js'
import { CellHost } from './cell-host.js'
import { CellService } from './cell-service.js'
import type { Config } from './config.js'
import { createConvergence } from './convergence.js'
import { DocumentHost } from './document-host.js'
import { createDocumentWork } from './document-work.js'
import { createLog, type Log, type LogEvent, type LogFields } from './log.js'
import { Maintenance } from './maintenance.js'
import { configuredMembers, peerAddress } from './members.js'
import { Metrics } from './metrics.js'
import { createMetricsPage } from './metrics-page.js'
import { readVersion, webPagesFolder } from './own-package.js'
import { LinkTalk } from './peer-talk.js'
import { reportRecovered } from './recovered-report.js'
import { deniesRelay } from './relay-policy.js'
import type { OpenedLog, ReplicaHooks, RunningReplica } from './start.js'

// Listening loads these two anyhow, when clients already wait; here it is the disk that is waited for.
for (const needed of ['node:cluster', 'node:dns']) process.getBuiltinModule(needed)

const TICK_MS = 250
/** Vectors are told to peers ten times a second where nobody waits, and causes asked for after 200 ms. */
const MEMBER_TICK_MS = 50
/** When the HTTP API is loaded, unless a request asks for it before. */
const API_PRELOAD_MS = 2_000
/** What is told to who sends a request that cannot be read, by the parser's code; all else is a bad request. */
const CLIENT_ERROR_STATUS: Readonly<Record<string, number>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 408,
  HPE_HEADER_OVERFLOW: 431,
}
/** How long `stop` waits for clients to answer the closing handshake. */
const CLOSE_MS = 2_000

/** Rejects with the system's error where the address cannot be listened on: closing the log is then the caller's. */
export async function runReplica(config: Config, hooks: ReplicaHooks, opened: OpenedLog): Promise<RunningReplica> {
  const log = createLog({ level: config.log.level, base: { replica: config.name, cell: config.cell } })
  const metrics = new Metrics()
  const authenticate = createAuthenticator(config, { now: Date.now, hook: hooks.authenticate })
  const open = hooks.authenticate === undefined && isOpenAccess(config)
  const origins = createOriginPolicy({ origins: config.origins, open })
  const address = parseListen(config.listen)
  assert(address, 'a checked configuration has an address')
  const { log: storage, origin } = opened
  const { recovered } = storage
  const workers = new DocumentWorkers({ threads: config.workers })
  let state: 'serving' | 'draining' = 'serving'
  const { names, others } = configuredMembers(config)
  const members = new Map(
    [...names].map((name) => [name, others.get(name) ?? peerAddress(config.peers?.[name] ?? '') ?? '']),
  )

  const onFatal = (error: CausewayError): never => {
    // An fsync that failed once may lie the next time: what is in doubt was answered so, and the next start verifies.
    log.error('replica/stopped-by-disk', {}, error)
    process.exit(error.info.exit)
  }

  const cellHost = new CellHost({
    name: config.name,
    origin,
    cellName: config.cell,
    listed: members,
    isNewCell: config.newCell,
    serveAloneAfterMs: config.serveAloneAfterMs,
    log: storage,
    // Unix time for people, and never back: the core waits by it.
    now: () => performance.timeOrigin + performance.now(),
    onAlarm: (alarm, details) => log.warn('cell/alarm', { alarm, details }),
    onCommand: (event, fields) => log.warn(event, fields),
    onFailure: (error) => log.error('cell/failed', {}, error),
    onFatal,
  })
  const documents = new DocumentHost({
    replica: new Replica({
      origin,
      predecessor: recovered.predecessor,
      vector: recovered.vector,
      latestHlc: recovered.latestHlc,
      limits: { documentBytes: config.limits.documentBytes },
      refusalToOpen: () => cellHost.refusalToOpen,
      deniesRelay: (document) => deniesRelay(config, document),
      newDocuments: { perUser: config.limits.newDocumentsPerUser, perSpace: config.limits.newDocumentsPerSpace },
    }),
    log: storage,
    cell: cellHost,
    workers,
    now: Date.now,
    monotonicMs: () => performance.now(),
    hooks,
    metrics,
    onFailure: (event, error) => log.error(event, {}, error),
    onFatal,
  })
  metrics.workerTasks = () => workers.stats().tasks
  const talk = new LinkTalk((peer, message) => cellHost.talk(peer, message))
  cellHost.onLink((peer, isLinked) => (isLinked ? talk.peerLinked(peer) : talk.peerUnlinked(peer)))
  cellHost.onTalk((peer, said) => {
    if (said.type === 'told') talk.told(peer, said)
    else if (said.type === 'asked') talk.asked(peer, said)
    else talk.answered(peer, said)
  })
  const convergence = createConvergence({
    self: config.name,
    talk,
    storage,
    fingerprint: (document) => workers.fingerprint(document),
    members: () => cellHost.status().members.map(({ name }) => name),
    heldBack: () => cellHost.member.heldBack(),
    log,
    now: Date.now,
    monotonicMs: () => performance.now(),
  })
  const cell = new CellService({
    host: cellHost,
    secret: config.cellSecret,
    metrics,
    alarms: () => convergence.alarms(),
  })

  const sockets = createWebSocketServer({
    documents,
    authenticate,
    freshness: cell,
    talk,
    limits: {
      connections: config.limits.connections,
      documentsPerConnection: config.limits.documentsPerConnection,
      messageBytes: config.limits.updateBytes,
    },
    metrics: { count: (event, by = 1) => metrics.transport(event, by) },
    log: transportLog(log),
  })
  const readiness = (): Readiness => {
    const quorum = cell.hasQuorum
    if (state === 'draining') return { ready: false, quorum, state }
    return { ready: cellHost.refusal === undefined, quorum, state: cellHost.member.state }
  }
  const loadApi = async (): Promise<HttpApi> => {
    const { createHttpApi } = await import('../http/api.js')
    return createHttpApi({
      documents,
      workers: createDocumentWork(workers),
      cell,
      convergence: ({ prefix = '', limit, all }) => convergence.report({ prefix, limit, all }),
      authenticate,
      origins,
      metrics,
      metricsPage: createMetricsPage(metrics),
      readiness,
      config,
      log,
      version: readVersion(),
      now: () => performance.now(),
      ...(config.demo ? { pages: webPagesFolder() } : {}),
    })
  }
  let api: Promise<HttpApi> | undefined
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    api ??= loadApi()
    api.then(
      (handle) => handle(request, response),
      (error: unknown) => {
        log.error('http/failed', {}, error)
        response.writeHead(500).end()
      },
    )
  }

  const server = createServer(HTTP_SERVER_OPTIONS, answer).setTimeout(STALL_MS)
  limitPlainConnections(server, config.limits.httpConnections, () => metrics.transport('connection-refused', 1))
  let peers: PeerNetwork | undefined
  server.on('upgrade', (request, socket, head) => {
    if (peers?.handleUpgrade(request, socket, head)) return
    try {
      origins.check({ origin: request.headers.origin, host: request.headers.host })
    } catch (error) {
      const { code } = asCausewayError(error)
      metrics.transport('upgrade-refused', 1)
      log.info('transport/upgrade-refused', { code, remoteAddress: request.socket.remoteAddress })
      refuseUpgrade(socket, code)
      return
    }
    if (!sockets.handleUpgrade(request, socket, head)) refuseUpgrade(socket, 'request/not-found')
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const status = CLIENT_ERROR_STATUS[error.code ?? ''] ?? 400
    if (socket.writable) socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n\r\n`)
    else socket.destroy()
  })
  try {
    await listen(server, address)
  } catch (error) {
    await workers.close()
    throw error
  }
  const { port } = server.address() as AddressInfo
  // What the cell has stored wins over what is configured.
  const memberAddresses = (): ReadonlyMap<string, string> => cellHost.member.peerAddresses
  const network = new PeerNetwork({
    self: { name: config.name, incarnation: incarnationOf(origin) },
    cellName: config.cell,
    secret: config.cellSecret,
    peers: memberAddresses(),
    onConnected: (peer) => cellHost.connected(peer),
    onMessage: (peer, message) => cellHost.received(peer, message),
    onDisconnected: (peer) => cellHost.disconnected(peer),
    log,
    metrics: metrics.peers,
  })
  peers = network
  for (const name of others.keys()) {
    if (!memberAddresses().has(name)) log.warn('cell/member-ignored', { member: name })
  }
  cellHost.start(documents, {
    send: (peer, message) => network.send(peer, message),
    close: (peer, error) => network.close(peer, error),
    remove: () => network.setPeers(memberAddresses()),
  })
  // After whoever started it has said that it is ready: programs read that line first.
  setImmediate(() => {
    if (open) log.info('access/open')
    reportRecovered(recovered, log)
  })
  // Not at once: loading takes a tenth of a second, in which clients that come back would wait.
  const preload = setTimeout(() => {
    api ??= loadApi()
    api.catch((error: unknown) => log.error('http/failed', {}, error))
  }, API_PRELOAD_MS)
  const maintenance = new Maintenance({
    log: storage,
    workers,
    budget: config.logBudget,
    ceiling: () => cellHost.pruneCeiling(config.logBudget.maxAgeMs),
    onPruned: (floor) => cellHost.pruned(floor),
    now: Date.now,
    onDamage: ({ document, position, reason }) => log.error('storage/damage-found', { document, position, reason }),
    onFailure: (error) => log.warn('storage/maintenance-failed', {}, error),
  })
  const memberTimer = setInterval(() => cellHost.tick(), MEMBER_TICK_MS)
  const timer = setInterval(() => {
    documents.tick()
    maintenance.tick()
    cell.tick()
    void convergence.tick()
    network.tick(performance.now())
    sockets.tick(performance.now())
    metrics.waitingRequests = cell.sessions.waiting
    metrics.divergedDocuments = convergence.stats().divergedDocuments
    metrics.openDocuments = documents.stats().openDocuments
    metrics.queueBytes = documents.stats().inFlightBytes
    metrics.connections = sockets.stats().connections
  }, TICK_MS)

  let stopping: Promise<void> | undefined
  const stop = async (): Promise<void> => {
    state = 'draining'
    cellHost.drain()
    const closed = once(server, 'close')
    server.close()
    // What was accepted is answered first, then clients are sent away; what slipped in between is brought to disk too.
    await documents.settled()
    await sockets.drain()
    await documents.drain()
    // The last edits are on their way to the peers: what leaves after them is told by whoever has it.
    await network.drain()
    server.closeIdleConnections()
    const late = setTimeout(() => server.closeAllConnections(), CLOSE_MS)
    await closed
    clearTimeout(late)
    clearInterval(timer)
    clearInterval(memberTimer)
    clearTimeout(preload)
    cellHost.close()
    await workers.close()
    await storage.close()
  }
  // A member alone is there at once; others may have to meet first.
  if (cellHost.size === 1) await cellHost.served
  return {
    port,
    served: cellHost.served,
    url: `http://${address.host.includes(':') ? `[${address.host}]` : address.host}:${port}`,
    stop: () => {
      stopping ??= stop()
      return stopping
    },
  }
}

/** The transport's log as events of ours. */
function transportLog(log: Log): TransportLog {
  const at =
    (level: 'info' | 'warn' | 'error') =>
    ({ event, error, ...fields }: Readonly<Record<string, unknown>>): void =>
      log[level](`transport/${event}` as LogEvent, fields as LogFields, error)
  return { info: at('info'), warn: at('warn'), error: at('error') }
}

/** Rejects with the system's error where the address cannot be listened on. */
async function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  server.listen(port, host)
  await once(server, 'listening')
}
