/** The command as people start it: a child process, its output, its signals. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'

let folder: string
const children: ChildProcess[] = []

beforeAll(() => {
  folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'causeway-command-'))
})
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The environment without our variables, and with `more`. */
function environment(more: Record<string, string>): Record<string, string | undefined> {
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith('CAUSEWAY_'))
  return { ...Object.fromEntries(others), ...more }
}

function causeway(args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, ['dist/server/cli/main.js', ...args], { env: environment(env) })
  children.push(child)
  const written = { out: '', err: '' }
  const lines = createInterface({ input: child.stdout })
  child.stdout.on('data', (chunk) => {
    written.out += chunk
  })
  child.stderr.on('data', (chunk) => {
    written.err += chunk
  })
  const ended = once(child, 'close').then(([code]) => code as number)
  return { child, written, ended, nextLine: async () => String((await once(lines, 'line'))[0]) }
}

const serveArgs = (): string[] => [
  'serve',
  '--listen',
  '127.0.0.1:0',
  '--data',
  mkdtempSync(join(folder, 'data-')),
  '--log-level',
  'warn',
]

describe('causeway serve', () => {
  test('prints one line of JSON when it serves, and drains to 0 on SIGTERM', async () => {
    const served = causeway([...serveArgs(), '--name', 'b', '--cell', 'demo'])
    const ready = JSON.parse(await served.nextLine())
    expect(ready).toEqual({
      event: 'ready',
      name: 'b',
      cell: 'demo',
      port: expect.any(Number),
      url: `http://127.0.0.1:${ready.port}`,
    })
    expect((await fetch(`${ready.url}/healthz`)).status).toBe(200)
    served.child.kill('SIGTERM')
    expect(await served.ended).toBe(0)
    expect([served.written.out.trim().split('\n').length, served.written.err]).toEqual([1, ''])
  })

  test.each([
    ['asked for help', ['serve', '--help'], 0],
    ['with an unknown flag', ['serve', '--frobnicate'], 2],
    ['with a wrong option', ['serve', '--listen', 'here'], 2],
  ])('ends by itself %s, though a thread was started for it', async (_when, args, code) => {
    expect(await causeway(args).ended).toBe(code)
  })

  test('says which address is taken, and ends with 2', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as { port: number }
    const served = causeway([...serveArgs(), '--listen', `127.0.0.1:${port}`])
    expect(await served.ended).toBe(2)
    expect(served.written.err).toBe(`config/invalid: listen: 127.0.0.1:${port} is in use by another program.\n`)
    taken.close()
  })

  test('[SEC] asks for tokens when it has a secret, and shows it to nobody', async () => {
    const secret = 'canary-secret-of-more-than-32-bytes'
    const env = { CAUSEWAY_AUTH_SECRET: secret, CAUSEWAY_LOG_LEVEL: 'debug' }
    const served = causeway(serveArgs().slice(0, -2), env)
    const { url } = JSON.parse(await served.nextLine())
    expect((await fetch(`${url}/v1/documents?token=canary`)).status).toBe(401)
    served.child.kill('SIGTERM')
    expect(await served.ended).toBe(0)
    expect(served.written.out + served.written.err).not.toContain('canary')
    expect(served.written.out).toContain('"event":"http/request"')
  })
})

describe('causeway dev', () => {
  test('greets with the address, and says loudly that access is open', async () => {
    const data = mkdtempSync(join(folder, 'dev-'))
    const served = causeway(['dev', '--port', '0', '--data', data])
    await expect.poll(() => served.written.out).toContain('Ctrl-C')
    const url = /Open +(http:\/\/127\.0\.0\.1:\d+\/)/.exec(served.written.out)?.[1]
    expect((await fetch(`${url}healthz`)).status).toBe(200)
    expect(served.written.out).toContain('ACCESS IS OPEN')
    expect(served.written.out).toContain(join(data, 'a'))
    served.child.kill('SIGINT')
    expect(await served.ended).toBe(0)
  })

  test('greets programs in JSON', async () => {
    const served = causeway(['dev', '--port', '0', '--data', mkdtempSync(join(folder, 'dev-')), '--json'])
    expect(JSON.parse(await served.nextLine())).toMatchObject({
      event: 'ready',
      name: 'a',
      cell: 'dev',
      port: expect.any(Number),
    })
    served.child.kill('SIGTERM')
    expect(await served.ended).toBe(0)
  })
})
