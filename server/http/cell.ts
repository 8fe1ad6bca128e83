/** The cell over HTTP, for who administers all of it: its members and what they hold, and whether documents agree. */
import { type OriginId, replicaNameOf } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { Cell, CellStatus } from '../replica/cell.js'
import type { ConvergenceReport } from '../replica/convergence.js'
import { sendJson } from './answer.js'
import { type Endpoint, endpoint } from './endpoint.js'
import {
  acceptedAnswer,
  CONVERGENCE_USUAL,
  cellAnswer,
  convergenceAnswer,
  convergenceQuery,
  forceRecoverBody,
  noQuery,
} from './schemas.js'

/** Compares documents across members; `all`: reports those that are equal too. */
export type CheckConvergence = (options: {
  readonly prefix?: string
  readonly limit: number
  readonly all: boolean
}) => Promise<ConvergenceReport>

export function cellEndpoints(cell: Cell, convergence: CheckConvergence): readonly Endpoint[] {
  return [
    endpoint({
      method: 'get',
      path: '/v1/cell',
      summary: 'Members of the cell and how they stand to each other, as this replica knows it.',
      rightOverAll: 'admin',
      query: noQuery,
      body: 'none',
      answers: { 200: { describes: 'The cell.', content: { 'application/json': cellAnswer } } },
      async handle({ response }) {
        sendJson(response, 200, describeCell(cell.status()))
      },
    }),
    endpoint({
      method: 'post',
      path: '/v1/cell/force-recover',
      summary:
        'Accepts that what died is lost, where a majority of the members lacks what it once had. For people, after thought.',
      rightOverAll: 'admin',
      query: noQuery,
      body: forceRecoverBody,
      answers: { 202: { describes: 'The replica goes on.', content: { 'application/json': acceptedAnswer } } },
      async handle({ response }) {
        cell.forceRecover()
        sendJson(response, 202, { accepted: true })
      },
    }),
    endpoint({
      method: 'delete',
      path: '/v1/cell/members/:member',
      summary: 'Takes a dead member out, at this replica: to be asked of every replica that stays.',
      rightOverAll: 'admin',
      query: noQuery,
      body: 'none',
      answers: {
        202: { describes: 'It is no member here any more.', content: { 'application/json': acceptedAnswer } },
      },
      async handle({ request, response }) {
        cell.removeMember(String(request.params['member']))
        sendJson(response, 202, { accepted: true })
      },
    }),
    endpoint({
      method: 'get',
      path: '/v1/cell/convergence',
      summary: 'Whether the replicas hold the same documents, checked now.',
      rightOverAll: 'admin',
      query: convergenceQuery,
      body: 'none',
      answers: { 200: { describes: 'What was found.', content: { 'application/json': convergenceAnswer } } },
      async handle({ response, query }) {
        const { prefix, limit = CONVERGENCE_USUAL, all } = query
        const options = { limit, all: all === '1', ...(prefix === undefined ? {} : { prefix }) }
        sendJson(response, 200, await convergence(options))
      },
    }),
  ]
}

function describeCell(status: CellStatus): object {
  const vectorOf = (vector: VersionVector): Record<string, number> => readableVector(vector, status.current)
  return {
    cell: status.name,
    id: status.id ?? null,
    epoch: status.epoch,
    configEpoch: status.configEpoch,
    self: status.self,
    state: status.state,
    members: status.members.map(({ name, url = null, state, reachable, durable, lagOps, lagMs }) => ({
      name,
      url,
      role: 'follower',
      state,
      reachable,
      vector: vectorOf(durable),
      durable: vectorOf(durable),
      lagOps,
      lagMs,
    })),
    raft: null,
    majorityDurable: vectorOf(status.majorityDurable),
    heldBack: status.heldBack.map(({ replica, dot, waitsFor, waitedMs }) => ({
      replica,
      dot: `${readableOrigin(dot.origin, status.current)}:${dot.seq}`,
      waitsFor: vectorOf(waitsFor),
      waitedMs,
    })),
    alarms: status.alarms,
  }
}

/**
 * `{"a":3}`: an origin by its replica's name where it is the newest of that name, or the only one there, and in full
 * otherwise. A lineage goes on counting across restarts, so the numbers under a name can be compared.
 */
export function readableVector(
  vector: VersionVector,
  current: ReadonlySet<OriginId> = new Set(),
): Record<string, number> {
  const namesakes = new Map<string, number>()
  for (const origin of vector.keys()) {
    const name = replicaNameOf(origin)
    namesakes.set(name, (namesakes.get(name) ?? 0) + 1)
  }
  const entries = [...vector].map(([origin, seq]) => {
    const isOnly = namesakes.get(replicaNameOf(origin)) === 1
    return [isOnly ? replicaNameOf(origin) : readableOrigin(origin, current), seq]
  })
  return Object.fromEntries(entries)
}

function readableOrigin(origin: OriginId, current: ReadonlySet<OriginId> | undefined): string {
  return current?.has(origin) ? replicaNameOf(origin) : origin
}
