/**
 * Every option there is, with its default, its bounds and what it is for. The command line, the environment, the printed
 * configuration and its documentation are all drawn from here. Units stand in the names. An option is here only if
 * something acts on it.
 *
 * In the small dialect of zod: a start loads only the kinds of schema that stand here.
 */
import * as z from 'zod/mini'
import { isReplicaName } from '../../shared/clock/dot.js'
import { isDocumentName } from '../../shared/protocol/document-name.js'
import { isLoopbackHost, parseListen } from '../access/address.js'
import { PUBLIC_KEYS_LIMIT, SECRET_LEAST_BYTES } from '../access/keys.js'
import { MEMBERS_LIMIT, peerAddress } from './members.js'

const MIB = 1024 * 1024
const CELL_NAME = /^[a-z0-9][a-z0-9-]{0,63}$/

/** A text that `isValid`; what is wrong with any other follows its name: "must be …". */
function text(isValid: (text: string) => boolean, error: string) {
  return z.string().check(z.refine(isValid, { error }))
}

function named(pattern: RegExp, error: string) {
  return z.string().check(z.regex(pattern, { error }))
}

function filled() {
  return z.string().check(z.minLength(1))
}

function count(least: number, most: number) {
  return z.int().check(z.minimum(least), z.maximum(most))
}

/** What an option is for, as its documentation says it. */
function about<Schema extends z.ZodMiniType>(description: string, schema: Schema): Schema {
  z.globalRegistry.add(schema, { description })
  return schema
}

const listen = text(
  (address) => parseListen(address) !== undefined,
  'must be host:port, such as 127.0.0.1:4400 or [::1]:4400',
)

const origin = text(
  (value) => value === '*' || isOrigin(value),
  'must be an origin as browsers send it, such as https://app.example.com, or *',
)

const keySetAddress = text(
  isKeySetAddress,
  'must be an https address (http only on this machine) without user name and password',
)

const replicaName = text(
  isReplicaName,
  'must be 1 to 32 lower-case letters, digits and hyphens, no hyphen first, and not coord',
)

const memberAddress = text(
  (address) => peerAddress(address) !== undefined,
  'must be a ws:// or wss:// address without user name, password and query, its path empty or ending in /peer',
)

const peers = z.record(replicaName, memberAddress).check(
  z.refine((all) => Object.keys(all).length <= MEMBERS_LIMIT, {
    error: `must name at most ${MEMBERS_LIMIT} replicas`,
  }),
)

const secret = text(
  (value) => Buffer.byteLength(value) >= SECRET_LEAST_BYTES,
  `must be at least ${SECRET_LEAST_BYTES} bytes long`,
)

const publicKeys = z
  .array(z.union([z.string(), z.record(z.string(), z.unknown())]))
  .check(z.maxLength(PUBLIC_KEYS_LIMIT))

const audience = z.union([filled(), z.array(filled()).check(z.minLength(1))])

const auth = z.strictObject({
  secret: about(
    'Shared secret of tokens signed with HS256, HS384 or HS512. Only from the file or the environment.',
    z.exactOptional(secret),
  ),
  publicKeys: about(
    'Public keys of tokens, each in PEM form or as a JWK: Ed25519, P-256, P-384, P-521 or RSA.',
    z.exactOptional(publicKeys),
  ),
  jwks: about('Address of a JSON Web Key Set with the keys of tokens.', z.exactOptional(keySetAddress)),
  issuer: about('The iss that a token must have.', z.exactOptional(filled())),
  audience: about('The aud that a token must have; of a list, one.', z.exactOptional(audience)),
})

const limits = z.strictObject({
  connections: about('Open WebSocket connections of this replica.', z._default(count(1, 1_000_000), 20_000)),
  documentsPerConnection: about('Documents open on one connection.', z._default(count(1, 1_000_000), 1_000)),
  httpConnections: about(
    'Open connections of this replica that are no WebSockets.',
    z._default(count(1, 1_000_000), 10_000),
  ),
  newDocumentsPerUser: about(
    'New documents of one user per hour, and at once.',
    z._default(count(1, 1_000_000_000), 20_000),
  ),
  newDocumentsPerSpace: about(
    'New documents of one space per hour, and at once.',
    z._default(count(1, 1_000_000_000), 200_000),
  ),
  // An op holds no more.
  updateBytes: about('Size of one update, and so of one message.', z._default(count(1024, 32 * MIB), 16 * MIB)),
  documentBytes: about('Size of one document.', z._default(count(1024, 1024 * MIB), 64 * MIB)),
  requestBytes: about('Size of a JSON request body.', z._default(count(1024, 256 * MIB), 8 * MIB)),
  requestsPerSecond: about(
    'HTTP requests per second of one user or address, lasting.',
    z._default(count(1, 1_000_000), 2_000),
  ),
  requestBurst: about('HTTP requests of one user or address at once.', z._default(count(1, 1_000_000), 10_000)),
})

const log = z.strictObject({
  level: about('The least that is logged.', z._default(z.enum(['debug', 'info', 'warn', 'error', 'silent']), 'info')),
})

const logBudget = z.strictObject({
  maxAgeMs: about('Age to which ops stay in the log.', z._default(count(0, 10 * 365 * 86_400_000), 7 * 86_400_000)),
  maxBytes: about('Size to which ops stay in the log.', z._default(count(MIB, 1024 * 1024 * MIB), 2048 * MIB)),
  everyMs: about('How often the log is brought within its budget.', z._default(count(100, 86_400_000), 60_000)),
})

const metrics = z.strictObject({
  public: about('Whether /metrics answers without a token.', z._default(z.boolean(), false)),
})

const space = z.strictObject({
  relay: about(
    "Whether a user may bring structs of somebody else's client id, as hops and imports do.",
    z._default(z.enum(['allow', 'deny']), 'allow'),
  ),
})

/** As names of documents have them: no slash, no control characters; * stands for every space that is not named. */
const spaceName = text((name) => isDocumentName(name) && !name.includes('/'), 'must be the name of a space, or *')

export const configSchema = z.strictObject({
  name: about('Name of this replica, unique in its cell.', z._default(replicaName, 'a')),
  cell: about(
    'Name of the cell that this replica belongs to.',
    z._default(named(CELL_NAME, 'must be 1 to 64 lower-case letters, digits and hyphens, no hyphen first'), 'causeway'),
  ),
  peers: about(
    'All replicas of the cell by name, this one included, each with the address at which the others reach it; an odd number, at most 7. A replica without peers is a cell of its own. Once the cell is born, the members that it stores count.',
    z.exactOptional(peers),
  ),
  cellSecret: about(
    'What the replicas of a cell know each other by, the same for all. Only from the file or the environment. Needed unless all are on this machine.',
    z.exactOptional(secret),
  ),
  newCell: about(
    'Whether this replica alone begins a new cell, which the other peers join; for the first start, and for one replica only.',
    z._default(z.boolean(), false),
  ),
  serveAloneAfterMs: about(
    'How long a replica that starts waits for one of its peers, who may know that its disk is an old copy, before it serves clients by itself.',
    z._default(count(0, 86_400_000), 5_000),
  ),
  listen: about('Where clients connect: host:port. Port 0 takes a free one.', z._default(listen, '127.0.0.1:4400')),
  data: about(
    'Directory of everything that this replica keeps.',
    z._default(
      text((path) => path !== '' && !path.includes('\0'), 'must be the path of a directory'),
      './causeway-data',
    ),
  ),
  auth: about(
    'How tokens are verified. Without any key access is open, which only loopback allows.',
    z.prefault(auth, {}),
  ),
  origins: about(
    'Origins of the pages that may connect, beside our own; * for all.',
    z._default(z.array(origin).check(z.maxLength(256)), []),
  ),
  spaces: about(
    'Policy of spaces by name, such as {"team":{"relay":"deny"}}; * for every other space.',
    z._default(z.record(spaceName, space), {}),
  ),
  limits: about('What one client, user or document may cost.', z.prefault(limits, {})),
  log: z.prefault(log, {}),
  logBudget: about(
    'How much history the log of ops keeps; documents themselves are never pruned.',
    z.prefault(logBudget, {}),
  ),
  workers: about('Threads that work on documents.', z._default(count(1, 64), 2)),
  demo: about('Whether the demo page is served at /.', z._default(z.boolean(), false)),
  metrics: z.prefault(metrics, {}),
})

export type Config = z.output<typeof configSchema>

/** As a program gives it: what has a default may be left out. */
export type ConfigInput = z.input<typeof configSchema>

function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false
  if (/^https?:/.test(text)) return new URL(text).origin === text
  return /^[a-z][a-z0-9+.-]*:\/\/[^/?#@\s]+$/.test(text) // pages inside apps: capacitor://localhost
}

function isKeySetAddress(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, hostname, username, password } = new URL(text)
  if (username !== '' || password !== '') return false
  return protocol === 'https:' || (protocol === 'http:' && isLoopbackHost(hostname))
}
