/** Every bound of the connections between replicas. */
const MIB = 1024 * 1024

export interface PeerNetworkLimits {
  /** Until a dialled address has answered the upgrade. */
  readonly connectMs: number
  /** Until both sides have proven who they are. */
  readonly meetingMs: number
  /** Connections that have not proven anything yet, in all and from one address. */
  readonly strangers: number
  readonly strangersPerAddress: number
  /** A ping is sent this often. */
  readonly pingMs: number
  /** A link from which not a byte came for this long is dead. */
  readonly silenceMs: number
  /** How long a linked replica may take to answer when another one of its name asks for its place. */
  readonly duplicateMs: number
  /** How long a peer may take to answer a close. */
  readonly closeMs: number
  /** Between attempts to connect: doubled from the least to the most, less a random part of up to one half. */
  readonly retryLeastMs: number
  readonly retryMostMs: number
  /** A link that lived this long was a good one: the next attempt comes soon. */
  readonly retryResetMs: number
  /** Bytes that wait for a peer, beyond which its link is closed: credit bounds honest ones far below. */
  readonly backlogBytes: number
  /** What is merely told is dropped while more than this waits. */
  readonly tellBacklogBytes: number
}

export const PEER_NETWORK_LIMITS: PeerNetworkLimits = {
  connectMs: 5_000,
  meetingMs: 10_000,
  strangers: 256,
  strangersPerAddress: 32,
  pingMs: 1_000,
  silenceMs: 5_000,
  duplicateMs: 2_000,
  closeMs: 2_000,
  retryLeastMs: 50,
  retryMostMs: 2_000,
  retryResetMs: 10_000,
  backlogBytes: 64 * MIB,
  tellBacklogBytes: MIB,
}
