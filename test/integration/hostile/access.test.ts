/** [SEC] Deny by default: forged tokens open nothing, readers change nothing by any path, and time runs out for all. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodeAwareness } from '../../../shared/protocol/awareness.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'
import { Stranger } from '../../support/stranger.js'
import { SECRET, secondsFromNow, token, tokenFor } from '../../support/tokens.js'
import { isBack } from './paths.js'
import { newMarker } from './room.js'

const directory = temporaryDirectory()
let replica: ReplicaProcess
beforeAll(async () => {
  replica = await ReplicaProcess.start({
    port: await freePort(),
    data: directory.path,
    args: ['--log-level', 'debug'],
    environment: { CAUSEWAY_AUTH_SECRET: SECRET },
  })
  const writer = await Stranger.at(`${replica.url}/y/room/a?token=${tokenFor('room/*:write')}`)
  const marker = newMarker()
  writer.sayY({ type: 'update', update: marker })
  await writer.until(() => isBack(writer, marker))
  expect(writer.closed).toBeUndefined()
  writer.leave()
})
afterAll(async () => {
  await replica.end('SIGKILL')
  directory.remove()
})

const everything = { scope: '*:admin', sub: 'mallory' }
const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` })

async function stateOf(document: string): Promise<string> {
  const response = await fetch(`${replica.http}/v1/documents/${encodeURIComponent(document)}`, {
    headers: bearer(tokenFor('*:read')),
  })
  return await response.text()
}

const forged: readonly (readonly [name: string, token: string])[] = [
  ['none', ''],
  ['alg none', token({ header: { alg: 'none' }, claims: everything, signature: '' })],
  ['alg None, signed', token({ header: { alg: 'None' }, claims: everything })],
  ['alg none, with the signature of another', token({ header: { alg: 'none' }, claims: everything })],
  ['alg in another case', token({ header: { alg: 'hs256' }, claims: everything })],
  ['alg that is a list', token({ header: { alg: ['HS256'] }, claims: everything })],
  ['alg of public keys', token({ header: { alg: 'RS256' }, claims: everything })],
  ['alg that the signature is not of', token({ header: { alg: 'HS512' }, claims: everything })],
  ['another secret', token({ claims: everything, secret: 'another secret, as long as the right one is' })],
  ['an empty secret', token({ claims: everything, secret: '' })],
  ['its own key', token({ header: { jwk: { kty: 'oct', k: 'AAAA' } }, claims: everything, secret: '\0\0\0' })],
  ['a key by path', token({ header: { kid: '../../../../dev/null' }, claims: everything, secret: '' })],
  ['a key by address', token({ header: { jku: 'http://127.0.0.1:1/keys' }, claims: everything, secret: '' })],
  ['an extension that must be understood', token({ header: { crit: ['x'], x: 1 }, claims: everything })],
  ['no end', token({ claims: { ...everything, exp: undefined } })],
  ['an end that is a text', token({ claims: { ...everything, exp: '9999999999' } })],
  ['a beginning to come', token({ claims: { ...everything, nbf: secondsFromNow(3600) } })],
  ['a scope that is a list', token({ claims: { ...everything, scope: ['*:admin'] } })],
  ['a scope that is malformed', token({ claims: { ...everything, scope: 'a*b:write' } })],
  ['a name that is an object', token({ claims: { ...everything, name: { toString: 'x' } } })],
  ['claims that are no object', `${token({}).split('.')[0]}.${Buffer.from('null').toString('base64url')}.x`],
  ['five parts', 'a.b.c.d.e'],
  ['dots', '..'],
  ['no base64', '%%%.%%%.%%%'],
  ['10 KB', token({ claims: { ...everything, name: 'x'.repeat(10_000) } })],
]
const expired = token({ claims: { ...everything, exp: secondsFromNow(-3600) } })

describe.each<readonly [name: string, token: string, status: number, close: number]>([
  ...forged.map(([name, forgery]) => [name, forgery, 401, 4401] as const),
  ['an end long past', expired, 401, 4501],
])('a token with %s', (_name, forgery, status, close) => {
  test('[SEC] is refused over HTTP', async () => {
    for (const path of ['/v1/documents', '/v1/documents/room%2Fa', '/metrics', '/v1/openapi.json', '/v1/elsewhere']) {
      expect((await fetch(`${replica.http}${path}`, { headers: bearer(forgery) })).status).toBe(status)
    }
  })

  test('[SEC] is refused on /y, in the address and as a subprotocol', async () => {
    const inAddress = await Stranger.at(`${replica.url}/y/room/a?token=${encodeURIComponent(forgery)}`)
    await inAddress.over()
    expect(inAddress.closed?.close).toBe(close)
    expect(inAddress.y.map(({ type }) => type)).toEqual(close === 4401 ? ['denied'] : [])
    if (!/^[\w.-]+$/.test(forgery)) return
    const asProtocol = await Stranger.at(`${replica.url}/y/room/a`, {}, [`causeway-token.${forgery}`])
    await asProtocol.over()
    expect(asProtocol.closed?.close).toBe(close)
  })

  test('[SEC] is refused on /hocuspocus, and what was sent with it is dropped', async () => {
    const stranger = await Stranger.at(`${replica.url}/hocuspocus`)
    const before = await stateOf('room/a')
    stranger.say('room/a', { type: 'token', token: forgery }, { type: 'update', update: newMarker() })
    const isTooLong = forgery.length > 8192
    await stranger.until(() => stranger.under('room/a').length > 0)
    expect(stranger.under('room/a').map(({ type }) => type)).toEqual(['denied'])
    expect(isTooLong ? stranger.closed : undefined).toBeUndefined()
    expect(await stateOf('room/a')).toBe(before)
    stranger.leave()
  })
})

describe('who may only read', () => {
  const reader = tokenFor('room/*:read')
  let before: string
  beforeAll(async () => {
    before = await stateOf('room/a')
  })

  /** Somebody who may write, seeing that the document goes on and nothing of the reader's is in it. */
  async function onlyWritersWrote(): Promise<void> {
    expect(await stateOf('room/a')).toBe(before)
  }

  test('[SEC] changes nothing over /y, and stays', async () => {
    const stranger = await Stranger.at(`${replica.url}/y/room/a?token=${reader}`)
    stranger.sayY(
      { type: 'update', update: newMarker() },
      { type: 'step2', update: newMarker() },
      { type: 'step1', stateVector: Uint8Array.of(0) },
    )
    await stranger.until(() => stranger.y.some(({ type }) => type === 'step2'))
    expect(stranger.closed).toBeUndefined()
    await onlyWritersWrote()
    stranger.leave()
  })

  test('[SEC] changes nothing over /hocuspocus, by any message', async () => {
    const stranger = await Stranger.at(`${replica.url}/hocuspocus`)
    const address = 'room/a'
    const listener = await Stranger.at(`${replica.url}/hocuspocus`)
    listener.say(address, { type: 'token', token: reader })
    await listener.until(() => listener.under(address).length > 0)
    stranger.say(
      address,
      { type: 'token', token: reader },
      { type: 'update', update: newMarker() },
      { type: 'step2', update: newMarker() },
      { type: 'sync-reply', sync: { type: 'update', update: newMarker() } },
      { type: 'sync-reply', sync: { type: 'step2', update: newMarker() } },
      { type: 'stateless', payload: 'from a reader' },
      { type: 'sync-status', applied: true },
      { type: 'authenticated', scope: 'read-write' },
      { type: 'update', update: newMarker() },
    )
    await stranger.until(() => stranger.statuses(address).length === 5)
    expect(stranger.statuses(address)).toEqual([false, false, false, false, false])
    expect(stranger.under(address)[0]).toEqual({ type: 'authenticated', scope: 'readonly' })
    await onlyWritersWrote()
    // What a server says to servers ends the session, and is told to nobody either.
    stranger.say(address, { type: 'broadcast-stateless', payload: 'from a reader' })
    await stranger.until(() => stranger.under(address).some(({ type }) => type === 'close'))
    expect(listener.under(address).filter(({ type }) => type === 'stateless')).toEqual([])
    for (const each of [stranger, listener]) each.leave()
  })

  test.each<readonly [name: string, method: string, path: string, type: string, body: string]>([
    ['an update', 'POST', '/v1/documents/room%2Fa/updates', 'application/octet-stream', '\0\0'],
    [
      'operations',
      'PATCH',
      '/v1/documents/room%2Fa',
      'application/json',
      '{"operations":[{"op":"set","path":["m","k"],"value":1}]}',
    ],
    [
      'a transaction',
      'POST',
      '/v1/transactions',
      'application/json',
      '{"parts":[{"document":"room/a","update":"AAA="}]}',
    ],
    [
      'a transaction with operations',
      'POST',
      '/v1/transactions',
      'application/json',
      '{"parts":[{"document":"room/a","operations":[{"op":"set","path":["m","k"],"value":1}]}]}',
    ],
    [
      'an escaped name',
      'PATCH',
      '/v1/documents/%72oom%2f%61',
      'application/json',
      '{"operations":[{"op":"set","path":["m","k"],"value":1}]}',
    ],
  ])('[SEC] changes nothing over HTTP: %s', async (_name, method, path, type, body) => {
    const headers = { 'content-type': type, ...bearer(reader) }
    const response = await fetch(`${replica.http}${path}`, { method, headers, body })
    expect(response.status).toBe(403)
    await onlyWritersWrote()
  })

  test('[SEC] a part that may be written carries none that may not', async () => {
    const half = tokenFor('room/a:read room/b:write')
    const body = JSON.stringify({
      parts: ['room/b', 'room/a'].map((document) => ({
        document,
        update: Buffer.from(newMarker()).toString('base64'),
      })),
    })
    const headers = { 'content-type': 'application/json', ...bearer(half) }
    const response = await fetch(`${replica.http}/v1/transactions`, { method: 'POST', headers, body })
    expect(response.status).toBe(403)
    await onlyWritersWrote()
    expect(await stateOf('room/b')).toContain('document/not-found')
  })

  test('[SEC] sees no other document, not even that it exists', async () => {
    const narrow = tokenFor('room/b:read')
    const statuses = await Promise.all(
      ['room%2Fa', 'room%2Fnever-written'].map(async (name) => {
        const response = await fetch(`${replica.http}/v1/documents/${name}`, { headers: bearer(narrow) })
        return [response.status, ((await response.json()) as { error: { code: string } }).error.code]
      }),
    )
    expect(statuses).toEqual([
      [403, 'access/forbidden'],
      [403, 'access/forbidden'],
    ])
    const listed = await fetch(`${replica.http}/v1/documents`, { headers: bearer(narrow) })
    expect(await listed.json()).toEqual({ documents: [] })
    const stranger = await Stranger.at(`${replica.url}/y/room/a?token=${narrow}`)
    await stranger.over()
    expect(stranger.closed).toEqual({ close: 4403, code: 'access/forbidden' })
    expect(stranger.y.map(({ type }) => type)).toEqual(['denied'])
  })
})

describe('one socket, several rights', () => {
  test('[SEC] the right to one document opens no other on the same socket', async () => {
    const stranger = await Stranger.at(`${replica.url}/hocuspocus`)
    const before = await stateOf('room/a')
    stranger.say('room/mine', { type: 'token', token: tokenFor('room/mine:write') })
    await stranger.until(() => stranger.under('room/mine').length > 0)
    // Without a token nothing is handled; with one for elsewhere it is refused.
    stranger.say('room/a', { type: 'update', update: newMarker() }, { type: 'step1', stateVector: Uint8Array.of(0) })
    stranger.say('room/a\0session', { type: 'update', update: newMarker() })
    stranger.say('room/a', { type: 'token', token: tokenFor('room/mine:write') })
    await stranger.until(() => stranger.under('room/a').length > 0)
    expect(stranger.under('room/a').map(({ type }) => type)).toEqual(['denied'])
    stranger.say('room/a\0session', { type: 'token', token: tokenFor('room/mine:write') })
    await stranger.until(() => stranger.under('room/a\0session').length > 0)
    expect(stranger.under('room/a\0session').map(({ type }) => type)).toEqual(['denied'])
    expect(await stateOf('room/a')).toBe(before)
    stranger.leave()
  })

  test('[SEC] a second token takes the place of the first: what it does not allow ends at once', async () => {
    const stranger = await Stranger.at(`${replica.url}/hocuspocus`)
    const address = 'room/twice'
    const kept = newMarker()
    stranger.say(address, { type: 'token', token: tokenFor('room/*:write') }, { type: 'update', update: kept })
    await stranger.until(() => stranger.statuses(address).length === 1)
    stranger.say(
      address,
      { type: 'token', token: tokenFor('room/*:read') },
      { type: 'update', update: newMarker() },
      { type: 'token', token: 'none' },
      { type: 'update', update: newMarker() },
      { type: 'token', token: tokenFor('room/*:write') },
      { type: 'step1', stateVector: Uint8Array.of(0) },
    )
    await stranger.until(() => stranger.under(address).some(({ type }) => type === 'step2'))
    const said = stranger
      .under(address)
      .map((message) => (message.type === 'authenticated' ? message.scope : message.type))
    expect(said.filter((each) => each === 'denied')).toHaveLength(1)
    expect(said.filter((each) => each.startsWith('read'))).toEqual(['read-write', 'readonly', 'read-write'])
    const step2 = stranger.under(address).find((message) => message.type === 'step2')
    expect(step2?.type === 'step2' && Buffer.compare(step2.update, kept)).toBe(0)
    stranger.leave()
  })

  test('[SEC] rights end with the token: what comes afterwards is not stored', async () => {
    const ending = (): string => tokenFor('room/*:write', { exp: secondsFromNow(4) })
    const [y, hocuspocus] = await Promise.all([
      Stranger.at(`${replica.url}/y/room/ending?token=${ending()}`),
      Stranger.at(`${replica.url}/hocuspocus`),
    ])
    hocuspocus.say('room/ending', { type: 'token', token: ending() }, { type: 'step1', stateVector: Uint8Array.of(0) })
    await hocuspocus.until(() => hocuspocus.under('room/ending').some(({ type }) => type === 'step2'))
    // Nobody shows a fresh token, though asked for one.
    await Promise.all([
      y.over(),
      hocuspocus.until(() => hocuspocus.under('room/ending').some(({ type }) => type === 'denied')),
    ])
    expect(y.closed).toEqual({ close: 4501, code: 'access/expired' })
    expect(hocuspocus.under('room/ending').some(({ type }) => type === 'token-request')).toBe(true)
    hocuspocus.say(
      'room/ending',
      { type: 'update', update: newMarker() },
      { type: 'token', token: ending() },
      { type: 'step1', stateVector: Uint8Array.of(0) },
    )
    const step2s = (): number => hocuspocus.under('room/ending').filter(({ type }) => type === 'step2').length
    await hocuspocus.until(() => step2s() === 2)
    expect(hocuspocus.under('room/ending').filter(({ type }) => type === 'sync-status')).toEqual([])
    expect(await stateOf('room/ending')).toContain('document/not-found')
    hocuspocus.leave()
  })

  test('[SEC] presence shows whom the token names, whatever the client says', async () => {
    const watcher = await Stranger.at(`${replica.url}/y/room/people?token=${tokenFor('room/*:read')}`)
    const mallory = await Stranger.at(
      `${replica.url}/y/room/people?token=${tokenFor('room/*:write', { sub: 'mallory', name: 'Mallory' })}`,
    )
    const state = JSON.stringify({ user: { id: 'vera', name: 'Vera', color: '#f00' } })
    mallory.sayY({ type: 'awareness', update: encodeAwareness([{ clientId: 5, clock: 1, json: state }]) })
    const shown = (): string =>
      watcher.y.map((message) => (message.type === 'awareness' ? Buffer.from(message.update).toString() : '')).join('')
    await watcher.until(() => shown().includes('#f00'))
    expect(shown()).toContain('"id":"mallory","name":"Mallory"')
    expect(shown()).not.toContain('Vera')
    for (const each of [watcher, mallory]) each.leave()
  })
})

test('[SEC] no token and no secret is in what the replica said', () => {
  const said = replica.out + replica.err
  expect(said).toContain('http/request')
  for (const secret of [SECRET, ...forged.map(([, forgery]) => forgery).filter((forgery) => forgery.length > 40)]) {
    expect(said.includes(secret)).toBe(false)
  }
  expect(said).not.toContain(tokenFor('x:read').split('.')[0])
})

test('[SEC] no document came to be that nobody could write', async () => {
  const listed = await fetch(`${replica.http}/v1/documents`, { headers: bearer(tokenFor('*:read')) })
  const { documents } = (await listed.json()) as { documents: { name: string }[] }
  expect(documents.map(({ name }) => name)).toEqual(['room/a', 'room/twice'])
})
