/** Errors as answers: the body of API.md, its status, and the headers that clients and caches act upon. */
import type { Request, Response } from 'express'
import { asCausewayError, CausewayError } from '../../shared/errors/error.js'
import type { Log } from '../host/log.js'
import { sendJson } from './answer.js'
import { DEGRADED_HEADER } from './session.js'

export interface ErrorPorts {
  readonly log: Pick<Log, 'error'>
  readonly metrics: { refused(code: CausewayError['code']): void }
}

/** Answers with what was thrown. Where an answer has begun, the connection ends: half an answer must not look whole. */
export function answerError(thrown: unknown, request: Request, response: Response, ports: ErrorPorts): void {
  const error = asCausewayError(thrown)
  ports.metrics.refused(error.code)
  if (error.info.outcome === 'indefinite') {
    ports.log.error('http/failed', { method: request.method, path: request.path, code: error.code }, thrown)
  }
  if (response.headersSent) {
    response.destroy()
    return
  }
  const retryAfterMs = error.details['retryAfterMs']
  if (typeof retryAfterMs === 'number') response.set('Retry-After', String(Math.max(1, Math.ceil(retryAfterMs / 1000))))
  else if (error.info.http === 503) response.set('Retry-After', '1')
  if (error.info.http === 401) response.set('WWW-Authenticate', 'Bearer')
  const isDegraded = response.get(DEGRADED_HEADER) !== undefined
  sendJson(response, error.info.http, isDegraded ? { ...error.toJSON(), degraded: true } : error)
}

/** The same error with details more. */
export function withDetails(error: CausewayError, details: Readonly<Record<string, unknown>>): CausewayError {
  return new CausewayError(error.code, { ...error.details, ...details }, { message: error.message, cause: error })
}
