/**
 * A server of `/y` as small as the promise allows, for work on pages: documents in memory, each update applied after a
 * delay that stands for the disk, then sent to the others and back to its sender as the very bytes that came. It also
 * serves the built pages. Slow and obvious; it checks nothing and forgets everything when its process ends.
 */
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join, normalize } from 'node:path'
import { createDecoder, readVarUint, readVarUint8Array } from 'lib0/decoding'
import { createEncoder, toUint8Array, writeVarUint, writeVarUint8Array } from 'lib0/encoding'
import { type WebSocket, WebSocketServer } from 'ws'
import { Awareness, applyAwarenessUpdate, encodeAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness'
import * as Y from 'yjs'

export interface EchoServerOptions {
  /** 0: any free one. */
  readonly port: number
  /** How long the "disk" takes. */
  readonly delayMs: number
  /** The folder with the built pages. */
  readonly pages: string
}

export interface EchoServer {
  readonly port: number
  stop(): Promise<void>
}

interface SharedDocument {
  readonly ydoc: Y.Doc
  readonly awareness: Awareness
  readonly sockets: Set<WebSocket>
}

const SYNC = 0
const AWARENESS = 1
const STEP_1 = 0
const STEP_2 = 1
const UPDATE = 2

/** Stock clients take 30 s of silence for a lost connection. */
const PRESENCE_EVERY_MS = 15_000

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.md': 'text/plain; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** What the pages need, and no more. CodeMirror brings its rules in style elements. */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

export async function startEchoServer({ port, delayMs, pages }: EchoServerOptions): Promise<EchoServer> {
  const documents = new Map<string, SharedDocument>()
  const http = createServer((request, response) => void servePage(pages, request, response))
  const sockets = new WebSocketServer({ server: http })
  sockets.on('connection', (socket, request) => {
    const name = decodeURIComponent(new URL(request.url ?? '/', 'http://server').pathname.replace(/^\/y\//, ''))
    serveDocument(documentNamed(documents, name), socket, delayMs)
  })
  await listen(http, port)
  return {
    port: (http.address() as AddressInfo).port,
    async stop() {
      for (const socket of sockets.clients) socket.terminate()
      await new Promise((stopped) => http.close(stopped))
      for (const { awareness, ydoc } of documents.values()) {
        awareness.destroy()
        ydoc.destroy()
      }
    },
  }
}

function documentNamed(documents: Map<string, SharedDocument>, name: string): SharedDocument {
  const known = documents.get(name)
  if (known) return known
  const ydoc = new Y.Doc()
  const awareness = new Awareness(ydoc)
  awareness.setLocalState(null)
  const made: SharedDocument = { ydoc, awareness, sockets: new Set() }
  documents.set(name, made)
  awareness.on('update', ({ added, updated, removed }: Record<'added' | 'updated' | 'removed', number[]>) => {
    const frame = awarenessFrame(awareness, [...added, ...updated, ...removed])
    for (const socket of made.sockets) socket.send(frame)
  })
  return made
}

function serveDocument(document: SharedDocument, socket: WebSocket, delayMs: number): void {
  const { ydoc, awareness, sockets } = document
  const present = new Set<number>()
  const renewal = setInterval(() => socket.send(awarenessFrame(awareness)), PRESENCE_EVERY_MS)
  const rememberPresent = ({ added, updated }: { added: number[]; updated: number[] }, origin: unknown): void => {
    if (origin === socket) for (const clientId of [...added, ...updated]) present.add(clientId)
  }
  awareness.on('update', rememberPresent)
  sockets.add(socket)
  socket.send(syncFrame(STEP_1, Y.encodeStateVector(ydoc)))
  socket.send(awarenessFrame(awareness))
  socket.on('message', (data) => {
    const decoder = createDecoder(new Uint8Array(data as Buffer))
    const type = readVarUint(decoder)
    if (type === AWARENESS) applyAwarenessUpdate(awareness, readVarUint8Array(decoder), socket)
    if (type !== SYNC) return
    const kind = readVarUint(decoder)
    const body = readVarUint8Array(decoder)
    if (kind === STEP_1) socket.send(syncFrame(STEP_2, Y.encodeStateAsUpdate(ydoc, body)))
    else setTimeout(() => keep(document, socket, kind, body), delayMs)
  })
  socket.on('close', () => {
    clearInterval(renewal)
    sockets.delete(socket)
    awareness.off('update', rememberPresent)
    removeAwarenessStates(awareness, [...present], null)
  })
}

/** The update is now "on disk". Of a step2 the others hear; its sender is promised nothing. */
function keep({ ydoc, sockets }: SharedDocument, sender: WebSocket, kind: number, update: Uint8Array): void {
  Y.applyUpdate(ydoc, update)
  for (const socket of sockets) if (socket !== sender || kind === UPDATE) socket.send(syncFrame(UPDATE, update))
}

function syncFrame(kind: number, body: Uint8Array): Uint8Array {
  const encoder = createEncoder()
  writeVarUint(encoder, SYNC)
  writeVarUint(encoder, kind)
  writeVarUint8Array(encoder, body)
  return toUint8Array(encoder)
}

function awarenessFrame(awareness: Awareness, clientIds = [...awareness.getStates().keys()]): Uint8Array {
  const encoder = createEncoder()
  writeVarUint(encoder, AWARENESS)
  writeVarUint8Array(encoder, encodeAwarenessUpdate(awareness, clientIds))
  return toUint8Array(encoder)
}

async function servePage(pages: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = normalize(new URL(request.url ?? '/', 'http://server').pathname)
  const file = join(pages, path.endsWith('/') ? `${path}index.html` : path)
  try {
    const content = await readFile(file)
    response.writeHead(200, {
      'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
      'content-security-policy': PAGE_POLICY,
      'cache-control': 'no-store',
    })
    response.end(content)
  } catch {
    response.writeHead(404, { 'content-type': 'text/plain' })
    response.end('There is nothing at this address.')
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((ready, failed) => {
    server.once('error', failed)
    server.listen(port, '127.0.0.1', ready)
  })
}
