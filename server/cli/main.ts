#!/usr/bin/env node
/** The `causeway` command. What a command needs is loaded when it is called. */
import { run } from './run.js'

process.exitCode = await run(process.argv.slice(2), {
  env: process.env,
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  isTerminal: process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined,
})
