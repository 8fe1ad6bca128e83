/** The `causeway` command. What a command needs is loaded when it is called. */
import { startEarly } from './early-thread.js'

const args = process.argv.slice(2)
// Before this thread gets busy with loading the rest.
if (args[0] === 'serve') startEarly()

async function main(): Promise<void> {
  const { run } = await import('./run.js')
  process.exitCode = await run(args, {
    env: process.env,
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    isTerminal: process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined,
  })
}

void main()
