import { createConnection } from 'node:net'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ERROR_CODES } from '../../../shared/errors/codes.js'
import { CausewayError } from '../../../shared/errors/error.js'
import { textUpdate } from './fake-documents.js'
import { SECRET, type ServedApi, serveApi } from './serve-api.js'

let api: ServedApi
let token: string

beforeAll(async () => {
  api = await serveApi({ config: { limits: { updateBytes: 20_000, requestBytes: 200_000 } } })
  token = await api.token('*:admin')
})
afterAll(() => api.close())

/** Whatever was sent: the process answers honest requests, and nothing was stored. */
afterEach(async () => {
  expect((await fetch(`${api.url}/healthz`)).status).toBe(200)
  expect([...api.documents.kept.keys()]).toEqual([])
})

/** Sends bytes as they are; resolves to the answer's status and body when the connection ends. */
async function raw(request: string | Uint8Array): Promise<{ status: number; body: string }> {
  const socket = createConnection(api.port, '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  socket.on('error', () => {})
  socket.write(request)
  await new Promise((resolve) => socket.once('close', resolve))
  const text = Buffer.concat(chunks).toString('latin1')
  const [head = '', body = ''] = text.split(/\r\n\r\n(.*)/s)
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]), body }
}

const get = (target: string, headers: string[] = []): string =>
  [`GET ${target} HTTP/1.1`, 'Host: 127.0.0.1', 'Connection: close', ...headers, '', ''].join('\r\n')

async function send(
  path: string,
  body: BodyInit,
  headers: Record<string, string>,
  method = 'POST',
): Promise<[status: number, code: string, details: object]> {
  const init = { method, headers: { authorization: `Bearer ${token}`, ...headers }, body, duplex: 'half' }
  const response = await fetch(`${api.url}${path}`, init as RequestInit)
  const { error } = (await response.json()) as { error: { code: string; details: object } }
  return [response.status, error.code, error.details]
}

const json = { 'content-type': 'application/json' }
const octets = { 'content-type': 'application/octet-stream' }
const patch = (text: string) => send('/v1/documents/x', text, json, 'PATCH')

describe('[SEC] request heads', () => {
  test.each([
    ['a target that is no address', get('http://['), 404],
    ['a target that is a star', get('*'), 404],
    ['escapes that are none', get('/v1/documents/%', [`Authorization: Bearer `]), 401],
    ['a path out of every folder', get('/../../../etc/passwd'), 404],
    ['the same, encoded', get('/..%2f..%2f..%2fetc%2fpasswd'), 404],
    ['bytes that are not ASCII', Buffer.from('GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n', 'latin1'), 400],
    ['no host', 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
    ['a huge header', get('/', [`X-Big: ${'x'.repeat(40_000)}`]), 431],
    [
      'many headers',
      get(
        '/',
        Array.from({ length: 5000 }, (_, index) => `X-${index}: 1`),
      ),
      431,
    ],
    ['a huge target', get(`/${'x'.repeat(40_000)}`), 431],
    ['two lengths', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx', 400],
    [
      'a length and chunks',
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['a broken chunk', 'POST /v1/transactions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 400],
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['a TLS greeting', Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]), 400],
  ])('%s', async (_name, request, status) => {
    expect((await raw(request)).status).toBe(status)
  })

  test('the whole address as a proxy sends it is understood', async () => {
    expect(await raw(get('http://127.0.0.1/healthz'))).toMatchObject({ status: 200 })
  })

  test.each(['Basic YTpi', 'Bearer', 'Bearer a b', `bearer${SECRET}`, 'Bearer ..', `Bearer ${'x'.repeat(20_000)}`])(
    'an authorization that is none: %.20s',
    async (authorization) => {
      const response = await fetch(`${api.url}/v1/documents`, { headers: { authorization } })
      expect(response.status).toBe(401)
      expect(JSON.stringify(await response.json())).not.toContain(SECRET)
    },
  )
})

describe('[SEC] request bodies', () => {
  test.each<[name: string, text: string, path?: string]>([
    ['no JSON', '{"operations":'],
    ['nothing', ''],
    ['arrays without end', '['.repeat(100_000)],
    ['arrays as deep as bytes allow', '['.repeat(90_000) + ']'.repeat(90_000)],
    ['objects too deep', `{"operations":${'{"a":'.repeat(200)}1${'}'.repeat(200)}}`],
    ['a value too deep', `{"operations":[{"op":"set","path":["a","b"],"value":${'['.repeat(200)}${']'.repeat(200)}}]}`],
    ['a prototype', '{"__proto__":{"operations":[]}}', 'operations'],
    ['a prototype beside what is wanted', '{"operations":[{"op":"set","path":["a","b"]}],"__proto__":{}}', '__proto__'],
    ['null', 'null'],
    ['a number', '1e999'],
    ['a list', '[]'],
  ])('%s is refused as JSON', async (_name, text, path = 'body') => {
    expect(await patch(text)).toMatchObject([400, 'request/invalid', { path }])
  })

  test('text that is not UTF-8 is refused as JSON', async () => {
    const bytes = new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])
    expect(await send('/v1/transactions', bytes, json)).toMatchObject([400, 'request/invalid', { path: 'body' }])
  })

  test.each([
    ['by its length', (size: number) => 'x'.repeat(size)],
    ['by what arrives', (size: number) => streamOf(size)],
  ])('what is too large is refused %s', async (_name, make) => {
    expect(await send('/v1/transactions', make(200_001), json)).toMatchObject([
      413,
      'protocol/too-large',
      { limitBytes: 200_000 },
    ])
    expect(await send('/v1/documents/x/updates', make(20_001), octets)).toMatchObject([
      413,
      'protocol/too-large',
      { limitBytes: 20_000 },
    ])
    expect(await send('/v1/transactions', make(2_000_000), json)).toMatchObject([413, 'protocol/too-large', {}])
  })

  test.each([
    ['/v1/documents/x/updates', 'application/json', 'application/octet-stream'],
    ['/v1/documents/x/updates', 'text/plain', 'application/octet-stream'],
    ['/v1/transactions', 'application/octet-stream', 'application/json'],
    ['/v1/transactions', 'text/plain;charset=UTF-8', 'application/json'],
    ['/v1/transactions', 'application/x-www-form-urlencoded', 'application/json'],
    ['/v1/transactions', 'multipart/form-data; boundary=x', 'application/json'],
  ])('%s as %s is refused', async (path, type, wanted) => {
    const refused = await send(path, '{}', { 'content-type': type })
    expect(refused).toEqual([415, 'request/unsupported-type', { header: 'content-type', wanted }])
  })

  test('parameters of the type do not matter', async () => {
    const headers = { 'content-type': 'Application/JSON ; charset=utf-8' }
    expect(await send('/v1/transactions', '{}', headers)).toMatchObject([400, 'request/invalid', { path: 'parts' }])
  })

  test('compressed bodies are refused, not unpacked', async () => {
    const headers = { ...octets, 'content-encoding': 'gzip' }
    expect(await send('/v1/documents/x/updates', textUpdate('x') as BodyInit, headers)).toMatchObject([
      415,
      'request/unsupported-type',
      {},
    ])
  })

  test('a body that ends early stores nothing', async () => {
    const head = `POST /v1/documents/x/updates HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Length: 100\r\n\r\n`
    const socket = createConnection(api.port, '127.0.0.1')
    socket.on('error', () => {})
    const before = api.metrics.refusals['request/invalid']
    socket.write(`${head}abc`, () => socket.destroy())
    await expect.poll(() => api.metrics.refusals['request/invalid']).toBe(before + 1)
  })

  test('an unauthorised body is not read', async () => {
    const response = await fetch(`${api.url}/v1/documents/x/updates`, {
      method: 'POST',
      headers: { ...octets, authorization: `Bearer ${await api.token('other:write')}` },
      body: 'x'.repeat(1_000_000),
    })
    expect(response.status).toBe(403) // and not 413
  })
})

describe('[SEC] failures inside', () => {
  const canary = 'canary-5b2c'
  test.each([
    ['an unknown error', new Error(`disk ${canary}`), 500, 'internal/failure'],
    ['something that is no error', canary, 500, 'internal/failure'],
    [
      'a refusal with a cause',
      new CausewayError('storage/full', {}, { cause: new Error(canary) }),
      507,
      'storage/full',
    ],
  ])('%s shows its code and not its text', async (_name, failure, status, code) => {
    api.documents.failure = failure
    const response = await fetch(`${api.url}/v1/documents/x`, { headers: { authorization: `Bearer ${token}` } })
    const text = await response.text()
    expect([response.status, JSON.parse(text).error.code]).toEqual([status, code])
    expect(text).not.toContain(canary)
    expect(text).not.toContain('node_modules')
  })
})

test('[SEC] whatever is asked, the answer is one that the table of codes knows', async () => {
  const word = fc.oneof(
    fc.constantFrom(
      'v1',
      'documents',
      'transactions',
      'updates',
      'x',
      '',
      '..',
      '%2F',
      '%zz',
      '__proto__',
      'constructor',
    ),
    fc.string({ maxLength: 5 }).map(encodeURIComponent),
  )
  const path = fc.oneof(
    fc.constantFrom('/v1/documents', '/v1/documents/x', '/v1/documents/x/updates', '/v1/transactions', '/metrics'),
    fc.array(word, { maxLength: 5 }).map((words) => `/${words.join('/')}`),
  )
  const name = fc.constantFrom(
    'w',
    'level',
    'timeoutMs',
    'sv',
    'types',
    'limit',
    'cursor',
    'prefix',
    'r',
    'at',
    '__proto__',
  )
  const value = fc.oneof(fc.constantFrom('1', '0', 'all', 'fresh', 'AA', 'a:map', '-1', '1e9', '\u0000'), fc.string())
  const query = fc.array(fc.tuple(name, value), { maxLength: 3 }).map((pairs) => new URLSearchParams(pairs).toString())
  const type = fc.constantFrom('application/json', 'application/octet-stream', 'text/plain', '')
  // Names that the API itself uses, so that bodies get deep into it.
  const key = fc.constantFrom('parts', 'document', 'update', 'operations', 'op', 'path', 'value', '__proto__')
  const { json: tree } = fc.letrec((tie) => ({
    json: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom<unknown>('set', 'x', '', 1, null, true, 'AAA='),
      fc.array(tie('json'), { maxLength: 3 }),
      fc.dictionary(key, tie('json'), { maxKeys: 3 }),
    ),
  }))
  const body = fc.oneof(
    tree.map((value) => JSON.stringify(value)),
    fc.uint8Array({ maxLength: 30 }),
  )

  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('GET', 'POST', 'PATCH', 'DELETE', 'PUT'),
      path,
      query,
      type,
      body,
      async (...request) => {
        const [method, address, search, contentType, content] = request
        const response = await fetch(`${api.url}${address}?${search}`, {
          method,
          headers: { authorization: `Bearer ${token}`, ...(contentType === '' ? {} : { 'content-type': contentType }) },
          ...(method === 'GET' ? {} : { body: content as BodyInit }),
        })
        const text = await response.text()
        if (response.status < 300) return
        const { code } = JSON.parse(text).error as { code: keyof typeof ERROR_CODES }
        expect([code, ERROR_CODES[code].http]).toEqual([code, response.status])
        expect(code).not.toBe('internal/failure')
      },
    ),
    { numRuns: 400 },
  )
  api.documents.kept.clear() // a few of them were right
}, 30_000)

test('[SEC] neither the log nor the metrics hold a secret that was sent', async () => {
  const secrets = [token, token.split('.')[2]!, SECRET, 'canary-query', 'canary-basic', 'canary-cookie', 'canary-body']
  const headers = { authorization: `Bearer ${token}`, cookie: 'id=canary-cookie' }
  for (const [path, init] of [
    ['/v1/documents?token=canary-query', { headers }],
    [`/v1/documents/${token}`, { headers }],
    ['/v1/documents', { headers: { authorization: 'Basic canary-basic' } }],
    ['/v1/documents/x', { headers, method: 'PATCH', body: '{"canary-body":1}' }],
    [`/canary?session=canary-query&t=${token}`, { headers }],
  ] as const) {
    await fetch(`${api.url}${path}`, init)
    api.documents.failure = new Error(`failed with Bearer ${token} at ws://h/y?token=canary-query`)
    await fetch(`${api.url}/v1/documents/x?level=session`, { headers })
  }
  const log = api.lines.join('')
  expect(log).toContain('"event":"http/failed"')
  expect(log).toContain('"event":"http/request"')
  const metrics = await (await fetch(`${api.url}/metrics`, { headers })).text()
  for (const secret of secrets) {
    expect(log).not.toContain(secret)
    expect(metrics).not.toContain(secret)
  }
})

function streamOf(size: number): ReadableStream<Uint8Array> {
  let left = size
  return new ReadableStream({
    pull(controller) {
      const chunk = Math.min(left, 10_000)
      left -= chunk
      if (chunk === 0) controller.close()
      else controller.enqueue(new Uint8Array(chunk).fill(120))
    },
  })
}
