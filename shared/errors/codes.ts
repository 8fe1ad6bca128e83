/**
 * The one table of error codes. Meaning, retry advice and the way an error is shown on each surface are decided here,
 * once; everything else names a code. Codes are never renamed or reused.
 *
 * `close` is a WebSocket close code. Stock clients take 4400–4499 as final, so those stand only where `retry` is
 * `never`; what may heal closes with 45xx, 1011, 1012 or 1013.
 */
export interface ErrorCode {
  /** One sentence for a person. */
  readonly says: string
  /** `never`: the same request fails again; `later`: wait and repeat; `elsewhere`: another replica may answer. */
  readonly retry: 'never' | 'later' | 'elsewhere'
  /** `definite`: certainly not done. `indefinite`: nobody knows. */
  readonly outcome: 'definite' | 'indefinite'
  readonly http: number
  readonly close: number
  /** Exit code of the command line. */
  readonly exit: number
}

const definite = 'definite'
const indefinite = 'indefinite'

export const ERROR_CODES = {
  'access/expired': {
    says: 'The access token has expired.',
    retry: 'later',
    outcome: definite,
    http: 401,
    close: 4501,
    exit: 4,
  },
  'access/forbidden': {
    says: 'The access token does not allow this.',
    retry: 'never',
    outcome: definite,
    http: 403,
    close: 4403,
    exit: 4,
  },
  'access/origin': {
    says: 'Pages of this origin may not connect.',
    retry: 'never',
    outcome: definite,
    http: 403,
    close: 4403,
    exit: 4,
  },
  'access/too-many-connections': {
    says: 'Too many connections are open.',
    retry: 'later',
    outcome: definite,
    http: 429,
    close: 1013,
    exit: 3,
  },
  'access/too-many-requests': {
    says: 'Requests arrive faster than the limit allows.',
    retry: 'later',
    outcome: definite,
    http: 429,
    close: 1013,
    exit: 3,
  },
  'access/unauthenticated': {
    says: 'A valid access token is required.',
    retry: 'never',
    outcome: definite,
    http: 401,
    close: 4401,
    exit: 4,
  },
  'cell/draining': {
    says: 'This replica is shutting down.',
    retry: 'elsewhere',
    outcome: definite,
    http: 503,
    close: 1012,
    exit: 3,
  },
  'cell/starting': {
    says: 'This replica is still starting.',
    retry: 'later',
    outcome: definite,
    http: 503,
    close: 1013,
    exit: 3,
  },
  'config/invalid': {
    says: 'The configuration is wrong.',
    retry: 'never',
    outcome: definite,
    http: 500,
    close: 1011,
    exit: 2,
  },
  'document/bad-name': {
    says: 'A document name is a path of 1 to 512 bytes of UTF-8 without control characters or empty segments.',
    retry: 'never',
    outcome: definite,
    http: 400,
    close: 4400,
    exit: 1,
  },
  'document/bad-update': {
    says: 'The update is not a well-formed Yjs v1 update within the limits.',
    retry: 'never',
    outcome: definite,
    http: 400,
    close: 4400,
    exit: 1,
  },
  'document/busy': {
    says: 'Too much work is waiting for this document.',
    retry: 'later',
    outcome: definite,
    http: 503,
    close: 1013,
    exit: 3,
  },
  'document/equivocation': {
    says: 'The update holds other content for structs that the document already has.',
    retry: 'never',
    outcome: definite,
    http: 409,
    close: 4409,
    exit: 1,
  },
  'document/gap': {
    says: 'The update refers to structs that the document does not have.',
    retry: 'later',
    outcome: definite,
    http: 409,
    close: 4509,
    exit: 1,
  },
  'document/not-found': {
    says: 'No such document has been written.',
    retry: 'never',
    outcome: definite,
    http: 404,
    close: 4404,
    exit: 1,
  },
  'document/too-expensive': {
    says: 'Work on this document exceeded its budget of time or memory.',
    retry: 'never',
    outcome: definite,
    http: 413,
    close: 4413,
    exit: 1,
  },
  'document/too-large': {
    says: 'The document has reached its size limit.',
    retry: 'never',
    outcome: definite,
    http: 413,
    close: 4413,
    exit: 1,
  },
  'document/unavailable': {
    says: 'The document cannot be read from storage.',
    retry: 'elsewhere',
    outcome: definite,
    http: 503,
    close: 4503,
    exit: 3,
  },
  'internal/failure': {
    says: 'Something failed inside the replica; its log names it.',
    retry: 'later',
    outcome: indefinite,
    http: 500,
    close: 1011,
    exit: 1,
  },
  'protocol/bad-message': {
    says: 'A message could not be decoded.',
    retry: 'never',
    outcome: definite,
    http: 400,
    close: 4400,
    exit: 1,
  },
  'protocol/not-binary': {
    says: 'Messages are binary frames.',
    retry: 'never',
    outcome: definite,
    http: 400,
    close: 1003,
    exit: 1,
  },
  'protocol/slow-consumer': {
    says: 'The connection does not read as fast as its documents change.',
    retry: 'later',
    outcome: definite,
    http: 503,
    close: 1013,
    exit: 3,
  },
  'protocol/timeout': {
    says: 'The connection was silent for too long.',
    retry: 'later',
    outcome: definite,
    http: 408,
    close: 4508,
    exit: 3,
  },
  'protocol/too-large': {
    says: 'A message exceeds the size limit.',
    retry: 'never',
    outcome: definite,
    http: 413,
    close: 1009,
    exit: 1,
  },
  'request/invalid': {
    says: 'The request is not valid.',
    retry: 'never',
    outcome: definite,
    http: 400,
    close: 4400,
    exit: 2,
  },
  'request/not-found': {
    says: 'There is nothing at this address.',
    retry: 'never',
    outcome: definite,
    http: 404,
    close: 4404,
    exit: 1,
  },
  'storage/damaged': {
    says: 'Stored data is damaged.',
    retry: 'never',
    outcome: definite,
    http: 500,
    close: 1011,
    exit: 5,
  },
  'storage/failed': {
    says: 'The disk reported an error; what was in doubt may or may not be stored.',
    retry: 'elsewhere',
    outcome: indefinite,
    http: 500,
    close: 1011,
    exit: 5,
  },
  'storage/full': {
    says: 'The disk is full: nothing was stored, reading goes on.',
    retry: 'later',
    outcome: definite,
    http: 507,
    close: 1013,
    exit: 5,
  },
  'storage/in-use': {
    says: 'Another process uses this data directory.',
    retry: 'later',
    outcome: definite,
    http: 500,
    close: 1011,
    exit: 5,
  },
  'storage/read-only': {
    says: 'The data directory cannot be written.',
    retry: 'later',
    outcome: definite,
    http: 507,
    close: 1013,
    exit: 5,
  },
} as const satisfies Record<string, ErrorCode>

export type ErrorCodeName = keyof typeof ERROR_CODES
