import { ERROR_CODES, type ErrorCode, type ErrorCodeName } from './codes.js'

/** Details that programs may read; their names are part of the HTTP contract. */
export type ErrorDetails = Readonly<Record<string, unknown>>

/** The error that every public surface shows: a code of the table, details, and the cause where there is one. */
export class CausewayError extends Error {
  override readonly name = 'CausewayError'
  readonly code: ErrorCodeName
  readonly details: ErrorDetails

  constructor(code: ErrorCodeName, details: ErrorDetails = {}, options: { message?: string; cause?: unknown } = {}) {
    super(options.message ?? ERROR_CODES[code].says, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = details
  }

  get info(): ErrorCode {
    return ERROR_CODES[this.code]
  }

  /** The body of API.md: `{"error":{code, message, outcome, retry, details}}`. */
  toJSON(): { error: { code: ErrorCodeName; message: string; outcome: string; retry: string; details: ErrorDetails } } {
    const { outcome, retry } = this.info
    return { error: { code: this.code, message: this.message, outcome, retry, details: this.details } }
  }
}

/** What was thrown, as a `CausewayError`: anything unknown becomes `internal/failure` with its cause kept. */
export function asCausewayError(thrown: unknown): CausewayError {
  return thrown instanceof CausewayError ? thrown : new CausewayError('internal/failure', {}, { cause: thrown })
}
