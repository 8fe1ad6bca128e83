import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { limitPlainConnections } from './plain-connections.js'

async function serve(limit: number) {
  let refused = 0
  // As long as a test might take: what ends a connection here is the limit, not its age.
  const server = createServer({ keepAliveTimeout: 600_000 }, (_request, response) => response.end('ok'))
  limitPlainConnections(server, limit, () => refused++)
  server.on('upgrade', (_request, socket) => {
    socket.on('error', () => {})
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const sockets: Socket[] = []
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  /** A connection, and what comes first: an answer to `head`, or its end. */
  const open = async (head: string): Promise<{ socket: Socket; first: string }> => {
    const socket = connect(port, '127.0.0.1')
    sockets.push(socket)
    socket.on('error', () => {})
    socket.write(head)
    const first = await new Promise<string>((resolve) => {
      socket.once('data', (data) => resolve(data.toString().split('\r\n')[0]!))
      socket.once('close', () => resolve('closed'))
    })
    return { socket, first }
  }
  return { open, refused: () => refused }
}

const PLAIN = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n'
const UPGRADE = 'GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'

test('[SEC] plain connections are bounded, and one that ends makes room', async () => {
  const { open, refused } = await serve(2)
  const kept = [await open(PLAIN), await open(PLAIN)]
  expect(kept.map(({ first }) => first)).toEqual(['HTTP/1.1 200 OK', 'HTTP/1.1 200 OK'])
  expect((await open(PLAIN)).first).toBe('closed')
  expect(refused()).toBe(1)
  // Those that waited between two requests have made room.
  await Promise.all(kept.map(({ socket }) => (socket.closed ? undefined : once(socket, 'close'))))
  expect((await open(PLAIN)).first).toBe('HTTP/1.1 200 OK')
})

test('[SEC] one that has become something else does not count', async () => {
  const { open, refused } = await serve(1)
  for (let upgraded = 0; upgraded < 3; upgraded++) expect((await open(UPGRADE)).first).toContain('101')
  expect((await open(PLAIN)).first).toBe('HTTP/1.1 200 OK')
  expect(refused()).toBe(0)
})
