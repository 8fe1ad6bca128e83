/** Every bound of the stock endpoints. The defaults admit what honest apps do, several times over. */
import { PRESENCE_LIMITS, type PresenceLimits } from './presence.js'
import type { Rate } from './token-bucket.js'

export interface TransportLimits {
  readonly connections: number
  readonly connectionsPerAddress: number
  readonly documentsPerConnection: number
  /** A first sync is one message. */
  readonly messageBytes: number
  readonly messageFragments: number
  /** Network chunks that an unfinished message may be held in. */
  readonly messageChunks: number
  /** Bytes of messages that have begun and not ended, all connections together; the largest of them go first. */
  readonly unfinishedBytes: number
  /** Messages and bytes that a connection may send; it is read more slowly beyond, and not closed. */
  readonly messages: Rate
  readonly bytes: Rate
  /** Messages taken from one connection before others have their turn. */
  readonly messagesPerTurn: number
  /** WebSocket pings between two ticks. */
  readonly pings: number
  /** Updates of one connection without an outcome; it is not read beyond. */
  readonly requestsInFlight: number
  /** How long an update may wait for its outcome: the disk, a comparison of content, those before it. */
  readonly outcomeMs: number
  /** Bytes that wait for a reader, beyond answers to its step1s. */
  readonly backlogBytes: number
  /** A step1 is answered when no more than this waits before the answer. */
  readonly answerBacklogBytes: number
  /** Answers that one connection may have computed at a time. */
  readonly answersInFlight: number
  /** Bytes of answers that a connection may ask for. */
  readonly answerBytes: Rate
  /** What a Hocuspocus connection may send before its documents are authenticated. */
  readonly unauthenticatedDocuments: number
  readonly queuedBytes: number
  readonly queuedMessages: number
  /** Tokens that one connection may have judged. */
  readonly authentications: Rate
  /** Bytes that one connection may tell the other clients of its documents without storing them. */
  readonly statelessBytes: Rate
  /** Messages that cannot be decoded, and updates that are none, before the connection is closed. */
  readonly strikes: number
  /** Until the first successful authentication. */
  readonly authenticationMs: number
  readonly pingIntervalMs: number
  /** Stock clients give up after 30 s without a data frame; a tick later than this must still be within 20 s. */
  readonly keepAliveMs: number
  /** How long a peer may take to answer a close. */
  readonly closeMs: number
  readonly presence: PresenceLimits
}

const MIB = 1024 * 1024

export const TRANSPORT_LIMITS: TransportLimits = {
  connections: 20_000,
  connectionsPerAddress: 10_000,
  documentsPerConnection: 500,
  messageBytes: 16 * MIB,
  messageFragments: 1024,
  messageChunks: 16_384,
  unfinishedBytes: 256 * MIB,
  messages: { perSecond: 40_000, burst: 80_000 },
  bytes: { perSecond: 32 * MIB, burst: 64 * MIB },
  messagesPerTurn: 4096,
  pings: 20,
  requestsInFlight: 10_000,
  outcomeMs: 30_000,
  backlogBytes: 4 * MIB,
  answerBacklogBytes: MIB,
  answersInFlight: 4,
  answerBytes: { perSecond: 8 * MIB, burst: 64 * MIB },
  unauthenticatedDocuments: 100,
  queuedBytes: 5 * MIB,
  queuedMessages: 1000,
  authentications: { perSecond: 20, burst: 1000 },
  statelessBytes: { perSecond: MIB / 2, burst: 4 * MIB },
  strikes: 3,
  authenticationMs: 60_000,
  pingIntervalMs: 30_000,
  keepAliveMs: 15_000,
  closeMs: 5_000,
  presence: PRESENCE_LIMITS,
}
