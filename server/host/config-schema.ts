/**
 * Every option there is, with its default, its bounds and what it is for. The command line, the environment, the printed
 * configuration and its documentation are all drawn from here. Units stand in the names. An option is here only if
 * something acts on it.
 */
import * as z from 'zod'
import { REPLICA_NAME } from '../../shared/clock/dot.js'
import { isDocumentName, spaceOf } from '../../shared/protocol/document-name.js'
import { isLoopbackHost, parseListen } from '../access/address.js'
import { PUBLIC_KEYS_LIMIT, SECRET_LEAST_BYTES } from '../access/keys.js'

const MIB = 1024 * 1024

const listen = z.string().refine((text) => parseListen(text) !== undefined, {
  error: 'must be host:port, such as 127.0.0.1:4400 or [::1]:4400',
})

const origin = z.string().refine((text) => text === '*' || isOrigin(text), {
  error: 'must be an origin as browsers send it, such as https://app.example.com, or *',
})

const keySetAddress = z.string().refine(isKeySetAddress, {
  error: 'must be an https address (http only on this machine) without user name and password',
})

const auth = z.strictObject({
  secret: z
    .string()
    .refine((text) => Buffer.byteLength(text) >= SECRET_LEAST_BYTES, {
      error: `must be at least ${SECRET_LEAST_BYTES} bytes long`,
    })
    .exactOptional()
    .describe('Shared secret of tokens signed with HS256, HS384 or HS512. Only from the file or the environment.'),
  publicKeys: z
    .array(z.union([z.string(), z.record(z.string(), z.unknown())]))
    .max(PUBLIC_KEYS_LIMIT)
    .exactOptional()
    .describe('Public keys of tokens, each in PEM form or as a JWK: Ed25519, P-256, P-384, P-521 or RSA.'),
  jwks: keySetAddress.exactOptional().describe('Address of a JSON Web Key Set with the keys of tokens.'),
  issuer: z.string().min(1).exactOptional().describe('The iss that a token must have.'),
  audience: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .exactOptional()
    .describe('The aud that a token must have; of a list, one.'),
})

const limits = z.strictObject({
  connections: count(1, 1_000_000, 20_000).describe('Open WebSocket connections of this replica.'),
  documentsPerConnection: count(1, 1_000_000, 1_000).describe('Documents open on one connection.'),
  httpConnections: count(1, 1_000_000, 10_000).describe('Open connections of this replica that are no WebSockets.'),
  newDocumentsPerUser: count(1, 1_000_000_000, 20_000).describe('New documents of one user per hour, and at once.'),
  newDocumentsPerSpace: count(1, 1_000_000_000, 200_000).describe('New documents of one space per hour, and at once.'),
  updateBytes: count(1024, 256 * MIB, 16 * MIB).describe('Size of one update, and so of one message.'),
  documentBytes: count(1024, 1024 * MIB, 64 * MIB).describe('Size of one document.'),
  requestBytes: count(1024, 256 * MIB, 8 * MIB).describe('Size of a JSON request body.'),
  requestsPerSecond: count(1, 1_000_000, 2_000).describe('HTTP requests per second of one user or address, lasting.'),
  requestBurst: count(1, 1_000_000, 10_000).describe('HTTP requests of one user or address at once.'),
})

const space = z.strictObject({
  relay: z
    .enum(['allow', 'deny'])
    .default('allow')
    .describe("Whether a user may bring structs of somebody else's client id, as hops and imports do."),
})

/** As names of documents have them: no slash, no control characters; * stands for every space that is not named. */
const spaceName = z.string().refine((name) => isDocumentName(name) && !name.includes('/'), {
  error: 'must be the name of a space, or *',
})

export const configSchema = z.strictObject({
  name: z
    .string()
    .regex(REPLICA_NAME, { error: 'must be 1 to 32 lower-case letters, digits and hyphens, no hyphen first' })
    .default('a')
    .describe('Name of this replica, unique in its cell.'),
  cell: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, {
      error: 'must be 1 to 64 lower-case letters, digits and hyphens, no hyphen first',
    })
    .default('causeway')
    .describe('Name of the cell that this replica belongs to.'),
  listen: listen.default('127.0.0.1:4400').describe('Where clients connect: host:port. Port 0 takes a free one.'),
  data: z
    .string()
    .refine((path) => path !== '' && !path.includes('\0'), { error: 'must be the path of a directory' })
    .default('./causeway-data')
    .describe('Directory of everything that this replica keeps.'),
  auth: auth
    .prefault({})
    .describe('How tokens are verified. Without any key access is open, which only loopback allows.'),
  origins: z
    .array(origin)
    .max(256)
    .default([])
    .describe('Origins of the pages that may connect, beside our own; * for all.'),
  spaces: z
    .record(spaceName, space)
    .default({})
    .describe('Policy of spaces by name, such as {"team":{"relay":"deny"}}; * for every other space.'),
  limits: limits.prefault({}).describe('What one client, user or document may cost.'),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info').describe('The least that is logged.'),
    })
    .prefault({}),
  logBudget: z
    .strictObject({
      maxAgeMs: count(0, 10 * 365 * 86_400_000, 7 * 86_400_000).describe('Age to which ops stay in the log.'),
      maxBytes: count(MIB, 1024 * 1024 * MIB, 2048 * MIB).describe('Size to which ops stay in the log.'),
    })
    .prefault({})
    .describe('How much history the log of ops keeps; documents themselves are never pruned.'),
  workers: count(1, 64, 2).describe('Threads that work on documents.'),
  demo: z.boolean().default(false).describe('Whether the demo page is served at /.'),
  metrics: z
    .strictObject({
      public: z.boolean().default(false).describe('Whether /metrics answers without a token.'),
    })
    .prefault({}),
})

export type Config = z.output<typeof configSchema>

/** As a program gives it: what has a default may be left out. */
export type ConfigInput = z.input<typeof configSchema>

/** Whether structs under somebody else's client id are refused in a document. */
export function deniesRelay({ spaces }: Config, document: string): boolean {
  return (ownEntry(spaces, spaceOf(document)) ?? ownEntry(spaces, '*'))?.relay === 'deny'
}

function ownEntry<Value>(record: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined
}

function count(least: number, most: number, usual: number) {
  return z.int().min(least).max(most).default(usual)
}

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
