/**
 * The command line: arguments in, a readable answer and an exit code out. Errors go to standard error as one line with code
 * and sentence, or as JSON with `--json`; the exit code is that of the table of codes. Wrong arguments end with 2, like a
 * wrong configuration.
 */
import { Command, CommanderError, Option } from 'commander'
import { asCausewayError } from '../../shared/errors/error.js'
import { readVersion } from '../host/own-package.js'
import type { ConfigFlags } from './sources.js'

/** What a command may touch. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  /** Whether colours may be used. */
  readonly isTerminal: boolean
}

const WRONG_ARGUMENTS = 2

/** Runs one command. Resolves to the exit code; undefined while something goes on running. */
export async function run(args: readonly string[], terminal: Terminal): Promise<number | undefined> {
  const program = createProgram(terminal)
  try {
    await program.parseAsync([...args], { from: 'user' })
    return undefined
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : WRONG_ARGUMENTS
    const error = asCausewayError(thrown)
    terminal.err(args.includes('--json') ? `${JSON.stringify(error)}\n` : `${error.code}: ${error.message}\n`)
    if (error.code === 'internal/failure') terminal.err(`${(thrown as Error | undefined)?.stack ?? String(thrown)}\n`)
    return error.info.exit
  }
}

function createProgram(terminal: Terminal): Command {
  const program = new Command('causeway')
    .description('A collaboration backend for Yjs documents.')
    .version(readVersion())
    .exitOverride()
    .configureOutput({ writeOut: terminal.out, writeErr: terminal.err })

  program
    .command('dev')
    .description('Starts a local cell for development, with the demo page, open to this machine only.')
    .option('--replicas <n>', 'replicas of the cell: 1, 3, 5 or 7 (default: 3, or as many as the data folder holds)')
    .option('--port <n>', 'port of the first replica, the others follow; 0 takes free ones', '4400')
    .option('--data <folder>', 'where the cell keeps its data', '.causeway')
    .option('--json', 'say everything in lines of JSON')
    .action(async (options) => (await import('./dev.js')).dev(options, terminal))

  configOptions(program.command('serve'))
    .description('Starts one replica; prints a line of JSON when it serves.')
    .option('--json', 'errors as JSON')
    .addOption(new Option('--end-with-parent', 'end when the process that started this one has gone').hideHelp())
    .action(async (options) => (await import('./serve.js')).serve(options, terminal))

  configOptions(program.command('config'))
    .description('Prints the effective configuration, secrets hidden.')
    .option('--schema', 'print the JSON schema of the configuration file instead')
    .option('--json', 'errors as JSON; the configuration always is')
    .action(async (options) => (await import('./print-config.js')).printConfig(options, terminal))

  program
    .command('token')
    .description('Signs an access token with the configured secret, for development.')
    .option('--config <file>', 'configuration file (JSON)')
    .option('--user <id>', 'whom it names')
    .option('--name <name>', 'what other people are shown')
    .option('--scope <scope>', 'what it allows, such as "team/*:write notes/*:read"', '*:write')
    .option('--life-s <seconds>', 'how long it is valid', '3600')
    .option('--json', 'print the token with what it says')
    .action(async (options) => (await import('./token.js')).token(options, terminal))

  return program
}

/** The flags that stand for options of the configuration. Secrets have none: other users can read arguments. */
function configOptions(command: Command): Command {
  const flags: Record<keyof ConfigFlags, [flag: string, describes: string]> = {
    config: ['--config <file>', 'configuration file (JSON); also CAUSEWAY_CONFIG'],
    name: ['--name <name>', 'name of this replica, unique in its cell'],
    cell: ['--cell <name>', 'name of the cell'],
    listen: ['--listen <host:port>', 'where clients connect'],
    peers: ['--peers <list>', 'all replicas of the cell, such as a=ws://10.0.0.1:4400,b=ws://10.0.0.2:4400'],
    newCell: ['--new-cell', 'this replica alone begins a new cell, which its peers join'],
    data: ['--data <folder>', 'where this replica keeps its data'],
    origins: ['--origins <list>', 'origins of pages that may connect, with commas between'],
    spaces: ['--spaces <json>', 'policy of spaces, such as {"team":{"relay":"deny"}}'],
    workers: ['--workers <n>', 'threads that work on documents'],
    demo: ['--demo', 'serve the demo page at /'],
    logLevel: ['--log-level <level>', 'debug, info, warn, error or silent'],
  }
  for (const [flag, describes] of Object.values(flags)) command.option(flag, describes)
  return command
}
