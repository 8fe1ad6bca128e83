/**
 * Ports for several processes that must know each other's before any of them listens. They lie below those that systems
 * give to outgoing connections: nothing takes one by chance between our look and the listening.
 */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'

const FIRST = 20_000
const LAST = 32_000
/** Tries before the machine counts as full. */
const TRIES = 1_000

/** `count` different ports of 127.0.0.1 that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const held: { readonly port: number; readonly server: Server }[] = []
  try {
    for (let tries = 0; held.length < count; tries++) {
      if (tries === TRIES) throw new Error('no free port was found')
      const server = createServer()
      const port = randomInt(FIRST, LAST)
      server.listen(port, '127.0.0.1')
      const isFree = await once(server, 'listening').then(
        () => true,
        () => false,
      )
      if (isFree) held.push({ port, server })
    }
    return held.map(({ port }) => port)
  } finally {
    // All are held until the last is found, so that they differ.
    await Promise.all(held.map(({ server }) => once(server.close(), 'close')))
  }
}
