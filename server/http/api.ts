/**
 * The HTTP API of a replica (API.md), as one request handler. Each request passes, in this order: its target is brought
 * into one form; its session begins; pages that may not speak to us are turned away; the caller is identified and its
 * rate counted; then one endpoint of the table answers. What is in no table is `request/not-found`.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import express, { type NextFunction, type Request, type RequestHandler, type Response } from 'express'
import * as z from 'zod'
import { CausewayError } from '../../shared/errors/error.js'
import type { Authenticate } from '../access/authenticator.js'
import type { Identity } from '../access/identity.js'
import type { OriginPolicy } from '../access/origin.js'
import { RateLimiter } from '../access/rate-limit.js'
import type { Log } from '../host/log.js'
import type { Cell } from '../replica/cell.js'
import type { Documents } from '../replica/documents.js'
import { sendJson } from './answer.js'
import { onceOver } from './answer-end.js'
import { createCallerCheck } from './caller.js'
import { type CheckConvergence, cellEndpoints } from './cell.js'
import { type DocumentWork, documentEndpoints } from './documents.js'
import { callEndpoint, type Endpoint, type EndpointShape, endpoint } from './endpoint.js'
import { answerError } from './errors.js'
import { describeApi } from './openapi.js'
import { servePages } from './pages.js'
import { healthAnswer, noQuery, readinessAnswer } from './schemas.js'
import { originGuard, securityHeaders } from './security.js'
import { beginSessions, sessionOf } from './session.js'
import { normaliseTarget } from './target.js'

export interface Readiness {
  /** Whether documents can be served. */
  readonly ready: boolean
  readonly quorum: boolean
  readonly state: 'starting' | 'ready' | 'recovering' | 'draining' | 'stuck: majority lost'
}

export interface HttpApiOptions {
  readonly documents: Documents
  readonly workers: DocumentWork
  readonly cell: Cell
  readonly convergence: CheckConvergence
  readonly authenticate: Authenticate
  readonly origins: OriginPolicy
  readonly metrics: {
    refused(code: CausewayError['code']): void
    answered(status: number, seconds: number): void
  }
  /** Writes the text that `/metrics` answers. */
  readonly metricsPage: () => Promise<{ readonly contentType: string; readonly text: string }>
  readonly readiness: () => Readiness
  readonly config: {
    readonly limits: {
      readonly updateBytes: number
      readonly requestBytes: number
      readonly requestsPerSecond: number
      readonly requestBurst: number
    }
    readonly metrics: { readonly public: boolean }
  }
  readonly log: Pick<Log, 'debug' | 'error'>
  /** Version of the product, for the OpenAPI document. */
  readonly version: string
  /** Monotonic ms. */
  readonly now: () => number
  /** Requests of one user or address that may wait for other replicas at once. */
  readonly waitingPerCaller?: number
  /** Absolute path of a folder with built pages, served at `/`. */
  readonly pages?: string
}

export type HttpApi = (request: IncomingMessage, response: ServerResponse) => void

export function createHttpApi(options: HttpApiOptions): HttpApi {
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.enable('strict routing')
  app.enable('case sensitive routing')
  app.set('query parser', false)

  app.use(observe(options), securityHeaders())
  addHealth(app, options)
  app.use('/v1', beginSessions(options))
  app.use(originGuard(options.origins))
  addEndpoints(app, options)
  if (options.pages !== undefined) app.use(servePages(options.pages))
  app.use(() => {
    throw new CausewayError('request/not-found')
  })
  app.use((thrown: unknown, request: Request, response: Response, _next: NextFunction) => {
    answerError(thrown, request, response, options)
  })
  return (request, response) => {
    // Before the router reads it, which takes offence at what it cannot decode. What has no path is at no address.
    request.url = normaliseTarget(request.url ?? '') ?? '/*'
    app(request, response)
  }
}

/** Counts and logs each answer; a draining replica lets go of its connections one by one. */
function observe({ metrics, log, now, readiness }: HttpApiOptions): RequestHandler {
  return (request, response, next) => {
    const startedMs = now()
    onceOver(response, () => {
      const ms = now() - startedMs
      const status = response.writableFinished ? response.statusCode : 499
      metrics.answered(status, ms / 1000)
      log.debug('http/request', { method: request.method, path: request.path, status, ms: Math.round(ms) })
    })
    if (readiness().state === 'draining') response.set('Connection', 'close')
    next()
  }
}

/** For probes and load balancers, which have neither token nor page. */
function addHealth(app: express.Express, { readiness }: HttpApiOptions): void {
  app.get('/healthz', (_request, response) => {
    sendJson(response.set('Cache-Control', 'no-store'), 200, { ok: true })
  })
  app.get('/readyz', (_request, response) => {
    const { ready, quorum, state } = readiness()
    sendJson(response.set('Cache-Control', 'no-store'), ready ? 200 : 503, { ready, quorum, state })
  })
}

function addEndpoints(app: express.Express, options: HttpApiOptions): void {
  const { config, now } = options
  const { limits } = config
  const limiter = new RateLimiter({ perSecond: limits.requestsPerSecond, burst: limits.requestBurst }, now)
  const identify = createCallerCheck(options.authenticate, limiter)

  app.get('/metrics', async (request, response) => {
    const mayRead = config.metrics.public || (await identify(request)).canAll('admin')
    if (!mayRead) throw new CausewayError('access/forbidden', { right: 'admin' })
    const { contentType, text } = await options.metricsPage()
    response.set('Cache-Control', 'no-store').set('Content-Type', contentType).send(text)
  })

  const endpoints = [
    ...documentEndpoints(options.documents, options.workers, options.cell),
    ...cellEndpoints(options.cell, options.convergence),
  ]
  endpoints.push(apiDescription(endpoints, options.version))
  const identities = new WeakMap<Request, Identity>()
  // First of all: an address that does not exist says so only to callers that are let in.
  app.use('/v1', async (request, response, next) => {
    response.set('Cache-Control', 'no-store')
    const identity = await identify(request)
    identities.set(request, identity)
    await sessionOf(response).identified(identity)
    next()
  })
  for (const called of endpoints) {
    app[called.method](called.path, async (request, response) => {
      await callEndpoint(called, request, response, identities.get(request)!, limits)
    })
  }
}

function apiDescription(endpoints: readonly Endpoint[], version: string): Endpoint {
  return endpoint({
    method: 'get',
    path: '/v1/openapi.json',
    summary: 'This description.',
    query: noQuery,
    body: 'none',
    answers: { 200: { describes: 'OpenAPI 3.1.', content: { 'application/json': z.record(z.string(), z.unknown()) } } },
    async handle({ response }) {
      sendJson(response, 200, describeApi([...endpoints, ...SERVICE], version))
    },
  })
}

/** What stands beside the API. */
const SERVICE: readonly EndpointShape[] = [
  {
    method: 'get',
    path: '/healthz',
    summary: 'Whether the process lives.',
    open: true,
    query: noQuery,
    body: 'none',
    answers: { 200: { describes: 'It does.', content: { 'application/json': healthAnswer } } },
  },
  {
    method: 'get',
    path: '/readyz',
    summary: 'Whether documents can be served.',
    open: true,
    query: noQuery,
    body: 'none',
    answers: {
      200: { describes: 'They can.', content: { 'application/json': readinessAnswer } },
      503: { describes: 'They cannot.', content: { 'application/json': readinessAnswer } },
    },
  },
  {
    method: 'get',
    path: '/metrics',
    summary: 'Metrics in the text format of Prometheus, for who may administer everything.',
    query: noQuery,
    body: 'none',
    answers: { 200: { describes: 'The metrics.', content: { 'text/plain': null } } },
  },
]
