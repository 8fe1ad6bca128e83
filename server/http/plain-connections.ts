/**
 * How many connections there are that are no WebSockets. Those have limits of their own from their upgrade on; before it,
 * and where none comes, a connection costs a descriptor and memory however little it says. One too many is dropped, and
 * those that wait between two requests make room for the next.
 */
import type { Server } from 'node:http'
import type { Duplex } from 'node:stream'

/** Bounds the plain connections of `server`, which must not be listening yet. `onRefused` is told of each that is dropped. */
export function limitPlainConnections(server: Server, limit: number, onRefused: () => void): void {
  const plain = new Set<Duplex>()
  server.on('connection', (socket) => {
    if (plain.size >= limit) {
      onRefused()
      server.closeIdleConnections()
      socket.destroy()
      return
    }
    plain.add(socket)
    socket.once('close', () => plain.delete(socket))
  })
  server.on('upgrade', (_request, socket) => plain.delete(socket))
}
