import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { CausewayError } from '../../../shared/errors/error.js'
import { gappedUpdate, textUpdate, titleOf } from './fake-documents.js'
import { type ServedApi, serveApi } from './serve-api.js'

let api: ServedApi
let token: string

beforeAll(async () => {
  api = await serveApi()
})
afterAll(() => api.close())
beforeEach(async () => {
  api.documents.kept.clear()
  api.cell.progress = undefined
  api.cell.clock.advance(1_000)
  token = await api.token('*:write')
})

interface Sent {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: Uint8Array | string | object
  /** Null: none. */
  readonly as?: string | null
}

async function call(path: string, { method = 'GET', headers = {}, body, as = token }: Sent = {}): Promise<Response> {
  const isJson = body !== undefined && typeof body !== 'string' && !(body instanceof Uint8Array)
  return await fetch(`${api.url}${path}`, {
    method,
    headers: {
      ...(as === null ? {} : { authorization: `Bearer ${as}` }),
      ...(isJson ? { 'content-type': 'application/json' } : {}),
      ...(body instanceof Uint8Array ? { 'content-type': 'application/octet-stream' } : {}),
      ...headers,
    },
    ...(body === undefined ? {} : { body: (isJson ? JSON.stringify(body) : body) as BodyInit }),
  })
}

const post = (path: string, body: Sent['body'], sent: Sent = {}) =>
  call(path, { method: 'POST', ...(body === undefined ? {} : { body }), ...sent })
const patch = (path: string, body: Sent['body'], sent: Sent = {}) =>
  call(path, { method: 'PATCH', ...(body === undefined ? {} : { body }), ...sent })
const octets = { accept: 'application/octet-stream' }
const bytesOf = async (response: Response) => new Uint8Array(await response.arrayBuffer())
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')

/** Status, code and details of a refusal, whose whole shape is checked. */
async function refusal(response: Response): Promise<[status: number, code: string, details: Record<string, unknown>]> {
  expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8')
  const body = (await response.json()) as { error: Record<string, unknown> }
  const { code } = body.error
  const { info } = new CausewayError(code as 'request/invalid')
  expect(body).toEqual({
    error: {
      code,
      message: expect.stringMatching(/^[A-Z].*\.$/),
      outcome: info.outcome,
      retry: info.retry,
      details: expect.any(Object),
    },
  })
  expect(response.status).toBe(info.http)
  return [response.status, code as string, body.error['details'] as Record<string, unknown>]
}

describe('POST …/updates', () => {
  test('stores an update and says under which dot, where it is, and the clock', async () => {
    const response = await post('/v1/documents/team%2Fnotes/updates', textUpdate('hello'))
    expect(response.status).toBe(200)
    expect(response.headers.get('cache-control')).toBe('no-store')
    const body = await response.json()
    expect(body).toEqual({
      dot: expect.stringMatching(/^a:\d+$/),
      acknowledged: 'all',
      replicas: 1,
      clock: { a: expect.any(Number) },
    })
    expect(titleOf(...api.documents.kept.get('team/notes')!.updates)).toBe('hello')
  })

  test('an update that adds nothing has no dot', async () => {
    await post('/v1/documents/notes/updates', textUpdate('hello'))
    const again = await post('/v1/documents/notes/updates', textUpdate('hello'))
    expect([again.status, await again.json()]).toMatchObject([200, { dot: null }])
  })

  test('a body without a type is taken as what belongs here', async () => {
    const response = await fetch(`${api.url}/v1/documents/notes/updates`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      body: textUpdate('x') as Uint8Array<ArrayBuffer>,
    })
    expect(response.status).toBe(200)
  })

  test.each([
    ['', 'all', 1, 200],
    ['', 'majority', 1, 200],
    ['', 'local', 1, 202],
    ['?w=majority&timeoutMs=0', 'local', 1, 202],
    ['?w=local', 'local', 1, 200],
    ['?w=all', 'all', 1, 200],
    ['?w=all', 'local', 0, 202],
    ['?w=1', 'local', 1, 200],
    ['?w=1&timeoutMs=60000', 'local', 0, 202],
  ] as const)('with %j and %s at %d replicas on disk is %d', async (query, acknowledged, replicas, status) => {
    api.cell.progress = { acknowledged, replicas }
    const response = await post(`/v1/documents/notes/updates${query}`, textUpdate('x'))
    expect([response.status, await response.json()]).toMatchObject([status, { acknowledged, replicas }])
  })

  test('a gap stores nothing and names the state vector to go on from', async () => {
    const response = await post('/v1/documents/notes/updates', gappedUpdate())
    const details = { document: 'notes', stateVector: 'AA' }
    expect(await refusal(response)).toEqual([409, 'document/gap', details])
    expect(api.documents.kept.has('notes')).toBe(false)
  })

  test('bytes that are no update are refused with the reason', async () => {
    const response = await post('/v1/documents/notes/updates', new Uint8Array([1, 2, 3, 255]))
    expect(await refusal(response)).toEqual([400, 'document/bad-update', { document: 'notes', reason: 'malformed' }])
  })

  test.each([
    ['w', '?w=most'],
    ['w', '?w=0'],
    ['w', '?w=2'],
    ['w', '?w=-1'],
    ['w', '?w='],
    ['w', '?w=1&w=1'],
    ['timeoutMs', '?timeoutMs=60001'],
    ['timeoutMs', '?timeoutMs=1.5'],
    ['timeoutMs', '?timeoutMs=soon'],
    ['level', '?level=session'],
    ['__proto__', '?__proto__=1'],
    ['constructor', '?constructor=1'],
    ['token', '?token=x'],
  ])('refuses %s in %s, naming it', async (path, query) => {
    const response = await post(`/v1/documents/notes/updates${query}`, textUpdate('x'))
    expect(await refusal(response)).toMatchObject([400, 'request/invalid', { path }])
    expect(api.documents.kept.size).toBe(0)
  })
})

describe('GET a document', () => {
  beforeEach(async () => {
    await post('/v1/documents/team%2Fnotes/updates', textUpdate('hello', 1))
    await post('/v1/documents/team%2Fnotes/updates', textUpdate('world', 2))
  })

  test.each(['application/json', '*/*', 'text/html, */*;q=0.1', 'image/png'])(
    'is JSON for Accept: %s',
    async (accept) => {
      const response = await call('/v1/documents/team%2Fnotes', { headers: { accept } })
      expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8')
      expect(response.headers.get('vary')).toContain('Accept')
      expect(await response.json()).toEqual({
        name: 'team/notes',
        clock: { a: expect.any(Number) },
        types: { title: expect.any(String) },
      })
    },
  )

  test('is one Yjs update as application/octet-stream', async () => {
    const response = await call('/v1/documents/team%2Fnotes', { headers: octets })
    expect(response.headers.get('content-type')).toBe('application/octet-stream')
    expect(titleOf(await bytesOf(response))).toBe(titleOf(textUpdate('hello', 1), textUpdate('world', 2)))
  })

  test('is the difference to a state vector', async () => {
    const known = new Y.Doc()
    Y.applyUpdate(known, textUpdate('hello', 1))
    const sv = Buffer.from(Y.encodeStateVector(known)).toString('base64url')
    const diff = await bytesOf(await call(`/v1/documents/team%2Fnotes?sv=${sv}`, { headers: octets }))
    const all = await bytesOf(await call('/v1/documents/team%2Fnotes', { headers: octets }))
    expect(diff.byteLength).toBeLessThan(all.byteLength)
    Y.applyUpdate(known, diff)
    expect(known.getText('title').toString()).toBe(titleOf(all))
  })

  test.each(['eventual', 'session', 'majority', 'fresh', 'fresh&r=1', 'session&timeoutMs=0'])(
    'at level %s is here',
    async (level) => {
      expect((await call(`/v1/documents/team%2Fnotes?level=${level}`)).status).toBe(200)
    },
  )

  test('reads roots as they are named', async () => {
    const response = await call('/v1/documents/team%2Fnotes?types=meta:map,title:text')
    expect(((await response.json()) as { types: object }).types).toEqual({
      meta: {},
      title: expect.stringContaining('hello'),
    })
  })

  test.each([
    ['level', '?level=linearizable', /documents have no such level/],
    ['level', '?level=best'],
    ['r', '?r=1', /goes with level=fresh/],
    ['r', '?level=fresh&r=2'],
    ['r', '?level=fresh&r=0'],
    ['at', '?at=2030-01-01T00:00:00Z', /not offered/],
    ['at', '?at='],
    ['sv', '?sv=AA', /Accept: application\/octet-stream/],
    ['types', '?types=title'],
    ['types', '?types=title:novel'],
    ['types', '?types=:map'],
    ['types', '?types='],
    ['timeoutMs', '?timeoutMs=-1'],
    ['w', '?w=local'],
    ['Level', '?Level=session'],
  ])('refuses %s in %s, naming it', async (path, query, reason = /./) => {
    const [status, code, details] = await refusal(await call(`/v1/documents/team%2Fnotes${query}`))
    expect([status, code, details]).toMatchObject([
      400,
      'request/invalid',
      { path, reason: expect.stringMatching(reason) },
    ])
  })

  test.each([
    ['sv=A', 'request/invalid'],
    ['sv=A%2B', 'request/invalid'],
    ['sv=____', 'protocol/bad-message'],
    ['types=title:text', 'request/invalid'],
  ])('refuses %s as octets with %s', async (query, code) => {
    expect(await refusal(await call(`/v1/documents/team%2Fnotes?${query}`, { headers: octets }))).toMatchObject([
      400,
      code,
      {},
    ])
  })

  test('that was never written is not found', async () => {
    expect(await refusal(await call('/v1/documents/nothing'))).toMatchObject([404, 'document/not-found', {}])
    expect(await refusal(await call('/v1/documents/nothing', { headers: octets }))).toMatchObject([
      404,
      'document/not-found',
      {},
    ])
  })

  test('that cannot be loaded says so, and when to try again', async () => {
    api.documents.failure = new CausewayError('document/unavailable')
    const response = await call('/v1/documents/team%2Fnotes')
    expect(response.headers.get('retry-after')).toBe('1')
    expect(await refusal(response)).toMatchObject([503, 'document/unavailable', {}])
  })
})

describe('names in addresses', () => {
  test.each([
    ['a%2Fb', 'a/b'],
    ['a%2fb', 'a/b'],
    ['100%', '100%'],
    ['%zz', '%zz'],
    ['%ff', '%ff'],
    ['%C3%BC', 'ü'],
    ['%F0%9F%8E%89', '🎉'],
    ['a+b', 'a+b'],
    ['%2525', '%25'],
    ['a%23b%3Fc', 'a#b?c'],
    ['a:b;c,d', 'a:b;c,d'],
  ])('%s is the document %s', async (segment, name) => {
    expect((await post(`/v1/documents/${segment}/updates`, textUpdate('x'))).status).toBe(200)
    expect([...api.documents.kept.keys()]).toEqual([name])
    expect(await (await call(`/v1/documents/${encodeURIComponent(name)}`)).json()).toMatchObject({ name })
  })

  test.each(['%2F', 'a%2F%2Fb', '%2Fa', 'a%2F', 'a%00b', '%0A', 'x'.repeat(513), encodeURIComponent('ü'.repeat(257))])(
    '%.20s names no document',
    async (segment) => {
      expect(await refusal(await call(`/v1/documents/${segment}`))).toMatchObject([400, 'document/bad-name', {}])
      expect(await refusal(await post(`/v1/documents/${segment}/updates`, textUpdate('x')))).toMatchObject([
        400,
        'document/bad-name',
        {},
      ])
    },
  )
})

describe('PATCH a document', () => {
  const append = (text: string) => ({ operations: [{ op: 'insertText', path: ['title'], text }] })

  test('creates it and changes it, answering as an update does', async () => {
    const created = await patch('/v1/documents/notes', append('hello'))
    expect([created.status, await created.json()]).toMatchObject([
      200,
      { dot: expect.stringMatching(/^a:\d+$/), acknowledged: 'all' },
    ])
    await patch('/v1/documents/notes?w=local', append(' world'))
    expect(titleOf(...api.documents.kept.get('notes')!.updates)).toBe('hello world')
  })

  test('passes on what is wrong with an operation', async () => {
    const response = await patch('/v1/documents/notes', { operations: [{ op: 'push', path: ['list'], values: [1] }] })
    expect(await refusal(response)).toMatchObject([400, 'request/invalid', { path: 'operations[0].op' }])
  })

  test.each([
    ['operations', {}],
    ['operations', { operations: [] }],
    ['operations', { operations: 'all' }],
    ['operations', { operations: Array.from({ length: 1001 }, () => ({ op: 'set', path: ['a', 'b'] })) }],
    ['operations[0]', { operations: [null] }],
    ['operations[1].op', { operations: [append('x').operations[0], { op: 'undo', path: ['a'] }] }],
    ['operations[0].path', { operations: [{ op: 'set' }] }],
    ['operations[0].path', { operations: [{ op: 'set', path: [] }] }],
    ['operations[0].path[1]', { operations: [{ op: 'set', path: ['a', -1] }] }],
    ['more', { ...append('x'), more: 1 }],
    ['body', []],
  ])('refuses %s, naming it', async (path, body) => {
    expect(await refusal(await patch('/v1/documents/notes', body))).toMatchObject([400, 'request/invalid', { path }])
    expect(api.documents.kept.size).toBe(0)
  })

  test('does not take an Idempotency-Key that it could not honour', async () => {
    const response = await patch('/v1/documents/notes', append('x'), { headers: { 'idempotency-key': 'k' } })
    expect(await refusal(response)).toMatchObject([400, 'request/invalid', { path: 'Idempotency-Key' }])
    expect(api.documents.kept.size).toBe(0)
  })
})

describe('POST /v1/transactions', () => {
  const update = (document: string, text = 'x') => ({ document, update: base64(textUpdate(text)) })
  const operations = [{ op: 'set', path: ['meta', 'by'], value: 'ada' }]

  test('stores updates and operations on several documents under one dot', async () => {
    const response = await post('/v1/transactions', { parts: [update('a/1'), { document: 'a/2', operations }] })
    expect([response.status, await response.json()]).toMatchObject([
      200,
      { dot: expect.stringMatching(/^a:\d+$/), clock: { a: expect.any(Number) } },
    ])
    expect([...api.documents.kept.keys()]).toEqual(['a/1', 'a/2'])
    expect(new Set([...api.documents.kept.values()].map((kept) => kept.seq)).size).toBe(1)
  })

  test('stores nothing when one part is refused, and names the part', async () => {
    const gap = { document: 'a/2', update: base64(gappedUpdate()) }
    const response = await post('/v1/transactions', { parts: [update('a/1'), gap] })
    expect(await refusal(response)).toMatchObject([
      409,
      'document/gap',
      { document: 'a/2', stateVector: 'AA', part: 1 },
    ])
    expect(api.documents.kept.size).toBe(0)
    const bad = { document: 'a/2', operations: [operations[0], { op: 'remove', path: ['x'], index: 0 }] }
    const second = await post('/v1/transactions', { parts: [update('a/1'), bad] })
    expect(await refusal(second)).toMatchObject([
      400,
      'request/invalid',
      { path: 'parts[1].operations[1].op', part: 1 },
    ])
    expect(api.documents.kept.size).toBe(0)
  })

  test('needs the right to write every part', async () => {
    const response = await post(
      '/v1/transactions',
      { parts: [update('a/1'), update('b/1')] },
      { as: await api.token('a/*:write b/*:read') },
    )
    expect(await refusal(response)).toEqual([403, 'access/forbidden', { document: 'b/1', right: 'write', part: 1 }])
    expect(api.documents.kept.size).toBe(0)
  })

  test('202 and w are as for one update', async () => {
    api.cell.progress = { acknowledged: 'local', replicas: 1 }
    expect((await post('/v1/transactions', { parts: [update('a/1')] })).status).toBe(202)
    expect((await post('/v1/transactions?w=local', { parts: [update('a/1')] })).status).toBe(200)
  })

  test.each([
    ['parts', {}],
    ['parts', { parts: [] }],
    ['parts', { parts: Array.from({ length: 257 }, (_, index) => update(`a/${index}`)) }],
    ['parts[0]', { parts: [{ document: 'a' }] }],
    ['parts[0]', { parts: [{ ...update('a'), operations }] }],
    ['parts[0].document', { parts: [{ update: 'AAA=' }] }],
    ['parts[0].update', { parts: [{ document: 'a', update: 'A' }] }],
    ['parts[0].update', { parts: [{ document: 'a', update: 'AA-_' }] }],
    ['parts[0].update', { parts: [{ document: 'a', update: ' AAA=' }] }],
    ['parts[0].generation', { parts: [{ ...update('a'), generation: 1 }] }],
    ['parts[1].document', { parts: [update('a'), update('a')] }],
    ['more', { parts: [update('a')], more: true }],
  ])('refuses %s, naming it', async (path, body) => {
    expect(await refusal(await post('/v1/transactions', body))).toMatchObject([400, 'request/invalid', { path }])
    expect(api.documents.kept.size).toBe(0)
  })

  test('refuses a part whose document is none', async () => {
    expect(await refusal(await post('/v1/transactions', { parts: [update('a//b')] }))).toEqual([
      400,
      'document/bad-name',
      { part: 0 },
    ])
  })

  test('does not take an Idempotency-Key with operations; with updates it is harmless', async () => {
    const headers = { 'idempotency-key': 'k' }
    const refused = await post('/v1/transactions', { parts: [{ document: 'a', operations }] }, { headers })
    expect(await refusal(refused)).toMatchObject([400, 'request/invalid', { path: 'Idempotency-Key' }])
    expect((await post('/v1/transactions', { parts: [update('a')] }, { headers })).status).toBe(200)
  })
})

describe('GET /v1/documents', () => {
  const names = ['a/1', 'a/2', 'a/3', 'a/4', 'a/5', 'b/1', 'b/2', 'c', '\uffff', '🎉']
  beforeEach(async () => {
    for (const name of names) await post(`/v1/documents/${encodeURIComponent(name)}/updates`, textUpdate(name))
  })

  async function list(query: string, scope = '*:read'): Promise<{ documents: { name: string }[]; cursor?: string }> {
    const response = await call(`/v1/documents${query}`, { as: await api.token(scope) })
    expect(response.status).toBe(200)
    return (await response.json()) as { documents: { name: string }[]; cursor?: string }
  }

  /** All pages of `limit`, each checked for its size. */
  async function listAll(limit: number, prefix = '', scope = '*:read'): Promise<string[]> {
    const found: string[] = []
    for (let cursor: string | undefined; ; ) {
      const page = await list(
        `?limit=${limit}&prefix=${encodeURIComponent(prefix)}${cursor === undefined ? '' : `&cursor=${cursor}`}`,
        scope,
      )
      found.push(...page.documents.map((document) => document.name))
      if (page.cursor === undefined) return found
      expect(page.documents).toHaveLength(limit)
      cursor = page.cursor
    }
  }

  test('says what there is of each', async () => {
    expect((await list('?prefix=a/1')).documents).toEqual([
      {
        name: 'a/1',
        bytes: expect.any(Number),
        clock: { a: expect.any(Number) },
        updatedAt: '2030-01-01T00:00:00.000Z',
      },
    ])
  })

  test.each([1, 2, 3, 4, 10, 100])('in pages of %d is every document once, by name', async (limit) => {
    expect(await listAll(limit)).toEqual(names)
    expect(await listAll(limit, 'a/')).toEqual(names.slice(0, 5))
  })

  test.each([
    ['b/*:read', ['b/1', 'b/2']],
    ['c:read a/3:write b/1:read', ['a/3', 'b/1', 'c']],
    ['a/*:read a/1:admin', ['a/1', 'a/2', 'a/3', 'a/4', 'a/5']],
    ['a/9:read nothing/*:admin', []],
    ['', []],
  ])('[SEC] with scope %j is only what that may read', async (scope, expected) => {
    for (const limit of [1, 2, 100]) expect(await listAll(limit, '', scope)).toEqual(expected)
  })

  test('[SEC] no cursor names a document that the caller may not read', async () => {
    const page = await list('?limit=1', 'a/1:read c:read')
    expect(Buffer.from(page.cursor!, 'base64url').toString()).toBe('a/1')
    expect(await listAll(1, '', 'a/1:read c:read')).toEqual(['a/1', 'c'])
  })

  test.each([
    ['limit', '?limit=0'],
    ['limit', '?limit=1001'],
    ['limit', '?limit=all'],
    ['cursor', '?cursor=%2F'],
    ['cursor', '?cursor='],
    ['prefix', `?prefix=${'x'.repeat(513)}`],
    ['order', '?order=desc'],
  ])('refuses %s in %s, naming it', async (path, query) => {
    expect(await refusal(await call(`/v1/documents${query}`))).toMatchObject([400, 'request/invalid', { path }])
  })
})

describe('[SEC] rights', () => {
  test.each([
    ['GET', '/v1/documents/secret%2Fplan'],
    ['POST', '/v1/documents/secret%2Fplan/updates'],
    ['PATCH', '/v1/documents/secret%2Fplan'],
  ])('%s %s is refused alike, whether the document is there or not, before anything is read', async (method, path) => {
    const as = await api.token('team/*:admin')
    const calls = api.documents.calls
    const absent = await call(path, { method, as })
    const refused = await refusal(absent)
    expect(refused).toMatchObject([403, 'access/forbidden', { document: 'secret/plan' }])
    expect(api.documents.calls).toBe(calls)
    await post('/v1/documents/secret%2Fplan/updates', textUpdate('x'))
    expect(await refusal(await call(path, { method, as }))).toEqual(refused)
  })

  test('reading does not let write', async () => {
    const as = await api.token('notes:read')
    expect(await refusal(await post('/v1/documents/notes/updates', textUpdate('x'), { as }))).toMatchObject([
      403,
      'access/forbidden',
      {},
    ])
    expect(await refusal(await patch('/v1/documents/notes', { operations: [] }, { as }))).toMatchObject([
      403,
      'access/forbidden',
      {},
    ])
  })

  test.each(['/v1/documents', '/v1/documents/notes', '/v1/openapi.json', '/v1/nothing', '/metrics'])(
    '%s asks for a token',
    async (path) => {
      const response = await call(path, { as: null })
      expect(response.headers.get('www-authenticate')).toBe('Bearer')
      expect(await refusal(response)).toMatchObject([401, 'access/unauthenticated', { reason: 'no token' }])
    },
  )
})

describe('what is not built answers that it is not there', () => {
  test.each([
    ['DELETE', '/v1/documents/notes'],
    ['POST', '/v1/documents/notes/seed'],
    ['POST', '/v1/documents/notes/create'],
    ['POST', '/v1/documents/notes/copy'],
    ['GET', '/v1/documents/notes/versions'],
    ['GET', '/v1/documents/notes/history'],
    ['PUT', '/v1/unique/handle/ada'],
    ['POST', '/v1/kv/txn'],
    ['POST', '/v1/access/revoke'],
    ['POST', '/v1/cell/members'],
    ['GET', '/v1/documents/a/b'],
    ['GET', '/v1/documents/'],
    ['GET', '/V1/documents'],
    ['GET', '/v1'],
    ['GET', '/'],
    ['GET', '/admin/'],
  ])('%s %s', async (method, path) => {
    expect(await refusal(await call(path, { method }))).toMatchObject([404, 'request/not-found', {}])
  })
})
