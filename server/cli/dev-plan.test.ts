import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { planCell } from './dev-plan.js'
import { freePorts } from './free-ports.js'

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

/** A data folder in which these replicas keep something. */
function folderOf(names: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-plan-'))
  folders.push(folder)
  for (const name of names) {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'kept'), '')
  }
  return folder
}

const plan = (held: string, options: { replicas?: string } = {}, env: Record<string, string> = {}) =>
  planCell({ port: '4400', data: folderOf(held), ...options }, env)

describe('how many replicas, and who begins', () => {
  test.each<[held: string, asked: string | undefined, names: string, begins: string]>([
    ['', undefined, 'abc', ''],
    ['', '1', 'a', ''],
    ['', '7', 'abcdefg', ''],
    ['a', '1', 'a', ''],
    ['a', undefined, 'abc', 'a'],
    ['a', '5', 'abcde', 'a'],
    ['abc', undefined, 'abc', ''],
    ['ac', undefined, 'abc', ''], // One lost its disk: it takes state from the others.
    ['abcde', undefined, 'abcde', ''],
    ['abcd', undefined, 'abcde', ''],
    ['g', undefined, 'abcdefg', 'g'],
  ])('with data of "%s", asked for %s: "%s", begun by "%s"', async (held, replicas, names, begins) => {
    const { members } = await plan(held, replicas === undefined ? {} : { replicas })
    expect(members.map(({ name }) => name).join('')).toBe(names)
    const beginners = members.filter(({ args }) => args.includes('--new-cell'))
    expect(beginners.map(({ name }) => name).join('')).toBe(begins)
  })

  test.each(['1', '3'])('%s are too few for a cell of four', async (replicas) => {
    await expect(plan('abd', { replicas })).rejects.toMatchObject({
      code: 'config/invalid',
      details: { option: 'replicas' },
    })
  })
})

describe('what each is told', () => {
  const common = ['--peers=a=ws://127.0.0.1:4400,b=ws://127.0.0.1:4401,c=ws://127.0.0.1:4402', '--cell=dev']

  test('its own name, address and folder; the rest alike', async () => {
    const { members, data } = await plan('')
    for (const [index, name] of ['a', 'b', 'c'].entries()) {
      const own = [`--name=${name}`, `--listen=127.0.0.1:${4400 + index}`, `--data=${join(data, name)}`]
      expect(members[index]?.args).toEqual(expect.arrayContaining([...common, ...own, '--log-level=warn', '--demo']))
    }
  })

  test('what the environment sets is kept, but for what tells them apart', async () => {
    const env = {
      CAUSEWAY_NAME: 'other',
      CAUSEWAY_PEERS: 'x=ws://127.0.0.1:1',
      CAUSEWAY_CELL: 'mine',
      CAUSEWAY_DEMO: 'false',
      CAUSEWAY_LOG_LEVEL: 'debug',
    }
    const args = (await plan('', {}, env)).members[1]!.args
    const kept = ['--cell=mine', '--log-level=debug']
    expect(args).toEqual(expect.arrayContaining([common[0], '--name=b', ...kept]))
    expect(args).not.toContain('--demo')
  })
})

test('free ports differ, and lie where no outgoing connection is', async () => {
  const ports = await freePorts(7)
  expect(new Set(ports).size).toBe(7)
  for (const port of ports) expect(port >= 20_000 && port < 32_000).toBe(true)
})
