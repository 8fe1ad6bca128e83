import { afterEach, expect, test, vi } from 'vitest'
import { simulate } from './sim-command.js'

afterEach(() => {
  vi.restoreAllMocks()
})

async function run(...args: string[]): Promise<{ readonly code: number; readonly printed: string }> {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  const code = await simulate(args)
  const printed = log.mock.calls.flat().join('\n')
  log.mockRestore()
  return { code, printed }
}

test('a few seeds end with a summary', async () => {
  const { code, printed } = await run('--seed', '20', '--runs', '2')
  expect(code).toBe(0)
  expect(printed).toContain('2 seeds from 20: 0 with violations')
  expect(printed).toMatch(/seeds a minute/)
})

test('a violation prints what broke and the line that replays it, and a mutant ends with it', async () => {
  const { code, printed } = await run('--cell', 'reference', '--mutant', 'skip-fsync')
  expect(code).toBe(0)
  expect(printed).toMatch(/I3 at \d+ ms, [abc]: /)
  expect(printed).toContain('replay: npm run sim -- --cell reference --seed 1 --mutant skip-fsync')
})

test('a mutant that survives is a failure', async () => {
  const { code } = await run('--cell', 'reference', '--mutant', 'count-too-soon', '--seed', '1', '--runs', '1')
  expect(code).toBe(1)
})

test('stopped by a signal, it says how to go on', async () => {
  setImmediate(() => process.emit('SIGINT'))
  const { code, printed } = await run('--seed', '5', '--runs', '50')
  expect(code).toBe(0)
  expect(printed).toMatch(/go on: npm run sim -- --seed \d+ --runs \d+$/)
})

test.each([[['--mutant', 'no-such']], [['--cell', 'no-such']], [['--seed', 'x']], [['--colour']]])(
  '%s is answered with the usage',
  async (args) => {
    const { code, printed } = await run(...args)
    expect(code).toBe(2)
    expect(printed).toContain('npm run sim -- [--cell name] [--seed N]')
  },
)
