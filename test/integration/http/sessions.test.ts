import { createConnection } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CausewayError } from '../../../shared/errors/error.js'
import { dotOf, originOf, showVector, vectorOf } from '../../support/causal-text.js'
import { gappedUpdate, ORIGIN, textUpdate, titleOf } from './fake-documents.js'
import { type ServedApi, serveApi } from './serve-api.js'

let api: ServedApi
let bearer: string

beforeEach(async () => {
  api = await serveApi({
    config: { auth: { secret: 'canary-secret-of-more-than-32-bytes' }, origins: ['https://app.example'] },
  })
  bearer = await api.token('*:admin')
})
afterEach(() => api.close())

interface Sent {
  readonly method?: string
  readonly body?: Uint8Array | object | undefined
  readonly session?: string | undefined
  readonly headers?: Record<string, string>
  readonly signal?: AbortSignal
}

async function call(path: string, { method, body, session, headers = {}, signal }: Sent = {}): Promise<Response> {
  const isBytes = body instanceof Uint8Array
  return await fetch(`${api.url}${path}`, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: {
      authorization: `Bearer ${bearer}`,
      ...(session === undefined ? {} : { 'causeway-session': session }),
      ...(body === undefined ? {} : { 'content-type': isBytes ? 'application/octet-stream' : 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: (isBytes ? body : JSON.stringify(body)) as BodyInit }),
    ...(signal === undefined ? {} : { signal }),
  })
}

const write = (text: string, sent: Sent = {}, query = '') =>
  call(`/v1/documents/notes/updates${query}`, { body: textUpdate(text, text.length), ...sent })
const operations = [{ op: 'insertText', path: ['title'], text: '!' }]
const octets = { accept: 'application/octet-stream' }

/** What the token of an answer has seen, in short. */
function seenBy(response: Response): string {
  const token = api.cell.sessions.decode(response.headers.get('causeway-session') ?? 'none')
  return token ? showVector(token.vector) : 'nothing'
}
const tokenOf = (text: string) => api.cell.tokenOf(vectorOf(text))
const codeOf = async (response: Response) => {
  const { error } = (await response.json()) as { error: { code: string; details: Record<string, unknown> } }
  return [response.status, error.code, error.details]
}

/** Until so many requests wait at the desk. */
const untilWaiting = (count: number) => expect.poll(() => api.cell.sessions.waiting, { interval: 5 }).toBe(count)

/** Moves what the replica has, or U. */
function move(change: { durable?: string; majorityDurable?: string }): void {
  if (change.durable !== undefined) api.cell.durable = vectorOf(change.durable)
  if (change.majorityDurable !== undefined) api.cell.majorityDurable = vectorOf(change.majorityDurable)
  api.cell.sessions.changed()
}

describe('[SG1-SG4] every answer carries a token', () => {
  const requests: [string, string, Sent, number][] = [
    ['what is found', '/v1/documents', {}, 200],
    ['the description', '/v1/openapi.json', {}, 200],
    ['the cell', '/v1/cell', {}, 200],
    ['what was stored', '/v1/documents/x/updates', { body: textUpdate('x') }, 200],
    ['no document', '/v1/documents/nothing', {}, 404],
    ['no address', '/v1/nothing', {}, 404],
    ['the root of the API', '/v1', {}, 404],
    ['another method', '/v1/documents', { method: 'DELETE' }, 404],
    ['a wrong parameter', '/v1/documents?order=desc', {}, 400],
    ['a wrong name', '/v1/documents/a%2F%2Fb', {}, 400],
    ['a wrong body', '/v1/transactions', { body: {} }, 400],
    ['a wrong type', '/v1/documents/x/updates', { body: {} }, 415],
    ['a gap', '/v1/documents/x/updates', { body: gappedUpdate() }, 409],
    ['no bearer token', '/v1/documents', { headers: { authorization: '' } }, 401],
    ['a page of elsewhere', '/v1/documents', { headers: { origin: 'https://evil.example' } }, 403],
  ]
  test.each(requests)('%s: %s', async (_name, path, sent, status) => {
    const begun = await call(path, sent)
    expect([begun.status, seenBy(begun)]).toEqual([status, expect.any(String)])
    const session = tokenOf('b1:3')
    move({ durable: 'a1:1 b1:3' })
    const answered = await call(path, { ...sent, session })
    expect(answered.status).toBe(status)
    // A refusal has shown nothing; an answer only adds.
    if (status >= 400) expect(answered.headers.get('causeway-session')).toBe(session)
    expect(seenBy(answered)).toContain('b1:3')
  })

  test('also where something fails inside, and where the rate is over', async () => {
    api.documents.failure = new Error('broken')
    const failed = await call('/v1/documents/x', { session: tokenOf('') })
    expect([failed.status, seenBy(failed)]).toEqual([500, ''])
    const limits = { requestsPerSecond: 1, requestBurst: 1 }
    await api.close()
    api = await serveApi({ config: { auth: {}, limits } })
    await call('/v1/documents')
    const refused = await call('/v1/documents', { session: tokenOf('') })
    expect([refused.status, seenBy(refused)]).toEqual([429, ''])
  })

  test('probes, pages and metrics have none', async () => {
    for (const path of ['/healthz', '/readyz', '/metrics', '/nothing']) {
      expect((await call(path)).headers.get('causeway-session')).toBeNull()
    }
  })

  test('pages that may call can send and read it', async () => {
    const headers = { origin: 'https://app.example', 'access-control-request-method': 'POST' }
    const allowed = await call('/v1/documents/x/updates', { method: 'OPTIONS', headers })
    expect(allowed.headers.get('access-control-allow-headers')).toMatch(/Causeway-Session/)
    const answer = await call('/v1/documents', { headers: { origin: 'https://app.example' } })
    expect(answer.headers.get('access-control-expose-headers')).toMatch(
      /Causeway-Session.*Causeway-Degraded.*Retry-After/,
    )
  })
})

describe('[SG1-SG4] what a token has seen', () => {
  test('[SG1] is what its session wrote, by whichever call', async () => {
    const calls: [string, Sent][] = [
      ['/v1/documents/x/updates?w=local', { body: textUpdate('one', 1) }],
      ['/v1/documents/x', { method: 'PATCH', body: { operations } }],
      ['/v1/transactions', { body: { parts: [{ document: 'y', operations }] } }],
    ]
    let session: string | undefined
    for (const [index, [path, sent]] of calls.entries()) {
      const response = await call(path, { ...sent, session })
      expect([response.status, seenBy(response)]).toEqual([200, `${ORIGIN.replace(/\.0*/, '')}:${index + 1}`])
      session = response.headers.get('causeway-session')!
    }
  })

  test('[SG2] is what its session was shown, beside what it had seen', async () => {
    move({ durable: 'b1:3' })
    await write('hello')
    const session = tokenOf('b1:3')
    const shown = `${ORIGIN.replace(/\.0*/, '')}:1`
    for (const [path, headers] of [
      ['/v1/documents/notes', {}],
      ['/v1/documents/notes', octets],
      ['/v1/documents/notes?level=eventual', {}],
      ['/v1/documents?prefix=n', {}],
    ] as const) {
      const response = await call(path, { session, headers })
      expect([response.status, seenBy(response)]).toEqual([200, `${shown} b1:3`])
    }
  })

  test('is nothing of what a write holds that was not stored', async () => {
    const response = await call('/v1/documents/notes/updates', { body: gappedUpdate(), session: tokenOf('') })
    expect([response.status, seenBy(response)]).toEqual([409, ''])
  })
})

describe('[SG1-SG4] a replica that is behind', () => {
  const asked: [string, string, Sent][] = [
    ['[SG1, SG2] a read', '/v1/documents/notes', {}],
    ['[SG1, SG2] a read of bytes', '/v1/documents/notes', { headers: octets }],
    ['[SG1, SG2] a list', '/v1/documents', {}],
    ['[SG3, SG4] an update', '/v1/documents/notes/updates', { body: textUpdate('later', 9) }],
    ['[SG3, SG4] operations', '/v1/documents/notes', { method: 'PATCH', body: { operations } }],
    ['[SG3, SG4] a transaction', '/v1/transactions', { body: { parts: [{ document: 'notes', operations }] } }],
  ]

  test.each(asked)('keeps %s waiting, and answers when it has caught up', async (_name, path, sent) => {
    await write('hello')
    move({ durable: 'b1:1' })
    const { calls } = api.documents
    const answer = call(path, { ...sent, session: tokenOf('b1:2') })
    await untilWaiting(1)
    expect(api.documents.calls).toBe(calls) // neither read nor written for this session yet
    await write(' world', {}, '?w=local')
    move({ durable: 'b1:2' })
    const response = await answer
    expect([response.status, seenBy(response)]).toEqual([200, expect.stringContaining('b1:2')])
    if (path.endsWith('notes') && sent.method === 'PATCH') {
      expect(titleOf(...api.documents.kept.get('notes')!.updates)).toMatch(/!$/)
    }
  })

  test.each(asked)('refuses %s at its deadline, saying what is missing', async (_name, path, sent) => {
    move({ durable: 'b1:1' })
    const session = tokenOf('b1:2 c1:5')
    const answer = call(`${path}?timeoutMs=60000`, { ...sent, session })
    await untilWaiting(1)
    api.cell.clock.advance(60_000)
    const response = await answer
    const missing = { [originOf('b1')]: 2, [originOf('c1')]: 5 }
    expect([response.headers.get('retry-after'), response.headers.get('causeway-session')]).toEqual(['1', session])
    expect(await codeOf(response)).toEqual([503, 'session/replica-behind', { missing }])
    expect(api.documents.kept.size).toBe(0)
  })

  test('waits five seconds where nothing is said, and not at all where that is wished', async () => {
    const session = tokenOf('b1:1')
    const answer = call('/v1/documents', { session })
    await untilWaiting(1)
    api.cell.clock.advance(4_999)
    expect(api.cell.sessions.waiting).toBe(1)
    api.cell.clock.advance(1)
    expect((await answer).status).toBe(503)
    expect((await call('/v1/documents?timeoutMs=0', { session })).status).toBe(503)
  })

  test('has at level eventual what it has', async () => {
    await write('hello')
    expect((await call('/v1/documents/notes?level=eventual', { session: tokenOf('b1:2') })).status).toBe(200)
  })

  test('has what a restart of another implies', async () => {
    const answer = call('/v1/documents', { session: tokenOf('b1:4') })
    await untilWaiting(1)
    api.cell.lineages.learnOpening(dotOf('b2:5'), dotOf('b1:4'))
    move({ durable: 'b2:5' })
    expect((await answer).status).toBe(200)
  })

  test('keeps nothing of a client that has gone away', async () => {
    const client = new AbortController()
    const answer = call('/v1/documents?timeoutMs=60000', { session: tokenOf('b1:2'), signal: client.signal })
    await untilWaiting(1)
    client.abort()
    await expect(answer).rejects.toThrow()
    await untilWaiting(0)
    const socket = createConnection(api.port, '127.0.0.1').on('error', () => {})
    const head = `GET /v1/documents HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${bearer}\r\n`
    // Several on one connection, which does not wait for their answers.
    socket.write(`${head}Causeway-Session: ${tokenOf('b1:2')}\r\n\r\n`.repeat(3))
    await expect.poll(() => api.cell.sessions.waiting).toBeGreaterThan(0)
    socket.destroy()
    await untilWaiting(0)
  })
})

describe('a token that is not of this cell', () => {
  const tokens: [string, () => string][] = [
    ['a text that is none', () => 'nonsense'],
    ['a signature that is none', () => `${tokenOf('b1:1').slice(0, -3)}AAA`],
    ['another epoch', () => api.cell.tokenOf(vectorOf('b1:1'), { epoch: { ordinal: 1, id: '2'.repeat(16) } })],
    ['a text that no header may repeat', () => 'caf\u00e9 ; x'],
  ]

  test.each(tokens)('%s is reset, whatever was asked, with a fresh one', async (_name, make) => {
    const session = make()
    for (const [path, sent] of [
      ['/v1/documents?level=eventual', {}],
      ['/v1/nothing', {}],
      ['/v1/documents/x/updates', { body: textUpdate('x') }],
    ] as const) {
      const response = await call(path, { ...sent, session })
      expect([await codeOf(response), seenBy(response)]).toMatchObject([[409, 'session/reset', {}], ''])
      const fresh = response.headers.get('causeway-session')!
      expect((await call('/v1/documents', { session: fresh })).status).toBe(200)
    }
    expect(api.documents.kept.size).toBe(0)
  })

  test('is repeated until its bearer was told: nobody takes a new session for the old one', async () => {
    const response = await call('/v1/documents', { session: 'nonsense', headers: { authorization: '' } })
    expect([response.status, response.headers.get('causeway-session')]).toEqual([401, 'nonsense'])
  })
})

describe('what died with a disk', () => {
  test('is admitted by every answer of a session that had seen it, for as long as it lives', async () => {
    await write('hello')
    api.cell.lost = ({ origin }) => origin === originOf('x1')
    let session = tokenOf('x1:7')
    for (const [path, sent, status] of [
      ['/v1/documents/notes', {}, 200],
      ['/v1/documents/notes', { headers: octets }, 200],
      ['/v1/documents', {}, 200],
      ['/v1/documents/notes/updates', { body: textUpdate('more', 4) }, 200],
      ['/v1/documents/gone', {}, 404],
    ] as const) {
      const response = await call(path, { ...sent, session })
      expect([response.status, response.headers.get('causeway-degraded')]).toEqual([status, 'lost-updates'])
      if (!('headers' in sent)) expect(await response.json()).toMatchObject({ degraded: true })
      session = response.headers.get('causeway-session')!
    }
    const { vector, debt } = api.cell.sessions.decode(session)!
    expect([showVector(debt), vector.has(originOf('x1'))]).toEqual(['x1:7', false])
    const honest = await call('/v1/documents/notes')
    expect([honest.headers.get('causeway-degraded'), await honest.json()]).toEqual([
      null,
      expect.not.objectContaining({ degraded: true }),
    ])
  })
})

describe('[DU2] level majority', () => {
  test.each([{}, octets])('keeps what it shows until a majority has it on disk', async (headers) => {
    move({ majorityDurable: '' })
    await write('hello')
    const answer = call('/v1/documents/notes?level=majority&timeoutMs=60000', { headers })
    const first = await Promise.race([answer.then(() => 'answered'), untilWaiting(1).then(() => 'waits')])
    expect(first).toBe('waits')
    api.cell.majorityDurable = new Map([[ORIGIN, 1]])
    api.cell.sessions.changed()
    expect((await answer).status).toBe(200)
  })

  test('refuses what does not get there in time, and asks to come back', async () => {
    move({ majorityDurable: '' })
    await write('hello')
    const answer = call('/v1/documents/notes?level=majority')
    await untilWaiting(1)
    api.cell.clock.advance(5_000)
    const response = await answer
    expect(response.headers.get('retry-after')).toBe('1')
    expect(await codeOf(response)).toEqual([503, 'read/not-majority-durable', { missing: { [ORIGIN]: 1 } }])
  })
})

describe('[DU2] level fresh', () => {
  beforeEach(async () => {
    api.cell.size = 3
    api.cell.answersByHand = true
    await write('hello')
  })

  test('shows what r members had that were asked after it began, once a majority has it', async () => {
    move({ durable: 'b1:4' })
    move({ majorityDurable: '' })
    const answer = call('/v1/documents/notes?level=fresh&r=2&timeoutMs=60000')
    await untilWaiting(1)
    api.cell.asked[0]!('a', vectorOf('b1:4'))
    api.cell.asked[0]!('c', vectorOf('b1:5'))
    await expect.poll(() => api.cell.sessions.waiting).toBe(1)
    move({ durable: 'b1:5' })
    await untilWaiting(1)
    api.cell.majorityDurable = new Map([...vectorOf('b1:5'), [ORIGIN, 1]])
    api.cell.sessions.changed()
    expect((await answer).status).toBe(200)
  })

  test('is refused in time where too few answer', async () => {
    const answer = call('/v1/documents/notes?level=fresh')
    await untilWaiting(1)
    api.cell.asked[0]!('a', vectorOf(''))
    api.cell.clock.advance(5_000)
    expect(await codeOf(await answer)).toMatchObject([503, 'read/not-majority-durable', {}])
  })

  test.each([1, 4, 999])('with r=%d is refused, with what is possible', async (r) => {
    const response = await call(`/v1/documents/notes?level=fresh&r=${r}`)
    expect(await codeOf(response)).toMatchObject([
      400,
      'request/invalid',
      { path: 'r', reason: expect.stringContaining('from 2 to 3') },
    ])
  })
})

describe('[DU2] a write in a cell of three', () => {
  beforeEach(() => {
    api.cell.size = 3
    api.cell.waitsForProgress = true
  })

  test.each([
    ['', 'majority', 2, 200],
    ['?w=2', 'majority', 2, 200],
    ['?w=3', 'all', 3, 200],
    ['?w=all', 'all', 3, 200],
  ] as const)('with %j waits until it has reached that', async (query, acknowledged, replicas, status) => {
    api.cell.progress = { acknowledged: 'local', replicas: 1 }
    const answer = write('hello', {}, query)
    await untilWaiting(1)
    api.cell.progress = { acknowledged, replicas }
    api.cell.sessions.changed()
    const response = await answer
    expect([response.status, await response.json()]).toMatchObject([status, { acknowledged, replicas }])
  })

  test.each([
    ['', 'local', 1],
    ['?w=all', 'majority', 2],
    ['?w=3', 'majority', 2],
    ['?w=2', 'local', 1],
  ] as const)(
    'with %j is 202 when that takes too long, and its session has seen it',
    async (query, acknowledged, replicas) => {
      api.cell.progress = { acknowledged, replicas }
      const answer = write('hello', {}, query)
      await untilWaiting(1)
      api.cell.clock.advance(5_000)
      const response = await answer
      expect(response.status).toBe(202)
      expect(await response.json()).toMatchObject({ dot: 'a:1', acknowledged, replicas })
      expect(seenBy(response)).toBe(`${ORIGIN.replace(/\.0*/, '')}:1`)
    },
  )

  test('waits for nobody with w=local', async () => {
    api.cell.progress = { acknowledged: 'local', replicas: 1 }
    expect((await write('hello', {}, '?w=local')).status).toBe(200)
    expect((await write('again', {}, '?w=1')).status).toBe(200)
  })

  test.each(['/v1/documents/x/updates', '/v1/documents/x', '/v1/transactions'])(
    '%s refuses more than there are',
    async (path) => {
      const sent = path.endsWith('updates')
        ? { body: textUpdate('x') }
        : path.endsWith('transactions')
          ? { body: { parts: [{ document: 'x', operations }] } }
          : { body: { operations }, method: 'PATCH' }
      const response = await call(`${path}?w=4`, sent)
      expect(await codeOf(response)).toMatchObject([400, 'request/invalid', { path: 'w' }])
      expect(api.documents.kept.size).toBe(0)
    },
  )
})

describe('a replica that may serve nobody', () => {
  test.each([
    ['recovering', 'cell/recovering', expect.any(String)],
    ['stuck: majority lost', 'cell/recovering', expect.any(String)],
    ['starting', 'cell/starting', null],
  ] as const)('while %s says so, and shows nothing of its documents', async (state, code, session) => {
    api.readiness = { ready: false, quorum: true, state }
    for (const path of ['/v1/documents', '/v1/documents/x?level=eventual']) {
      const response = await call(path)
      expect([await codeOf(response), response.headers.get('causeway-session')]).toMatchObject([
        [503, code, {}],
        session,
      ])
    }
    expect((await write('x')).status).toBe(503)
    expect(api.documents.calls).toBe(0)
    expect((await call('/v1/cell')).status).toBe(200)
  })

  test('stuck cells serve what they have', async () => {
    api.readiness = { ready: true, quorum: false, state: 'stuck: majority lost' }
    expect((await call('/v1/documents')).status).toBe(200)
    const ready = await call('/readyz')
    expect([ready.status, await ready.json()]).toEqual([
      200,
      { ready: true, quorum: false, state: 'stuck: majority lost' },
    ])
  })
})

describe('GET /v1/cell', () => {
  test('tells the members, what they hold, and what is wrong', async () => {
    api.cell.reports = {
      current: new Set([originOf('c2')]),
      members: [
        { name: 'a', state: 'active', reachable: true, durable: vectorOf('a1:3 b1:2'), lagOps: 0, lagMs: 0 },
        {
          name: 'c',
          url: 'ws://c:4400',
          state: 'recovering',
          reachable: false,
          durable: vectorOf('c1:9 c2:1'),
          lagOps: 5,
          lagMs: 1_200,
        },
      ],
      majorityDurable: vectorOf('a1:2'),
      heldBack: [{ replica: 'c', dot: dotOf('c2:7'), waitsFor: vectorOf('b1:2'), waitedMs: 300 }],
      alarms: [{ alarm: 'many-lineages', details: '17 lineages', sinceMs: 5 }],
    }
    const response = await call('/v1/cell')
    expect([response.status, await response.json()]).toEqual([
      200,
      {
        cell: 'demo',
        id: '0f'.repeat(16),
        epoch: 1,
        configEpoch: 1,
        self: 'a',
        state: 'ready',
        members: [
          {
            name: 'a',
            url: null,
            role: 'follower',
            state: 'active',
            reachable: true,
            vector: { a: 3, b: 2 },
            durable: { a: 3, b: 2 },
            lagOps: 0,
            lagMs: 0,
          },
          {
            name: 'c',
            url: 'ws://c:4400',
            role: 'follower',
            state: 'recovering',
            reachable: false,
            vector: { [originOf('c1')]: 9, c: 1 },
            durable: { [originOf('c1')]: 9, c: 1 },
            lagOps: 5,
            lagMs: 1_200,
          },
        ],
        raft: null,
        majorityDurable: { a: 2 },
        heldBack: [{ replica: 'c', dot: 'c:7', waitsFor: { b: 2 }, waitedMs: 300 }],
        alarms: [{ alarm: 'many-lineages', details: '17 lineages', sinceMs: 5 }],
      },
    ])
  })
})

describe('GET /v1/cell/convergence', () => {
  const report = {
    verdict: 'lagging',
    checked: 2,
    diverged: [],
    documents: [{ document: 'x', state: 'lagging', replicas: { a: { clock: { a: 1 }, fingerprint: 'ff' }, b: null } }],
    heldBack: [{ replica: 'b', dot: 'a:3', waitsFor: { c: 1 } }],
    unreachable: ['c'],
  } as const

  test.each([
    ['', { limit: 1_000, all: false }],
    ['?prefix=team%2F&limit=5&all=1', { prefix: 'team/', limit: 5, all: true }],
  ])('with %j asks for %j and answers what was found', async (query, asked) => {
    api.convergence.report = report
    const response = await call(`/v1/cell/convergence${query}`)
    expect([response.status, await response.json(), api.convergence.asked]).toEqual([200, report, asked])
  })

  test.each([
    ['limit', '?limit=0'],
    ['all', '?all=yes'],
    ['all', '?all=0'],
    ['w', '?w=1'],
  ])('refuses %s in %s, naming it', async (path, query) => {
    expect(await codeOf(await call(`/v1/cell/convergence${query}`))).toMatchObject([400, 'request/invalid', { path }])
  })

  test('passes on why nothing was found', async () => {
    api.convergence.report = new CausewayError('document/busy')
    expect(await codeOf(await call('/v1/cell/convergence'))).toMatchObject([503, 'document/busy', {}])
  })
})

test.each(['/v1/cell', '/v1/cell/convergence'])('[SEC] %s is for administrators of everything', async (path) => {
  for (const scope of ['', '*:write', 'team/*:admin']) {
    bearer = await api.token(scope)
    expect(await codeOf(await call(path))).toEqual([403, 'access/forbidden', { right: 'admin' }])
  }
  expect(api.convergence.asked).toBeUndefined()
})

test('[SEC] one caller leaves others room to wait', async () => {
  await api.close()
  api = await serveApi({ waitingPerCaller: 3 })
  const session = tokenOf('b1:2')
  const waiting = Array.from({ length: 3 }, () => call('/v1/documents', { session }))
  await untilWaiting(3)
  expect(await codeOf(await call('/v1/documents'))).toMatchObject([429, 'access/too-many-requests', {}])
  bearer = await api.token('*:write', 'bob')
  expect((await call('/v1/documents')).status).toBe(200)
  const other = call('/v1/documents', { session })
  await untilWaiting(4)
  move({ durable: 'b1:2' })
  for (const answer of [...waiting, other]) expect((await answer).status).toBe(200)
})
