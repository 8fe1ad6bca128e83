import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { CausewayError } from '../../../shared/errors/error.js'
import { textUpdate } from './fake-documents.js'
import { type ServedApi, type ServeOptions, serveApi } from './serve-api.js'

const served: ServedApi[] = []
afterEach(async () => {
  for (const api of served.splice(0)) await api.close()
})

async function serve(options: ServeOptions = {}): Promise<ServedApi> {
  const api = await serveApi(options)
  served.push(api)
  return api
}

const openAccess: ServeOptions = { config: { auth: {} } }
const codeOf = async (response: Response) => ((await response.json()) as { error: { code: string } }).error.code

/** `fetch` sets Host itself; this does not. */
async function requestAs(api: ServedApi, path: string, headers: Record<string, string>): Promise<number> {
  return await new Promise((resolve, reject) => {
    request({ port: api.port, host: '127.0.0.1', path, headers }, (response) => {
      response.resume()
      resolve(response.statusCode!)
    })
      .on('error', reject)
      .end()
  })
}

describe('probes', () => {
  test('say that the process lives and whether it serves, without a token', async () => {
    const api = await serve()
    expect((await fetch(`${api.url}/healthz`)).status).toBe(200)
    const ready = await fetch(`${api.url}/readyz`)
    expect([ready.status, await ready.json()]).toEqual([200, { ready: true, quorum: true, state: 'ready' }])
    api.readiness = { ready: false, quorum: true, state: 'starting' }
    const starting = await fetch(`${api.url}/readyz`)
    expect([starting.status, await starting.json()]).toEqual([503, { ready: false, quorum: true, state: 'starting' }])
    expect((await fetch(`${api.url}/healthz`)).status).toBe(200)
  })

  test('a draining replica answers and lets go of each connection', async () => {
    const api = await serve(openAccess)
    api.readiness = { ready: false, quorum: true, state: 'draining' }
    const response = await fetch(`${api.url}/v1/documents`)
    expect([response.status, response.headers.get('connection')]).toEqual([200, 'close'])
  })
})

describe('/metrics', () => {
  test('is for administrators of everything, or for all where that was decided', async () => {
    const api = await serve()
    const ask = async (scope?: string) => {
      const headers = scope === undefined ? {} : { authorization: `Bearer ${await api.token(scope)}` }
      return (await fetch(`${api.url}/metrics`, { headers })).status
    }
    expect([await ask(), await ask('*:write'), await ask('team/*:admin'), await ask('*:admin')]).toEqual([
      401, 403, 403, 200,
    ])
    const open = await serve({ config: { auth: { secret: 'x'.repeat(32) }, metrics: { public: true } } })
    const response = await fetch(`${open.url}/metrics`)
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      expect.stringMatching(/^text\/plain; version=0\.0\.4/),
    ])
  })

  test('counts answers and refusals', async () => {
    const api = await serve(openAccess)
    await fetch(`${api.url}/v1/documents/nothing`)
    await fetch(`${api.url}/v1/documents`)
    const text = await (await fetch(`${api.url}/metrics`)).text()
    expect(text).toContain('\ncauseway_refusals_total{code="document/not-found"} 1\n')
    expect(text).toContain('\ncauseway_http_request_seconds_count{status="4xx"} 1\n')
    expect(text).toContain('\ncauseway_http_request_seconds_count{status="2xx"} 1\n')
  })
})

describe('/v1/openapi.json', () => {
  test('describes every endpoint of today, and none of tomorrow', async () => {
    const api = await serve(openAccess)
    const response = await fetch(`${api.url}/v1/openapi.json`)
    const description = (await response.json()) as {
      openapi: string
      info: object
      paths: Record<
        string,
        Record<
          string,
          {
            parameters: { name: string; in: string; schema: object }[]
            responses: object
            requestBody?: { content: object }
          }
        >
      >
    }
    expect(description).toMatchObject({ openapi: '3.1.0', info: { title: 'Causeway', version: '1.2.3' } })
    const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    )
    expect(operations.sort()).toEqual([
      'delete /v1/cell/members/{member}',
      'get /healthz',
      'get /metrics',
      'get /readyz',
      'get /v1/cell',
      'get /v1/cell/convergence',
      'get /v1/documents',
      'get /v1/documents/{name}',
      'get /v1/openapi.json',
      'patch /v1/documents/{name}',
      'post /v1/cell/force-recover',
      'post /v1/documents/{name}/updates',
      'post /v1/transactions',
    ])
    const read = description.paths['/v1/documents/{name}']!['get']!
    const session = { $ref: '#/components/parameters/session' }
    expect(read.parameters.at(-1)).toEqual(session)
    expect(description.paths['/healthz']!['get']!.parameters).toEqual([])
    expect(read.parameters.slice(0, -1).map((parameter) => `${parameter.in} ${parameter.name}`)).toEqual([
      'path name',
      'query level',
      'query timeoutMs',
      'query r',
      'query at',
      'query sv',
      'query types',
    ])
    expect(read.parameters[2]!.schema).toMatchObject({ type: 'integer', minimum: 0, maximum: 60_000 })
    const update = description.paths['/v1/documents/{name}/updates']!['post']!
    expect(Object.keys(update.responses)).toEqual(['200', '202', 'default'])
    expect(Object.keys(update.requestBody!.content)).toEqual(['application/octet-stream'])
  })
})

describe('[SEC] pages of elsewhere', () => {
  test('get no answer and no CORS headers unless they are listed', async () => {
    const api = await serve({ config: { auth: { secret: 'x'.repeat(32) }, origins: ['https://app.example'] } })
    for (const [origin, status] of [
      ['https://evil.example', 403],
      ['null', 403],
      ['https://app.example', 401],
    ] as const) {
      const response = await fetch(`${api.url}/v1/documents`, { headers: { origin } })
      expect([origin, response.status]).toEqual([origin, status])
      expect(response.headers.get('access-control-allow-origin')).toBe(status === 403 ? null : origin)
      expect(response.headers.get('access-control-allow-credentials')).toBeNull()
      expect(response.headers.get('vary')).toBe(status === 403 ? null : 'Origin')
      if (status === 403) expect(await codeOf(response)).toBe('access/origin')
    }
  })

  test('preflights are answered for listed ones only', async () => {
    const api = await serve({ config: { auth: { secret: 'x'.repeat(32) }, origins: ['https://app.example'] } })
    const preflight = (origin: string) =>
      fetch(`${api.url}/v1/documents/x`, {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'PATCH',
          'access-control-request-headers': 'authorization',
        },
      })
    const allowed = await preflight('https://app.example')
    expect(allowed.status).toBe(204)
    expect(allowed.headers.get('access-control-allow-methods')).toContain('PATCH')
    expect(allowed.headers.get('access-control-allow-headers')).toMatch(/authorization/i)
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://app.example')
    const refused = await preflight('https://evil.example')
    expect([refused.status, refused.headers.get('access-control-allow-methods')]).toEqual([403, null])
  })

  test('cannot reach open access, by no name they make point at us, and probes still can', async () => {
    const api = await serve(openAccess)
    expect(await requestAs(api, '/v1/documents', { host: `evil.example:${api.port}` })).toBe(403)
    expect(await requestAs(api, '/v1/documents', { host: `localhost:${api.port}` })).toBe(200)
    expect(await requestAs(api, '/readyz', { host: '10.1.2.3' })).toBe(200)
    const update = { method: 'POST', body: textUpdate('x') as BodyInit, headers: { origin: 'https://evil.example' } }
    expect((await fetch(`${api.url}/v1/documents/x/updates`, update)).status).toBe(403)
    expect(api.documents.kept.size).toBe(0)
  })
})

describe('[SEC] every answer', () => {
  test('says that nothing of it may be run, framed, guessed at or kept', async () => {
    const api = await serve(openAccess)
    for (const path of ['/v1/documents', '/v1/nothing', '/healthz']) {
      const { headers } = await fetch(`${api.url}${path}`)
      expect(headers.get('content-security-policy')).toBe("default-src 'none';frame-ancestors 'none'")
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('x-frame-options')).toBe('DENY')
      expect(headers.get('referrer-policy')).toBe('no-referrer')
      expect(headers.get('cache-control')).toBe('no-store')
      for (const absent of ['x-powered-by', 'etag', 'set-cookie', 'strict-transport-security'])
        expect(headers.get(absent)).toBeNull()
    }
  })
})

describe('[SEC] rates', () => {
  const limits = { requestsPerSecond: 1, requestBurst: 3 }

  test('of one user do not touch another, and the wait is told', async () => {
    const api = await serve({ config: { auth: { secret: 'canary-secret-of-more-than-32-bytes' }, limits } })
    const ask = async (user: string) =>
      await fetch(`${api.url}/v1/documents`, {
        headers: { authorization: `Bearer ${await api.token('*:read', user)}` },
      })
    const statuses: number[] = []
    for (let index = 0; index < 4; index++) statuses.push((await ask('mallory')).status)
    expect(statuses).toEqual([200, 200, 200, 429])
    const refused = await ask('mallory')
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(await refused.json()).toMatchObject({
      error: { code: 'access/too-many-requests', retry: 'later', details: { retryAfterMs: expect.any(Number) } },
    })
    expect((await ask('ada')).status).toBe(200)
  })

  test('of refused tokens count by address, and let good ones through', async () => {
    const api = await serve({ config: { auth: { secret: 'canary-secret-of-more-than-32-bytes' }, limits } })
    const statuses: number[] = []
    for (let index = 0; index < 4; index++) statuses.push((await fetch(`${api.url}/v1/documents`)).status)
    expect(statuses).toEqual([401, 401, 401, 429])
    const headers = { authorization: `Bearer ${await api.token('*:read')}` }
    expect((await fetch(`${api.url}/v1/documents`, { headers })).status).toBe(200)
  })

  test('do not hold for probes', async () => {
    const api = await serve({ config: { auth: {}, limits } })
    for (let index = 0; index < 10; index++) expect((await fetch(`${api.url}/readyz`)).status).toBe(200)
  })
})

describe('an embedding hook', () => {
  test('sees the request and decides', async () => {
    const api = await serve({
      config: { auth: {} },
      hook: ({ headers, remoteAddress }) =>
        headers?.['x-user'] === 'ada' && remoteAddress === '127.0.0.1'
          ? { userId: 'ada', scope: 'a:write' }
          : undefined,
    })
    expect((await fetch(`${api.url}/v1/documents`)).status).toBe(401)
    expect((await fetch(`${api.url}/v1/documents`, { headers: { 'x-user': 'ada' } })).status).toBe(200)
    expect((await fetch(`${api.url}/v1/documents/b`, { headers: { 'x-user': 'ada' } })).status).toBe(403)
  })

  test('that cannot decide now asks the caller to come back', async () => {
    const api = await serve({
      hook: () => {
        throw new CausewayError('access/unavailable')
      },
    })
    const response = await fetch(`${api.url}/v1/documents`)
    expect([response.status, await codeOf(response)]).toEqual([503, 'access/unavailable'])
  })
})

describe('pages', () => {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-pages-'))
  beforeAll(() => {
    mkdirSync(join(folder, 'assets'))
    writeFileSync(join(folder, 'index.html'), '<!doctype html><title>demo</title>')
    writeFileSync(join(folder, 'assets', 'main-B1c2D3e4.js'), 'export {}')
    writeFileSync(join(folder, 'icon.svg'), '<svg/>')
    writeFileSync(join(folder, '.secret'), 'canary')
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  test('are served without a token, may talk to their replica and load nothing of elsewhere', async () => {
    const api = await serve({ pages: folder })
    const page = await fetch(`${api.url}/`)
    expect(await page.text()).toContain('demo')
    expect(page.headers.get('cache-control')).toBe('no-cache')
    expect(page.headers.get('etag')).not.toBeNull()
    const policy = page.headers.get('content-security-policy')
    expect(policy).toContain("default-src 'self'")
    expect(policy).toContain(`connect-src 'self' ws://127.0.0.1:${api.port} wss://127.0.0.1:${api.port}`)
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).not.toContain('upgrade-insecure-requests')
  })

  test('are kept by browsers where their name tells their content', async () => {
    const api = await serve({ pages: folder })
    const asset = await fetch(`${api.url}/assets/main-B1c2D3e4.js`)
    expect(asset.headers.get('cache-control')).toBe('public, max-age=31536000, immutable')
    expect(asset.headers.get('content-type')).toMatch(/javascript/)
    expect((await fetch(`${api.url}/icon.svg`)).headers.get('cache-control')).toBe('no-cache')
  })

  test('[SEC] are all that is served: nothing hidden, nothing outside, and the API stays', async () => {
    const api = await serve({ pages: folder })
    for (const path of ['/.secret', '/nothing', '/..%2f..%2fetc%2fpasswd', '/assets/..%2f.secret']) {
      const response = await fetch(`${api.url}${path}`)
      expect([path, response.status]).toEqual([path, 404])
      expect(await codeOf(response)).toBe('request/not-found')
    }
    expect((await fetch(`${api.url}/v1/nothing`)).status).toBe(401)
    expect((await fetch(`${api.url}/v1/documents`)).status).toBe(401)
  })

  test('[SEC] a made-up host does not get into their policy', async () => {
    const api = await serve({ pages: folder })
    const policy = await new Promise<string>((resolve, reject) => {
      request({ port: api.port, host: '127.0.0.1', path: '/', headers: { host: "x'; script-src *" } }, (response) => {
        response.resume()
        resolve(String(response.headers['content-security-policy']))
      })
        .on('error', reject)
        .end()
    })
    expect(policy).not.toContain('script-src')
  })
})
