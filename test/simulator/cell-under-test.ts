/**
 * What the harness needs of a cell to test it: programs for its replicas, its clients and whatever else it talks to, and
 * reports of what they do. The harness owns everything around them: nodes, disks and links (`shared/simulator`), the
 * operations that clients are given (`workload.ts`), the faults (`nemesis.ts`), and the verdict (`check-history.ts`).
 * A program never learns which faults it meets, nor that it is watched.
 *
 * Contract:
 * - A node's program is booted anew at each start, on what its disk holds. A process dies without notice, at any
 *   operation of its machine.
 * - Replicas report server events of `history.ts` as they happen, in the order in which they happen; clients report the
 *   answers to the calls they are given. The harness reports `invoke`, the world's own events and, for a client that was
 *   killed, that reads and claims under way are `unknown`.
 * - A client keeps its outbox and its token on its own disk: killed and started again it goes on with both, and reports
 *   answers to the writes it finds there.
 * - `settled` has no effect on the program.
 */
import type { Machine, Program } from '../../shared/simulator/program.js'
import type { Boot } from '../../shared/simulator/world.js'
import type { ClientEvent, Request, ServerEvent, WorldEvent } from './history.js'

export interface ReplicaSetup {
  /** Names of all replicas, this one's included; nodes of the world by the same names. */
  readonly members: readonly string[]
  /** `recovered` is to be reported when a replica has what the others know again, at each start. */
  report(event: ServerEvent | Extract<WorldEvent, { type: 'recovered' }>): void
}

export interface ClientSetup {
  readonly replicas: readonly string[]
  report(event: ClientEvent | Extract<ServerEvent, { type: 'pending' }>): void
}

export interface ReplicaProgram<Message> extends Program<Message> {
  /** Its clock, what it holds, and how many ops and requests wait for others. */
  settled(): Extract<ServerEvent, { type: 'replica-settled' }>
}

export interface ClientProgram<Message> extends Program<Message> {
  /** Begins a call; it is answered by `ok`, `refused` or `unknown`, other than writes within `deadlineMs`. */
  submit(call: number, request: Request, deadlineMs: number): void
  /** Writes that no majority is known to have. */
  settled(): Extract<ClientEvent, { type: 'client-settled' }>
}

/** One cell, for one run: what it keeps in variables is no part of any node. */
export interface CellUnderTest<Message, Stored> {
  bootReplica(machine: Machine<Message, Stored>, setup: ReplicaSetup): ReplicaProgram<Message>
  bootClient(machine: Machine<Message, Stored>, setup: ClientSetup): ClientProgram<Message>
  /** Other nodes it needs, such as an external coordination store. They are cut off at times and never die. */
  readonly services: ReadonlyMap<string, Boot<Message, Stored>>
  /** Whether its clients take claims. */
  readonly hasClaims: boolean
  /** A message in a few words, for traces. */
  describe(message: Message): string
}
