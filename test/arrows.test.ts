/** The import arrows of ARCHITECTURE.md: a room may not know what its row says it must not. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Folder → what its files may import, as path prefixes; packages by name. `*` stands for any package not in `guarded`. */
const guarded: Record<string, RegExp> = {
  ws: /^(server\/transport|client\/node)\//,
  'better-sqlite3': /^server\/(storage|import)\//,
  express: /^server\/http\//,
  yjs: /^(server\/document|server\/import|client)\//,
}

const forbidden: readonly { readonly row: string; readonly from: RegExp; readonly to: RegExp }[] = [
  { row: '`shared` imports neither `server` nor `client`', from: /^shared\//, to: /^(server|client)\// },
  { row: '`shared` knows no Node', from: /^shared\//, to: /^node:/ },
  { row: '`server` does not import `client`', from: /^server\//, to: /^client\// },
  { row: '`client` does not import `server`', from: /^client\//, to: /^server\// },
  { row: '`shared/base` knows no other room', from: /^shared\/base\//, to: /^shared\/(?!base\/)/ },
  { row: '`shared/errors` knows only `shared/base`', from: /^shared\/errors\//, to: /^shared\/(?!base\/|errors\/)/ },
  {
    row: '`shared/clock` knows no ops, no documents',
    from: /^shared\/clock\//,
    to: /^shared\/(?!base\/|errors\/|clock\/)/,
  },
  {
    row: '`shared/causal` knows not what an op means',
    from: /^shared\/causal\//,
    to: /^(lib0|shared\/(?!base\/|errors\/|clock\/|protocol\/op\.js|causal\/))/,
  },
  {
    row: '`shared/session` knows no sockets, no documents',
    from: /^shared\/session\//,
    to: /^shared\/(?!base\/|errors\/|clock\/|protocol\/|session\/)/,
  },
  {
    row: '`shared/update` knows no Yjs, documents, senders',
    from: /^shared\/update\//,
    to: /^shared\/(?!base\/|errors\/|update\/)/,
  },
  {
    row: '`shared/simulator` knows no core that it runs',
    from: /^shared\/simulator\//,
    to: /^shared\/(?!base\/|simulator\/)/,
  },
  {
    row: '`server/replica` knows no `ws`, SQL, Yjs, timers; of other rooms, only the pure rules of access',
    from: /^server\/replica\//,
    to: /^(node:|server\/(?!replica\/|access\/(ownership|document-quota|rate-limit)\.js))/,
  },
  { row: '`server/storage` knows no other server room', from: /^server\/storage\//, to: /^server\/(?!storage\/)/ },
  { row: '`server/document` knows no sender and no SQL', from: /^server\/document\//, to: /^server\/(?!document\/)/ },
  {
    row: '`server/access` knows no transports, no storage',
    from: /^server\/access\//,
    to: /^server\/(transport|storage|http|host)\//,
  },
  {
    row: '`server/transport` knows no storage, no host',
    from: /^server\/transport\//,
    to: /^server\/(storage|host|http|document|cli)\//,
  },
  {
    row: '`server/http` knows the inside of no core',
    from: /^server\/http\//,
    to: /^server\/(storage|transport|cli)\//,
  },
]

function sourceFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name) && !entry.name.endsWith('.test.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
}

function importsOf(file: string, text: string): string[] {
  const found = text.matchAll(
    /(?:^|\n)\s*(?:import|export)\b[^'"]*?from\s*'([^']+)'|import\(\s*'([^']+)'\s*\)|(?:^|\n)import\s*'([^']+)'/g,
  )
  return [...found].map((match) => {
    const target = match[1] ?? match[2] ?? match[3] ?? ''
    return target.startsWith('.') ? relative(root, join(root, dirname(file), target)) : target
  })
}

/** Sentences that name what is crossed. */
function crossings(file: string, text: string): string[] {
  return importsOf(file, text).flatMap((target) => {
    const guard = guarded[target]
    return [
      ...(guard && !guard.test(file) ? [`${file} imports ${target}, which belongs to ${guard.source}`] : []),
      ...forbidden
        .filter(({ from, to }) => from.test(file) && to.test(target))
        .map(({ row }) => `${file} imports ${target}: ${row}`),
    ]
  })
}

test('no import crosses an arrow', () => {
  const files = ['shared', 'server', 'client'].flatMap(sourceFiles)
  expect(files.length).toBeGreaterThan(10)
  expect(files.flatMap((file) => crossings(file, readFileSync(join(root, file), 'utf8')))).toEqual([])
})

test('a crossing is found and quotes its row', () => {
  expect(crossings('shared/clock/x.ts', "import { a } from '../update/parse.js'")).toHaveLength(1)
  expect(crossings('server/http/x.ts', "import WebSocket from 'ws'")).toHaveLength(1)
  expect(crossings('shared/update/x.ts', "import { readFileSync } from 'node:fs'")).toHaveLength(1)
  expect(crossings('server/replica/x.ts', "const { a } = await import('../storage/log-store.js')")).toHaveLength(1)
})
