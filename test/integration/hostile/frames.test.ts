/** [SEC] Illegal frames and heads of requests cost their sender its connection, and nobody else anything. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodeYMessage } from '../../../shared/protocol/sync.js'
import { Bystander } from '../../support/bystander.js'
import { BINARY, CLOSE, CONTINUATION, frame, PING, RawSocket, TEXT, upgradeHead } from '../../support/raw-socket.js'
import { freePort, ReplicaProcess, temporaryDirectory } from '../../support/replica-process.js'
import { newMarker, Room } from './room.js'

const directory = temporaryDirectory()
let replica: ReplicaProcess
let bystander: Bystander
let room: Room

beforeAll(async () => {
  replica = await ReplicaProcess.start({ port: await freePort(), data: directory.path })
  bystander = await Bystander.start(`${replica.url}/y/elsewhere`)
  room = await Room.open(replica, 'frames')
})
afterAll(async () => {
  room.close()
  await bystander.stop()
  await replica.end('SIGKILL')
  directory.remove()
})

/** Runs `attack`: the process lives, the document goes on, others feel nothing. */
async function feltByNobody(attack: () => Promise<void>): Promise<void> {
  const slowestMs = await bystander.slowestDuring(async () => {
    await attack()
    await room.edit()
  })
  expect(slowestMs).toBeLessThanOrEqual(bystander.limitMs)
  expect(replica.isRunning).toBe(true)
}

const step1 = encodeYMessage({ type: 'step1', stateVector: Uint8Array.of(0) })
const edit = (): Uint8Array => encodeYMessage({ type: 'update', update: newMarker() })
const reason = (code: number, text = ''): Buffer =>
  Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(text)])

describe.each(['/y/frames', '/hocuspocus'])('%s', (path) => {
  test.each<readonly [name: string, bytes: Uint8Array, code: number]>([
    ['rsv1', frame(BINARY, step1, { reserved: 0x40 }), 1002],
    ['rsv2', frame(BINARY, step1, { reserved: 0x20 }), 1002],
    ['opcode-3', frame(3, step1), 1002],
    ['opcode-f', frame(0xf, step1), 1002],
    ['len-200M', frame(BINARY, step1, { claims: 200n * 1024n * 1024n }), 1009],
    ['len-2e53', frame(BINARY, step1, { claims: 2n ** 53n }), 1009],
    ['len-2e63', frame(BINARY, step1, { claims: 2n ** 63n }), 1009],
    ['ping-126', frame(PING, Buffer.alloc(126)), 1002],
    ['ping-in-pieces', frame(PING, 'x', { fin: false }), 1002],
    ['close-1-byte', frame(CLOSE, 'x'), 1002],
    ['close-bad-code', frame(CLOSE, reason(1005)), 1002],
    ['close-code-0', frame(CLOSE, reason(0)), 1002],
    ['close-no-utf8', frame(CLOSE, Buffer.concat([reason(1000), Buffer.from([0xc3, 0x28])])), 1007],
    ['cont-without-start', frame(CONTINUATION, step1), 1002],
    ['start-inside-start', Buffer.concat([frame(BINARY, 'x', { fin: false }), frame(BINARY, step1)]), 1002],
    ['unmasked', frame(BINARY, step1, { masked: false }), 1002],
    ['text', frame(TEXT, 'hello'), 1003],
    ['text-no-utf8', frame(TEXT, Buffer.from([0xc3, 0x28])), 1007],
    [
      'fragments-5000',
      Buffer.concat(Array.from({ length: 5_000 }, (_, at) => frame(at ? CONTINUATION : BINARY, 'x', { fin: false }))),
      1008,
    ],
    ['ping-flood', Buffer.concat(Array.from({ length: 1_000 }, () => frame(PING, ''))), 1013],
  ])('[SEC] %s: the connection is closed with the right code', async (_name, bytes, code) => {
    await feltByNobody(async () => {
      const raw = await RawSocket.upgraded(replica.port, path)
      raw.write(bytes)
      await raw.until(() => raw.closeCode !== undefined)
      expect(raw.closeCode).toBe(code)
      // Some have a close of their own to answer; either way the socket ends.
      raw.end()
      await raw.over()
    })
  })

  test('[SEC] what stands behind an illegal frame is not read any more', async () => {
    await feltByNobody(async () => {
      const raw = await RawSocket.upgraded(replica.port, '/y/frames')
      const before = await room.read()
      raw.write(Buffer.concat([frame(BINARY, step1, { reserved: 0x40 }), frame(BINARY, edit()), frame(BINARY, edit())]))
      await raw.over()
      expect(Buffer.compare(await room.read(), before)).toBe(0)
    })
  })

  test('[SEC] connections cut anywhere in a handshake or frame leave nothing behind', async () => {
    await feltByNobody(async () => {
      const whole = Buffer.concat([Buffer.from(upgradeHead(replica.port, path)), frame(BINARY, step1)])
      for (let cut = 1; cut < whole.length; cut += 7) {
        const raw = await RawSocket.to(replica.port)
        raw.write(whole.subarray(0, cut))
        raw.end()
        await raw.over()
      }
    })
  })
})

describe('heads', () => {
  const get = (target: string, ...lines: readonly string[]): string =>
    `${[`GET ${target} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n`
  const host = 'Host: 127.0.0.1'
  const websocket = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ]
  const long = 'x'.repeat(40_000)

  test.each<readonly [name: string, head: string, status: number]>([
    ['url-bad', get('http://[', host), 404],
    ['url-bad upgrade', get('http://[', host, ...websocket), 404],
    ['url-absolute', get('http://127.0.0.1/healthz', host), 200],
    ['url-star', get('*', host), 404],
    ['url-dots', get('/v1/documents/..%2f..%2fetc%2fpasswd', host), 404],
    ['url-dots-plain', get('/../../etc/passwd', host), 404],
    ['escapes without end', get('/v1/documents/%E0%A4%A', host), 404],
    ['escapes of nothing', get('/v1/documents/%zz%', host), 404],
    ['%00', get('/v1/documents/%00', host), 400],
    ['%ff%00..%2f upgrade', get('/y/%ff%00..%2f', host, ...websocket), 101],
    ['room of 12 KB', get(`/y/${'r'.repeat(12_000)}`, host, ...websocket), 101],
    ['no host', get('/healthz'), 400],
    ['host of elsewhere', get('/v1/documents', 'Host: evil.example'), 403],
    ['host that is none', get('/v1/documents', 'Host: [::::'), 403],
    ['host of elsewhere, upgrade', get('/y/frames', 'Host: evil.example', ...websocket), 403],
    ['origin of elsewhere', get('/v1/documents', host, 'Origin: https://evil.example'), 403],
    ['origin of elsewhere, upgrade', get('/y/frames', host, 'Origin: https://evil.example', ...websocket), 403],
    ['origin null', get('/v1/documents', host, 'Origin: null'), 403],
    ['origin null, upgrade', get('/y/frames', host, 'Origin: null', ...websocket), 403],
    ['origin that looks like ours', get('/y/frames', host, 'Origin: http://127.0.0.1.evil.example', ...websocket), 403],
    ['2,500 headers', get('/healthz', host, ...Array.from({ length: 2_500 }, (_, at) => `x-${at}: y`)), 200],
    [
      '2,500 headers, upgrade',
      get('/y/frames', host, ...websocket, ...Array.from({ length: 2_500 }, (_, at) => `x-${at}: y`)),
      101,
    ],
    ['header of 40 KB', get('/healthz', host, `x: ${long}`), 431],
    ['target of 40 KB', get(`/${long}`, host), 431],
    ['token of 20 KB', get('/v1/documents', host, `Authorization: Bearer ${long.slice(20_000)}`), 200],
    [
      'content-length and transfer-encoding',
      'POST /v1/transactions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    [
      'two content-lengths',
      'POST /v1/transactions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde',
      400,
    ],
    [
      'content-length below zero',
      'POST /v1/transactions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n',
      400,
    ],
    [
      'chunk of 2^64',
      'POST /v1/transactions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n',
      400,
    ],
    [
      'content-length beyond the limit',
      'POST /v1/documents/x/updates HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n',
      413,
    ],
    ['no HTTP', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    ['an unknown method', 'BREW / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 400],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['upgrade to something else', get('/y/frames', host, 'Connection: Upgrade', 'Upgrade: h2c'), 400],
    [
      'upgrade without a key',
      get('/y/frames', host, 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'),
      400,
    ],
    [
      'upgrade of an old version',
      get(
        '/y/frames',
        host,
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 7',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      ),
      400,
    ],
    ['upgrade by POST', get('/y/frames', host, ...websocket).replace('GET', 'POST'), 405],
    ['upgrade at no endpoint', get('/elsewhere', host, ...websocket), 404],
    ['subprotocols that are none', get('/y/frames', host, ...websocket, 'Sec-WebSocket-Protocol: a,,b'), 400],
    [
      'subprotocols without end',
      get('/y/frames', host, ...websocket, `Sec-WebSocket-Protocol: ${'a,'.repeat(9_000)}b`),
      400,
    ],
    [
      'compression offered oddly',
      get('/y/frames', host, ...websocket, 'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99'),
      101,
    ],
  ])('[SEC] %s is answered', async (_name, head, status) => {
    await feltByNobody(async () => {
      const raw = await RawSocket.to(replica.port)
      raw.write(head)
      await raw.until(() => raw.status !== undefined)
      expect(raw.status).toBe(status)
      raw.destroy()
    })
  })

  test('upgrades that pages of elsewhere ask for are counted', async () => {
    const refused = async (): Promise<number> => {
      const page = await (await fetch(`http://127.0.0.1:${replica.port}/metrics`)).text()
      return Number(/causeway_connection_events_total{event="upgrade-refused"} (\d+)/.exec(page)?.[1])
    }
    const before = await refused()
    const raw = await RawSocket.to(replica.port)
    raw.write(get('/y/frames', host, 'Origin: https://evil.example', ...websocket))
    await raw.until(() => raw.status !== undefined)
    expect(await refused()).toBe(before + 1)
    raw.destroy()
  })

  test('[SEC] rooms whose name is none are refused for good', async () => {
    await feltByNobody(async () => {
      for (const path of ['/y/%ff%00..%2f', `/y/${'r'.repeat(12_000)}`, '/y/', '/y/a//b', '/y/%0a', '/y/a%7f']) {
        const raw = await RawSocket.upgraded(replica.port, path)
        await raw.until(() => raw.closeCode !== undefined)
        expect([path, raw.closeCode]).toEqual([path, 4400])
        raw.destroy()
      }
    })
  })
})
