/** The command as people start it: a child process, its output, its signals. */
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { freePorts } from '../../../server/cli/free-ports.js'
import { CommandProcess } from '../../support/command-process.js'

let folder: string
const started: CommandProcess[] = []

beforeAll(() => {
  folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'causeway-command-'))
})
afterEach(() => {
  for (const { child } of started.splice(0)) child.kill('SIGKILL')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function causeway(args: string[], env: Record<string, string> = {}): CommandProcess {
  const command = new CommandProcess(args, env)
  started.push(command)
  return command
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
    const ready = JSON.parse(await served.line())
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
    expect([served.out.trim().split('\n').length, served.err]).toEqual([1, ''])
  })

  test('warns, after it has said that it serves, of a cell that is no better than a smaller one', async () => {
    const [port] = await freePorts(1)
    const peers = `a=ws://127.0.0.1:${port},b=ws://127.0.0.1:${port! + 1}`
    const served = causeway([...serveArgs(), '--listen', `127.0.0.1:${port}`, '--peers', peers, '--new-cell'])
    const warning = JSON.parse(await served.line((line) => line.includes('cell/even-size')))
    expect(warning).toMatchObject({ level: 'warn', event: 'cell/even-size', members: 2 })
    expect(await served.line()).toContain('"event":"ready"')
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
    expect(served.err).toBe(`config/invalid: listen: 127.0.0.1:${port} is in use by another program.\n`)
    taken.close()
  })

  test('[SEC] asks for tokens when it has a secret, and shows it to nobody', async () => {
    const secret = 'canary-secret-of-more-than-32-bytes'
    const env = { CAUSEWAY_AUTH_SECRET: secret, CAUSEWAY_LOG_LEVEL: 'debug' }
    const served = causeway(serveArgs().slice(0, -2), env)
    const { url } = JSON.parse(await served.line())
    expect((await fetch(`${url}/v1/documents?token=canary`)).status).toBe(401)
    served.child.kill('SIGTERM')
    expect(await served.ended).toBe(0)
    expect(served.out + served.err).not.toContain('canary')
    expect(served.out).toContain('"event":"http/request"')
  })
})
