/**
 * When an answer is over: it was taken, or its connection is gone. A client may send requests without waiting for answers;
 * of those on one connection Node tells only the answer whose turn it is that the connection has ended, and the others
 * would be kept, and worked for, for ever.
 */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

const pending = new WeakMap<Socket, Set<() => void>>()

/** Calls `run` once: when the answer is over, or at once where it is already. */
export function onceOver(response: ServerResponse, run: () => void): void {
  const { socket } = response.req
  if (response.closed || socket.destroyed) {
    run()
    return
  }
  const ends = pending.get(socket) ?? endsOf(socket)
  const end = (): void => {
    if (!ends.delete(end)) return
    response.off('close', end)
    run()
  }
  ends.add(end)
  response.once('close', end)
}

/** One listener for a connection, however many answers wait on it. */
function endsOf(socket: Socket): Set<() => void> {
  const ends = new Set<() => void>()
  pending.set(socket, ends)
  socket.once('close', () => {
    for (const end of [...ends]) end()
  })
  return ends
}
