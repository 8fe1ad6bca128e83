/** This package, wherever its modules were built to. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

let version: string | undefined

export function readVersion(): string {
  version ??= (JSON.parse(readFileSync(manifest(), 'utf8')) as { version: string }).version
  return version
}

/** The folder of the built web pages. */
export function webPagesFolder(): string {
  return join(dirname(manifest()), 'dist/web')
}

/** The script of the `causeway` command. */
export function commandFile(): string {
  return join(dirname(manifest()), 'dist/server/cli/main.js')
}

function manifest(): string {
  return createRequire(import.meta.url).resolve('causeway/package.json')
}
