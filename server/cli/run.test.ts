import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { createAuthenticator } from '../access/authenticator.js'
import { OPTIONS } from '../host/config.js'
import { run } from './run.js'

const secret = 'canary-secret-of-more-than-32-bytes'
const folder = mkdtempSync(join(tmpdir(), 'causeway-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))

function fileWith(content: unknown): string {
  const path = join(folder, `${Math.random()}.json`)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

/** Runs a command that ends by itself. */
async function causeway(args: string[], env: Record<string, string> = {}) {
  const written = { out: '', err: '' }
  const code = await run(args, {
    env,
    out: (text) => {
      written.out += text
    },
    err: (text) => {
      written.err += text
    },
    isTerminal: false,
  })
  return { code: code ?? 0, ...written }
}

describe('causeway config', () => {
  test('prints every option as it would be used, from file, environment and flags, secrets hidden', async () => {
    const config = fileWith({ auth: { secret }, name: 'file', cell: 'file', workers: 3 })
    const { code, out, err } = await causeway(['config', '--config', config, '--name', 'flag'], {
      CAUSEWAY_CELL: 'env',
    })
    expect([code, err]).toEqual([0, ''])
    expect(out).not.toContain('canary')
    const printed = JSON.parse(out)
    expect(printed).toMatchObject({ name: 'flag', cell: 'env', workers: 3, auth: { secret: '***' } })
    const optional = ['peers', 'cellSecret', 'auth.publicKeys', 'auth.jwks', 'auth.issuer', 'auth.audience']
    for (const { name, path } of OPTIONS) if (!optional.includes(name)) expect(printed).toHaveProperty([...path])
  })

  test('takes the file from the environment too', async () => {
    const { out } = await causeway(['config'], { CAUSEWAY_CONFIG: fileWith({ name: 'from-file' }) })
    expect(JSON.parse(out).name).toBe('from-file')
  })

  test('prints the schema of the file', async () => {
    const schema = JSON.parse((await causeway(['config', '--schema'])).out)
    expect(Object.keys(schema.properties)).toEqual([...new Set(OPTIONS.map((option) => option.path[0]))])
    expect(schema.properties.limits.properties.updateBytes).toMatchObject({ type: 'integer', minimum: 1024 })
  })

  test.each<[flag: string, value: string | undefined, path: string[], expected: unknown]>([
    ['--name', 'b', ['name'], 'b'],
    ['--cell', 'b', ['cell'], 'b'],
    ['--listen', '127.0.0.1:1', ['listen'], '127.0.0.1:1'],
    ['--peers', 'a=ws://127.0.0.1:1', ['peers'], { a: 'ws://127.0.0.1:1' }],
    ['--new-cell', undefined, ['newCell'], true],
    ['--data', './b', ['data'], './b'],
    ['--origins', 'https://a.example,https://b.example', ['origins'], ['https://a.example', 'https://b.example']],
    ['--workers', '5', ['workers'], 5],
    ['--demo', undefined, ['demo'], true],
    ['--log-level', 'error', ['log', 'level'], 'error'],
  ])('%s %s sets its option', async (flag, value, path, expected) => {
    const { out } = await causeway(['config', flag, ...(value === undefined ? [] : [value])])
    expect(JSON.parse(out)).toHaveProperty(path, expected)
  })
})

describe('what is wrong ends with 2 and one line that names it', () => {
  test.each<[name: string, args: string[], env: Record<string, string>, sentence: RegExp]>([
    [
      'a value',
      ['serve', '--listen', 'here'],
      {},
      /^config\/invalid: listen must be host:port.*\(set by --listen\)\.$/,
    ],
    [
      'a variable',
      ['serve'],
      { CAUSEWAY_WORKERS: 'many' },
      /^config\/invalid: workers must be a number \(set by CAUSEWAY_WORKERS\)\.$/,
    ],
    [
      'an open replica off loopback',
      ['serve', '--listen', '0.0.0.0:0'],
      {},
      /^config\/invalid: auth must name a secret/,
    ],
    [
      'a file that is not there',
      ['serve', '--config', '/nothing.json'],
      {},
      /^config\/invalid: The configuration file \/nothing\.json cannot be read \(ENOENT\)\.$/,
    ],
    ['a folder for a file', ['config', '--config', tmpdir()], {}, /cannot be read \(EISDIR\)/],
    ...['0', '2', '4', '6', '8', '9', '11', 'three', '-1'].map(
      (size): [string, string[], Record<string, string>, RegExp] => [
        `a cell of ${size}`,
        ['dev', `--replicas=${size}`],
        {},
        /^config\/invalid: replicas must be 1, 3, 5 or 7 \(set by --replicas\)\.$/,
      ],
    ),
    [
      'a port',
      ['dev', '--replicas', '3', '--port', '65534'],
      {},
      /^config\/invalid: port must be a whole number from 0 to 65533 \(set by --port\)\.$/,
    ],
    ['a token without a secret', ['token'], {}, /^config\/invalid: auth\.secret must be set/],
    ['a life', ['token', '--life-s', '0'], { CAUSEWAY_AUTH_SECRET: secret }, /^request\/invalid: --life-s must be/],
    [
      'a scope',
      ['token', '--scope', 'a*b:read'],
      { CAUSEWAY_AUTH_SECRET: secret },
      /^request\/invalid: The scope is not valid/,
    ],
    ['an unknown command', ['serve-all'], {}, /unknown command/],
    ['an unknown flag', ['serve', '--frobnicate'], {}, /unknown option/],
    ['a secret as a flag', ['serve', '--auth-secret', secret], {}, /unknown option '--auth-secret'/],
    ['a flag without its value', ['serve', '--listen'], {}, /argument missing/],
  ])('%s', async (_name, args, env, sentence) => {
    const { code, out, err } = await causeway(args, env)
    expect([code, out]).toEqual([2, ''])
    expect(err.trim()).toMatch(sentence)
    expect(err.trim().split('\n')).toHaveLength(1)
    expect(err).not.toContain('canary')
  })

  test('a broken file is not quoted', async () => {
    const { code, err } = await causeway(['serve', '--config', fileWith(`{"auth":{"secret":"${secret}"`)])
    expect(code).toBe(2)
    expect(err).toMatch(/is not valid JSON/)
    expect(err).not.toContain('canary')
  })

  test('with --json it is the error body of the API', async () => {
    const { code, err } = await causeway(['serve', '--json', '--listen', 'here'])
    expect(code).toBe(2)
    expect(JSON.parse(err)).toMatchObject({
      error: { code: 'config/invalid', retry: 'never', details: { option: 'listen' } },
    })
  })

  test('no command at all shows the commands', async () => {
    const { code, err } = await causeway([])
    expect(code).toBe(2)
    for (const command of ['dev', 'serve', 'config', 'token']) expect(err).toContain(command)
  })
})

describe('causeway token', () => {
  const env = { CAUSEWAY_AUTH_SECRET: secret, CAUSEWAY_AUTH_ISSUER: 'us', CAUSEWAY_AUTH_AUDIENCE: 'here' }

  test('signs what a replica with the same configuration accepts', async () => {
    const { code, out } = await causeway(['token', '--user', 'ada', '--name', 'Ada', '--scope', 'team/*:write'], env)
    expect(code).toBe(0)
    const auth = { secret, issuer: 'us', audience: 'here' }
    const authenticate = createAuthenticator({ auth, listen: '127.0.0.1:0' }, { now: Date.now })
    const identity = await authenticate({ token: out.trim(), remoteAddress: '127.0.0.1' })
    expect(identity).toMatchObject({ userId: 'ada', name: 'Ada' })
    expect([identity.can('team/x', 'write'), identity.can('x', 'read')]).toEqual([true, false])
  })

  test('says with --json what it says', async () => {
    const { out } = await causeway(['token', '--json', '--life-s', '60'], env)
    expect(JSON.parse(out)).toMatchObject({
      token: expect.stringMatching(/^eyJ/),
      scope: '*:write',
      expiresAt: expect.any(String),
    })
  })

  test('needs the shared secret, not a public key', async () => {
    const publicKey = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }) as string
    expect((await causeway(['token'], { CAUSEWAY_AUTH_PUBLIC_KEYS: publicKey })).code).toBe(2)
  })
})

test('help and version end well', async () => {
  expect(await causeway(['--version'])).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) })
  for (const command of ['dev', 'serve', 'config', 'token']) {
    expect(await causeway([command, '--help'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('Usage: causeway'),
    })
  }
})
