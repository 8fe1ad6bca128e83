/** The version of this package, wherever it was built to. */
import { readFileSync } from 'node:fs'

let version: string | undefined

export function readVersion(): string {
  version ??= (
    JSON.parse(readFileSync(new URL(import.meta.resolve('causeway/package.json')), 'utf8')) as { version: string }
  ).version
  return version
}
