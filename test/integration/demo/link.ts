/**
 * The network between one person and the server: a TCP relay that can be cut and mended, or can hold back what the
 * server says. It knows nothing of what passes, so it stands before any server.
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface Link {
  /** The server as seen through this link. */
  readonly url: string
  /** All connections break, and new ones break at once. */
  cut(): void
  mend(): void
  /** What the server says from now on waits, in order, until `release`. */
  hold(): void
  release(): void
  close(): Promise<void>
}

export async function openLink(serverUrl: string): Promise<Link> {
  const server = new URL(serverUrl)
  const ends = new Set<Socket>()
  const held: (() => void)[] = []
  let isCut = false
  let isHolding = false

  const relay = createServer((near) => {
    track(near)
    if (isCut) return near.destroy()
    const far = connect(Number(server.port), server.hostname)
    track(far)
    near.on('data', (bytes) => far.write(bytes))
    far.on('data', (bytes) => {
      if (isHolding) held.push(() => near.write(bytes))
      else near.write(bytes)
    })
    near.on('close', () => far.destroy())
    far.on('close', () => near.destroy())
  })

  function track(end: Socket): void {
    ends.add(end)
    end.setNoDelay(true)
    // A broken connection is what this is for.
    end.on('error', () => {})
    end.on('close', () => ends.delete(end))
  }

  function breakAll(): void {
    held.length = 0
    for (const end of ends) end.destroy()
  }

  await new Promise<void>((ready) => relay.listen(0, '127.0.0.1', ready))
  return {
    url: `http://127.0.0.1:${(relay.address() as AddressInfo).port}/`,
    cut() {
      isCut = true
      breakAll()
    },
    mend() {
      isCut = false
    },
    hold() {
      isHolding = true
    },
    release() {
      isHolding = false
      for (const write of held.splice(0)) write()
    },
    close() {
      breakAll()
      return new Promise((closed) => relay.close(() => closed()))
    },
  }
}
