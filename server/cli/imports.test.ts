/** Starting fast: who pays for which package, read from the static imports of what was built. */
import { readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const modules = fileURLToPath(new URL('../../dist/.modules/', import.meta.url))

/** Packages that loading `file` loads, through all of our own files that it imports statically. */
function packagesOf(file: string, seen = new Set<string>()): Set<string> {
  const packages = new Set<string>()
  if (seen.has(file)) return packages
  seen.add(file)
  const imports = /^(?:import|export)\s(?:[^'"]*?\sfrom\s)?['"]([^'"]+)['"]/gm
  for (const [, specifier] of readFileSync(file, 'utf8').matchAll(imports)) {
    if (specifier!.startsWith('.')) {
      for (const found of packagesOf(resolve(dirname(file), specifier!), seen)) packages.add(found)
    } else if (!specifier!.startsWith('node:')) packages.add(specifier!)
  }
  return packages
}

describe('nobody pays for what is not needed', () => {
  test.each([
    ['server/cli/main.js', []],
    ['server/cli/run.js', ['commander']],
    ['server/cli/serve.js', ['lib0/decoding', 'lib0/encoding']],
    ['server/cli/dev.js', []],
    ['server/cli/token.js', []],
    ['server/cli/print-config.js', []],
    ['server/access/authenticator.js', []],
    ['server/access/mint.js', []],
    ['server/host/config.js', ['zod/mini']],
    ['server/host/log.js', []],
    ['server/host/running-replica.js', ['lib0/buffer', 'lib0/decoding', 'lib0/encoding', 'lib0/string', 'ws']],
    ['server/host/metrics-page.js', []],
    ['server/http/api.js', ['express', 'helmet', 'lib0/buffer', 'lib0/encoding', 'lib0/string', 'zod']],
  ])('%s loads %j', (file, expected) => {
    expect([...packagesOf(resolve(modules, file))].sort()).toEqual(expected)
  })
})

test('what a start needs is in our own files, and what is native or rarely needed is not', () => {
  const server = fileURLToPath(new URL('../../dist/server/', import.meta.url))
  const files = readdirSync(server, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.cjs'))
  const packages = files.flatMap((file) => {
    const text = readFileSync(resolve(server, file), 'utf8')
    return [...text.matchAll(/(?:require|import)\("((?:@[^/"]+\/)?[a-z][^/":]*)[^":]*"\)/g)].map(([, name]) => name!)
  })
  const ours = packages.filter((name) => !builtinModules.includes(name))
  expect([...new Set(ours)].sort()).toEqual(['better-sqlite3', 'express', 'helmet', 'jose', 'prom-client', 'yjs'])
})
