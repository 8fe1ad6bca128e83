import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CausewayError } from '../../shared/errors/error.js'
import { type ConfigSources, flagOf, loadConfig, OPTIONS, parseConfig, redactConfig } from './config.js'
import { deniesRelay } from './relay-policy.js'

const canary = 'canary-secret-of-more-than-32-bytes'
const publicKey = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }) as string
const spaced = { a: 'ws://127.0.0.1:1', b: 'ws://localhost:2/x=1/peer' }
const file = (content: unknown): ConfigSources => ({
  file: { path: 'causeway.json', text: typeof content === 'string' ? content : JSON.stringify(content) },
})

function refusal(sources: ConfigSources): CausewayError {
  try {
    loadConfig(sources)
  } catch (error) {
    if (error instanceof CausewayError) return error
    throw error
  }
  throw new Error('the configuration was accepted')
}

describe('where a value comes from', () => {
  test('nothing set is a configuration: loopback, open, no demo', () => {
    const config = loadConfig({})
    expect(config).toMatchObject({ name: 'a', listen: '127.0.0.1:4400', auth: {}, origins: [], demo: false })
  })

  test('flags win over the environment, the environment over the file, the file over presets', () => {
    const sources: ConfigSources = {
      presets: { name: 'preset', cell: 'preset', data: 'preset', listen: 'localhost:1' },
      file: { path: 'c.json', text: '{"name":"file","cell":"file","data":"file"}' },
      env: { CAUSEWAY_NAME: 'env', CAUSEWAY_CELL: 'env' },
      flags: { name: 'flag', cell: undefined },
    }
    expect(loadConfig(sources)).toMatchObject({ name: 'flag', cell: 'env', data: 'file', listen: 'localhost:1' })
  })

  test('neighbours in one group may come from different places', () => {
    const config = loadConfig({
      ...file({ limits: { updateBytes: 2048, connections: 5 } }),
      env: { CAUSEWAY_LIMITS_CONNECTIONS: '7' },
      flags: { 'limits.requestBytes': '4096' },
    })
    expect(config.limits).toMatchObject({ updateBytes: 2048, connections: 7, requestBytes: 4096, requestBurst: 10_000 })
  })

  test.each<[variable: string, text: string, option: string, value: unknown]>([
    ['CAUSEWAY_NAME', '7', 'name', '7'],
    ['CAUSEWAY_WORKERS', '3', 'workers', 3],
    ['CAUSEWAY_DEMO', 'true', 'demo', true],
    ['CAUSEWAY_DEMO', '0', 'demo', false],
    ['CAUSEWAY_ORIGINS', 'https://a.example, https://b.example', 'origins', ['https://a.example', 'https://b.example']],
    ['CAUSEWAY_ORIGINS', '["https://a.example"]', 'origins', ['https://a.example']],
    ['CAUSEWAY_ORIGINS', '', 'origins', []],
    ['CAUSEWAY_SPACES', '{"team":{"relay":"deny"}}', 'spaces', { team: { relay: 'deny' } }],
    ['CAUSEWAY_LOG_LEVEL', 'debug', 'log.level', 'debug'],
    ['CAUSEWAY_LOG_BUDGET_MAX_AGE_MS', '1000', 'logBudget.maxAgeMs', 1000],
    ['CAUSEWAY_AUTH_SECRET', canary, 'auth.secret', canary],
    ['CAUSEWAY_CELL_SECRET', canary, 'cellSecret', canary],
    ['CAUSEWAY_NEW_CELL', 'true', 'newCell', true],
    ['CAUSEWAY_PEERS', 'a=ws://[::1]:1', 'peers', { a: 'ws://[::1]:1' }],
    ['CAUSEWAY_PEERS', ' a = ws://127.0.0.1:1 , b=ws://localhost:2/x=1/peer', 'peers', spaced],
    ['CAUSEWAY_PEERS', '{"a":"ws://127.0.0.1:1"}', 'peers', { a: 'ws://127.0.0.1:1' }],
    ['CAUSEWAY_AUTH_PUBLIC_KEYS', publicKey, 'auth.publicKeys', [publicKey.trim()]],
    ['CAUSEWAY_AUTH_AUDIENCE', 'causeway', 'auth.audience', 'causeway'],
    ['CAUSEWAY_AUTH_JWKS', 'https://id.example/keys', 'auth.jwks', 'https://id.example/keys'],
  ])('%s=%.20s sets %s', (variable, text, option, value) => {
    expect(loadConfig({ env: { [variable]: text } })).toHaveProperty(option.split('.'), value)
  })

  test('each option has a variable, a flag and a description of its own', () => {
    for (const { name, describes } of OPTIONS)
      expect([name, describes]).toEqual([name, expect.stringMatching(/^[A-Z].*\.$/)])
    expect(new Set(OPTIONS.map((option) => option.variable)).size).toBe(OPTIONS.length)
    expect(new Set(OPTIONS.map((option) => flagOf(option.name))).size).toBe(OPTIONS.length)
  })

  test('variables that platforms set for a service of our name are let be, others with our prefix are not', () => {
    const platform = {
      CAUSEWAY_PORT: 'tcp://10.0.0.1:4400',
      CAUSEWAY_SERVICE_HOST: '10.0.0.1',
      CAUSEWAY_SERVICE_PORT_WEB: '4400',
      CAUSEWAY_PORT_4400_TCP_ADDR: '10.0.0.1',
      CAUSEWAY_B_SERVICE_HOST: '10.0.0.2',
      CAUSEWAY_CONFIG: 'x.json',
      PATH: '/bin',
    }
    expect(() => loadConfig({ env: platform })).not.toThrow()
    expect(refusal({ env: { CAUSEWAY_LIMIT_UPDATE_BYTES: '1' } }).details).toEqual({
      option: 'CAUSEWAY_LIMIT_UPDATE_BYTES',
    })
  })
})

/** Peers a, b, … on this machine. */
const cellOf = (size: number): string =>
  Array.from({ length: size }, (_, index) => `${'abcdefgh'[index]}=ws://127.0.0.1:${index + 1}`).join(',')
const malformed = 'peers must be entries name=value with commas between, each name once (set by --peers).'

describe('a wrong value is one sentence with the name of the option, and exit code 2', () => {
  test.each<[option: string, sources: ConfigSources, sentence?: string]>([
    ['name', file({ name: 'A' })],
    ['name', file({ name: '' })],
    ['name', { flags: { name: 'a.b' } }],
    ['cell', file({ cell: 'no spaces' })],
    ['spaces', { env: { CAUSEWAY_SPACES: 'team' } }],
    ['spaces.team.relay', file({ spaces: { team: { relay: 'sometimes' } } })],
    ['spaces.team.reley', file({ spaces: { team: { reley: 'deny' } } })],
    ['spaces.a/b', file({ spaces: { 'a/b': { relay: 'deny' } } })],
    [
      'listen',
      { flags: { listen: '4400' } },
      'listen must be host:port, such as 127.0.0.1:4400 or [::1]:4400 (set by --listen).',
    ],
    ['listen', file({ listen: 4400 }), 'listen must be a text (set by causeway.json).'],
    ['data', file({ data: '' })],
    ['data', file({ data: 'a\0b' })],
    ['auth', file({ auth: 'none' }), 'auth must be an object (set by causeway.json).'],
    ['auth', { flags: { listen: '0.0.0.0:4400' } }],
    [
      'auth.secret',
      { env: { CAUSEWAY_AUTH_SECRET: 'canary' } },
      'auth.secret must be at least 32 bytes long (set by CAUSEWAY_AUTH_SECRET).',
    ],
    ['auth.secret', { env: { CAUSEWAY_AUTH_SECRET: '' } }],
    ['auth.secert', file({ auth: { secert: canary } }), 'auth.secert is not an option (set by causeway.json).'],
    [
      'auth.publicKeys',
      file({ auth: { publicKeys: canary } }),
      'auth.publicKeys must be a list (set by causeway.json).',
    ],
    [
      'auth.publicKeys[0]',
      file({ auth: { publicKeys: [canary] } }),
      'auth.publicKeys[0] is neither a public key in PEM form nor a JWK.',
    ],
    ['auth.publicKeys[1]', file({ auth: { publicKeys: [publicKey, { kty: 'oct', k: canary }] } })],
    ['auth.jwks', file({ auth: { jwks: 'http://id.example/keys' } })],
    ['auth.jwks', file({ auth: { jwks: `https://user:${canary}@id.example/keys` } })],
    ['auth.jwks', file({ auth: { jwks: 'file:///etc/passwd' } })],
    ['auth.issuer', file({ auth: { issuer: '' } })],
    ['auth.audience', file({ auth: { audience: [] } })],
    ['origins', file({ origins: 'https://a.example' }), 'origins must be a list (set by causeway.json).'],
    ['origins[0]', file({ origins: ['https://a.example/'] })],
    ['origins[1]', { env: { CAUSEWAY_ORIGINS: 'https://a.example,null' } }],
    [
      'limits.updateBytes',
      file({ limits: { updateBytes: 1 } }),
      'limits.updateBytes must be at least 1024 (set by causeway.json).',
    ],
    ['limits.updateBytes', file({ limits: { updateBytes: 1e12 } })],
    [
      'limits.updateBytes',
      file({ limits: { updateBytes: 2048.5 } }),
      'limits.updateBytes must be a whole number (set by causeway.json).',
    ],
    [
      'limits.updateBytes',
      { env: { CAUSEWAY_LIMITS_UPDATE_BYTES: '16MiB' } },
      'limits.updateBytes must be a number (set by CAUSEWAY_LIMITS_UPDATE_BYTES).',
    ],
    ['limits.updatesBytes', file({ limits: { updatesBytes: 1 } })],
    [
      'log.level',
      { flags: { 'log.level': 'loud' } },
      'log.level must be debug, info, warn, error or silent (set by --log-level).',
    ],
    ['logBudget.maxBytes', file({ logBudget: { maxBytes: null } })],
    ['workers', file({ workers: 0 })],
    ['demo', { env: { CAUSEWAY_DEMO: 'yes' } }, 'demo must be true or false (set by CAUSEWAY_DEMO).'],
    ['metrics.public', file({ metrics: { public: 1 } })],
    ['name', file({ name: 'coord' })],
    ['peers', file({ peers: 'a=ws://127.0.0.1:1' }), 'peers must be an object (set by causeway.json).'],
    ['peers', { flags: { peers: 'a' } }, malformed],
    ['peers', { flags: { peers: 'a=ws://127.0.0.1:1,' } }, malformed],
    ['peers', { flags: { peers: '=ws://127.0.0.1:1' } }, malformed],
    ['peers', { flags: { peers: 'a=ws://127.0.0.1:1,a=ws://127.0.0.1:2' } }, malformed],
    ['peers', { env: { CAUSEWAY_PEERS: '{"a"' } }, 'peers must be an object (set by CAUSEWAY_PEERS).'],
    ['peers', { flags: { peers: '' } }, 'peers must name this replica too, which is called a.'],
    ['peers', { flags: { peers: 'b=ws://127.0.0.1:1' } }, 'peers must name this replica too, which is called a.'],
    ['peers', { flags: { peers: 'constructor=ws://127.0.0.1:1' } }],
    ['peers', { flags: { name: 'constructor', peers: 'a=ws://127.0.0.1:1' } }],
    ['peers', file('{"peers":{"__proto__":"ws://127.0.0.1:1"}}')],
    ['peers', { flags: { peers: cellOf(8) } }, 'peers must name at most 7 replicas (set by --peers).'],
    [
      'peers',
      { flags: { peers: 'a=ws://127.0.0.1:1,b=ws://127.0.0.1:1/peer' } },
      'peers.a and peers.b must not have the same address.',
    ],
    [
      'peers.coord',
      { flags: { peers: 'a=ws://127.0.0.1:1,coord=ws://127.0.0.1:2' } },
      'peers.coord must be 1 to 32 lower-case letters, digits and hyphens, no hyphen first, and not coord (set by --peers).',
    ],
    ['peers.A', { flags: { peers: 'A=ws://127.0.0.1:1' } }],
    ['peers.a', { flags: { peers: 'a=' } }],
    ['peers.a', { flags: { peers: 'a=127.0.0.1:1' } }],
    ['peers.a', { flags: { peers: 'a=http://127.0.0.1:1' } }],
    ['peers.a', { flags: { peers: 'a=ws://127.0.0.1:0' } }],
    ['peers.a', { flags: { peers: 'a=ws://canary@127.0.0.1:1' } }],
    ['peers.a', { flags: { peers: 'a=ws://:canary@127.0.0.1:1' } }],
    ['peers.a', { flags: { peers: 'a=ws://127.0.0.1:1?token=canary' } }],
    ['peers.a', { flags: { peers: 'a=ws://127.0.0.1:1/?' } }],
    ['peers.a', { flags: { peers: 'a=ws://127.0.0.1:1#canary' } }],
    ['peers.a', { flags: { peers: 'a=ws://127.0.0.1:1/y' } }],
    ['peers.a', { flags: { peers: 'a=ws://127.0.0.1:1/peer/' } }],
    ['peers.a', file({ peers: { a: 4400 } }), 'peers.a must be a text (set by causeway.json).'],
    ['cellSecret', { env: { CAUSEWAY_CELL_SECRET: 'canary' } }],
    [
      'cellSecret',
      { flags: { peers: 'a=ws://127.0.0.1:1,b=ws://10.0.0.2:1' } },
      'cellSecret must be set, in the configuration file or CAUSEWAY_CELL_SECRET, because peers.b is on another machine.',
    ],
    [
      'cellSecret',
      { ...file({ auth: { secret: canary } }), flags: { listen: '0.0.0.0:1', peers: cellOf(3) } },
      'cellSecret must be set, in the configuration file or CAUSEWAY_CELL_SECRET, because listen (0.0.0.0:1) can be reached from other machines.',
    ],
    ['newCell', { env: { CAUSEWAY_NEW_CELL: 'yes' } }, 'newCell must be true or false (set by CAUSEWAY_NEW_CELL).'],
    ['__proto__', file('{"__proto__":{"demo":true}}')],
    ['auth.__proto__', file(`{"auth":{"__proto__":{"secret":"${canary}"}}}`)],
    ['config', file('[]'), 'The configuration file causeway.json must hold a JSON object.'],
    ['config', file(`{"auth":{"secret":"${canary}" x`)],
    ['config', file(`{"auth":{"secret":"${canary}`)],
    ['config', file(canary)],
  ])('%s', (option, sources, sentence) => {
    const error = refusal(sources)
    expect(error).toMatchObject({ code: 'config/invalid', details: { option } })
    expect(error.info.exit).toBe(2)
    expect(error.message).toMatch(
      option === 'config' ? /causeway\.json/ : new RegExp(option.replace(/[[\].]/g, '\\$&')),
    )
    expect(error.message).toMatch(/^[^\n]*\.$/)
    expect(`${error.message}${error.stack}${String(error.cause)}`).not.toContain('canary')
    if (sentence !== undefined) expect(error.message).toBe(sentence)
  })

  test('of several wrong values one is told', () => {
    expect(refusal(file({ name: 'A', workers: 0, nope: 1 })).message.split('.').length).toBe(3) // causeway.json, and the end
  })

  test('whatever one option is set to, it is accepted or named', () => {
    const option = fc.constantFrom(...OPTIONS)
    fc.assert(
      fc.property(option, fc.oneof(fc.jsonValue(), fc.string()), ({ path, name }, value) => {
        const tree = path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value)
        try {
          loadConfig(file(tree))
        } catch (error) {
          expect(error).toBeInstanceOf(CausewayError)
          const told = (error as CausewayError).details['option'] as string
          // A value of listen may be right, and wrong only without keys.
          expect(told.startsWith(name) || (name === 'listen' && told === 'auth')).toBe(true)
        }
      }),
      { numRuns: 300 },
    )
  })
})

describe('[SEC] secrets', () => {
  test('are not printed', () => {
    const config = loadConfig({
      ...file({
        auth: { secret: canary, jwks: `https://id.example/keys?key=${canary}`, publicKeys: [publicKey] },
        cellSecret: `cell ${canary}`,
      }),
    })
    expect(config.cellSecret).toBe(`cell ${canary}`)
    expect(config.auth.secret).toBe(canary)
    const printed = JSON.stringify(redactConfig(config))
    expect(printed).not.toContain(canary)
    expect(printed).toContain('"secret":"***"')
    expect(printed).toContain('"cellSecret":"***"')
    expect(printed).toContain('https://id.example/keys?***')
    expect(printed).toContain('BEGIN PUBLIC KEY')
  })

  test('are not taken from flags, where other users of the machine can read them', () => {
    expect(refusal({ flags: { 'auth.secret': canary } }).message).toBe('auth.secret cannot be set by a flag.')
    expect(refusal({ flags: { cellSecret: canary } }).message).toBe('cellSecret cannot be set by a flag.')
  })
})

test('a program that embeds a replica gives options as an object', () => {
  expect(parseConfig({ name: 'b', limits: { updateBytes: 2048 } })).toMatchObject({
    name: 'b',
    limits: { connections: 20_000 },
  })
  expect(() => parseConfig({ listen: 'here' })).toThrow('listen must be host:port')
  expect(() => parseConfig({ peers: { b: 'ws://127.0.0.1:1' } })).toThrow('peers must name this replica too')
})

describe('the policy of a space', () => {
  const named = { team: { relay: 'deny' }, default: { relay: 'deny' } } as const
  const others = { '*': { relay: 'deny' }, open: { relay: 'allow' } } as const
  test.each([
    // spaces, document, denies relay?
    [{}, 'team/notes', false],
    [named, 'team/notes', true],
    [named, 'team/notes/today', true],
    [named, 'teams/notes', false],
    [named, 'no-slash', true],
    [others, 'team/notes', true],
    [others, 'open/notes', false],
    [{ team: {} }, 'team/notes', false],
    [{}, '__proto__/notes', false],
    [{ '*': { relay: 'deny' } } as const, 'constructor/notes', true],
  ])('%j: relay is denied in %s: %s', (spaces, document, expected) => {
    expect(deniesRelay(parseConfig({ spaces }), document)).toBe(expected)
  })
})
