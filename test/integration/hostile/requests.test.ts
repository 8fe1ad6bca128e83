/** [SEC] Odd requests have answers that say what is odd, change nothing, and take no time from others. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { Bystander } from '../../support/bystander.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'

const MIB = 1024 * 1024
/** As configured by default. */
const REQUEST_BYTES = 8 * MIB

const directory = temporaryDirectory()
let replica: ReplicaProcess
let bystander: Bystander
beforeAll(async () => {
  replica = await ReplicaProcess.start({ port: await freePort(), data: directory.path })
  bystander = await Bystander.start(`${replica.url}/y/elsewhere`)
  expect(await patch('[{"op":"set","path":["m","key"],"value":"of the victim"}]')).toEqual({ status: 200 })
})
afterAll(async () => {
  await bystander.stop()
  await replica.end('SIGKILL')
  directory.remove()
})

interface Answer {
  readonly status: number
  readonly code?: string
  readonly path?: unknown
}

async function ask(method: string, path: string, body: string, type = 'application/json'): Promise<Answer> {
  const response = await fetch(`${replica.http}${path}`, { method, headers: { 'content-type': type }, body })
  const { error } = (await response.json()) as { error?: { code: string; details: { path?: unknown } } }
  if (error === undefined) return { status: response.status }
  const { code, details } = error
  return { status: response.status, code, ...(details.path === undefined ? {} : { path: details.path }) }
}

const patch = (operations: string): Promise<Answer> =>
  ask('PATCH', '/v1/documents/victim', `{"operations":${operations}}`)
const transact = (parts: string): Promise<Answer> => ask('POST', '/v1/transactions', `{"parts":${parts}}`)

const read = async (): Promise<string> => await (await fetch(`${replica.http}/v1/documents/victim`)).text()

/** `item` as often as fits into a body, with `head` and `tail` around. */
const filled = (head: string, item: string, tail: string): string =>
  head + item.repeat(Math.floor((REQUEST_BYTES - head.length - tail.length) / item.length)) + tail

describe('bodies that are dear to read', () => {
  test.each<readonly [name: string, body: string]>([
    ['brackets', '['.repeat(REQUEST_BYTES / 2) + ']'.repeat(REQUEST_BYTES / 2)],
    ['brackets without end', '['.repeat(REQUEST_BYTES)],
    ['objects in one another', filled('', '{"a":', '1')],
    ['empty lists', filled('[', '[],', '[]]')],
    ['operations that are none', filled('{"operations":[', '{"op":"x"},', '{}]}')],
    ['operations', filled('{"operations":[', '{"op":"set","path":["a","b"]},', '{}]}')],
    ['a long path', filled('{"operations":[{"op":"set","path":[', '"a",', '"b"],"value":1}]}')],
    ['a value of many', filled('{"operations":[{"op":"set","path":["m","k"],"value":[', '1,', '1]}]}')],
    ['quotes and escapes', `{"operations":"${'\\"\\\\'.repeat(MIB / 2)}"}`],
    ['commas', ','.repeat(REQUEST_BYTES)],
  ])('[SEC] %s: refused in no time', async (_name, body) => {
    const before = await read()
    const slowestMs = await bystander.slowestDuring(async () => {
      expect(await ask('PATCH', '/v1/documents/victim', body)).toMatchObject({ status: 400, code: 'request/invalid' })
    })
    expect(slowestMs).toBeLessThanOrEqual(bystander.limitMs)
    expect(await read()).toBe(before)
  })

  test('[SEC] a body beyond the limit is refused before it is read', async () => {
    expect(await ask('PATCH', '/v1/documents/victim', 'x'.repeat(REQUEST_BYTES + 1))).toEqual({
      status: 413,
      code: 'protocol/too-large',
    })
  })

  test('an update of some megabytes is no odd request: it passes in a transaction', async () => {
    const doc = new Y.Doc()
    doc.getText('t').insert(0, 'x'.repeat(5 * MIB))
    const update = Buffer.from(Y.encodeStateAsUpdate(doc)).toString('base64')
    expect(await transact(JSON.stringify([{ document: 'megabytes', update }]))).toEqual({ status: 200 })
    const broken = `${update.slice(0, -1)}!`
    expect(await transact(JSON.stringify([{ document: 'megabytes', update: broken }]))).toMatchObject({
      status: 400,
      path: 'parts[0].update',
    })
  })
})

describe('operations', () => {
  test.each<readonly [name: string, operations: string, path: string]>([
    ['none', '[]', 'operations'],
    ['no list', '{}', 'operations'],
    ['a prototype as key', '[{"op":"set","path":["m","__proto__"],"value":{"isAdmin":true}}]', 'operations[0].path[1]'],
    [
      'a prototype in a value',
      '[{"op":"set","path":["m","k"],"value":{"__proto__":{"isAdmin":true}}}]',
      'operations[0].value',
    ],
    ['a prototype as root', '[{"op":"set","path":["__proto__","k"],"value":1}]', 'operations[0].path[0]'],
    ['an infinite number', '[{"op":"set","path":["m","k"],"value":1e999}]', 'operations[0].value'],
    [
      'an index beyond the end',
      '[{"op":"insertText","path":["t"],"index":9007199254740991,"text":"x"}]',
      'operations[0].index',
    ],
    ['an index below zero', '[{"op":"insertText","path":["t"],"index":-1,"text":"x"}]', 'operations[0].index'],
    ['half an index', '[{"op":"insertText","path":["t"],"index":0.5,"text":"x"}]', 'operations[0].index'],
    [
      'a deletion beyond the end',
      '[{"op":"deleteText","path":["t"],"index":0,"length":4294967296}]',
      'operations[0].index',
    ],
    ['an unknown operation', '[{"op":"eval","path":["t"]}]', 'operations[0].op'],
    ['a path of numbers that is none', '[{"op":"set","path":[0],"value":1}]', 'operations[0].path[0]'],
    [
      'a second one that fails',
      '[{"op":"set","path":["m","key"],"value":"lost"},{"op":"remove","path":["a"],"index":7,"length":1}]',
      'operations[1].index',
    ],
    ['a text for a map', '[{"op":"insertText","path":["m"],"index":0,"text":"x"}]', 'operations[0].path[0]'],
  ])('[SEC] %s: refused by name, all or none', async (_name, operations, path) => {
    const before = await read()
    expect(await patch(operations)).toEqual({ status: 400, code: 'request/invalid', path })
    expect(await read()).toBe(before)
  })

  test.each<readonly [name: string, body: string]>([
    ['no JSON', '{"operations":'],
    ['a comment', '/* */{"operations":[]}'],
    ['unknown fields', '{"operations":[{"op":"set","path":["m","k"],"value":1}],"more":1}'],
    ['a prototype beside', '{"__proto__":{},"operations":[{"op":"set","path":["m","k"],"value":1}]}'],
    ['nothing', ''],
    ['null', 'null'],
    ['a number', '1e400'],
  ])('[SEC] %s: refused', async (_name, body) => {
    expect(await ask('PATCH', '/v1/documents/victim', body)).toMatchObject({ status: 400, code: 'request/invalid' })
  })
})

describe('transactions', () => {
  const part = (document: unknown, update = 'AAA='): string => JSON.stringify({ document, update })

  test.each<readonly [name: string, parts: string, status: number, code: string]>([
    ['one document twice', `[${part('x')},${part('x')}]`, 400, 'request/invalid'],
    ['no part', '[]', 400, 'request/invalid'],
    ['a part without content', '[{"document":"x"}]', 400, 'request/invalid'],
    [
      'a part with both',
      '[{"document":"x","update":"AAA=","operations":[{"op":"set","path":["m","k"],"value":1}]}]',
      400,
      'request/invalid',
    ],
    ['a name that is none', `[${part('a//b')}]`, 400, 'document/bad-name'],
    ['a name with NUL', `[${part('a\0b')}]`, 400, 'document/bad-name'],
    ['half a surrogate pair', '[{"document":"a\\ud800","update":"AAA="}]', 400, 'document/bad-name'],
    ['a name of 513 bytes', `[${part(`${'é'.repeat(256)}x`)}]`, 400, 'document/bad-name'],
    ['257 parts', `[${Array.from({ length: 257 }, (_, at) => part(`p${at}`)).join(',')}]`, 400, 'request/invalid'],
    ['base64 with a gap', `[${part('x', 'AA A=')}]`, 400, 'request/invalid'],
    [
      'a bad update beside a good one',
      `[${part('victim', 'AQEHAAQBAW0BWAA=')},${part('x', 'AQEH')}]`,
      400,
      'document/bad-update',
    ],
    [
      'a gap beside a good one',
      `[${part('victim', 'AQEHAAQBAW0BWAA=')},${part('x', 'AQEHBQABAA==')}]`,
      409,
      'document/gap',
    ],
  ])('[SEC] %s: refused whole', async (_name, parts, status, code) => {
    const before = await read()
    expect(await transact(parts)).toMatchObject({ status, code })
    expect(await read()).toBe(before)
  })

  test('names that look alike are different documents, and stay so', async () => {
    const names = [
      'caf\u00e9',
      'cafe\u0301',
      'CAF\u00c9',
      'a/b',
      'a%2fb',
      'a\u2044b',
      '../etc/passwd',
      '\u202eb/a',
      'constructor',
      '__proto__',
    ]
    const parts = names.map((document, at) => ({ document, operations: [{ op: 'set', path: ['m', 'n'], value: at }] }))
    expect(await transact(JSON.stringify(parts))).toEqual({ status: 200 })
    for (const [at, name] of names.entries()) {
      const response = await fetch(`${replica.http}/v1/documents/${encodeURIComponent(name)}`)
      expect(await response.json()).toMatchObject({ name, types: { m: { n: at } } })
    }
    const listed = (await (await fetch(`${replica.http}/v1/documents?limit=1000`)).json()) as {
      documents: { name: string }[]
    }
    expect(listed.documents.map(({ name }) => name)).toEqual(expect.arrayContaining(names))
  })
})

test.each<readonly [name: string, path: string]>([
  ['an unknown parameter', '/v1/documents/victim?admin=1'],
  ['a parameter twice', '/v1/documents?limit=1&limit=2'],
  ['a limit that is none', '/v1/documents?limit=-1'],
  ['a limit just beyond', '/v1/documents?limit=1001'],
  ['a limit beyond all', '/v1/documents?limit=99999999999999999999'],
  ['a cursor that is none', '/v1/documents?cursor=%ff%fe'],
  ['a prefix without end', `/v1/documents?prefix=${'x'.repeat(1_000)}`],
  ['a level that is none', '/v1/documents/victim?level=__proto__'],
  ['a root kind that is none', '/v1/documents/victim?types=m:constructor'],
  ['a state vector for JSON', '/v1/documents/victim?sv=AA'],
])('[SEC] %s: refused by name', async (_name, path) => {
  const response = await fetch(`${replica.http}${path}`)
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ error: { code: 'request/invalid' } })
})

test.each<readonly [name: string, sv: string]>([
  ['empty', ''],
  ['truncated', 'AQ'],
  ['a claimed count', '_____w8'],
])('[SEC] a state vector that is %s: refused', async (_name, sv) => {
  const headers = { accept: 'application/octet-stream' }
  const response = await fetch(`${replica.http}/v1/documents/victim?sv=${sv}`, { headers })
  expect(response.status).toBe(400)
})

test('[SEC] types of body that are not asked for, and compressed ones, are refused', async () => {
  expect(await ask('PATCH', '/v1/documents/victim', '{}', 'text/plain')).toMatchObject({ status: 415 })
  expect(await ask('POST', '/v1/documents/victim/updates', '{}', 'application/json')).toMatchObject({
    status: 415,
  })
  const response = await fetch(`${replica.http}/v1/transactions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
    body: '{}',
  })
  expect(response.status).toBe(415)
})
