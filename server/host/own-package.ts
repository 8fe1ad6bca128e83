/** This package, wherever its modules were built to. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

let version: string | undefined

export function readVersion(): string {
  version ??= (JSON.parse(readFileSync(manifest(), 'utf8')) as { version: string }).version
  return version
}

/** The folder of the built web pages. */
export function webPagesFolder(): string {
  return fileURLToPath(new URL('dist/web', manifest()))
}

function manifest(): URL {
  return new URL(import.meta.resolve('causeway/package.json'))
}
