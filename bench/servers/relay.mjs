// The bare relay: every message goes to the other sockets on the same path, unread. No document, no storage, nothing
// kept: the least that a server can do one message at a time.
import { WebSocketServer } from 'ws'

const port = Number(process.argv[2])
const rooms = new Map()
const server = new WebSocketServer({ port, host: '127.0.0.1', perMessageDeflate: false }, () => {
  console.log('{"event":"ready"}')
})
server.on('connection', (socket, request) => {
  const room = rooms.get(request.url) ?? new Set()
  rooms.set(request.url, room.add(socket))
  socket.on('message', (message) => {
    for (const other of room) if (other !== socket) other.send(message)
  })
  socket.on('close', () => {
    room.delete(socket)
    if (room.size === 0) rooms.delete(request.url)
  })
})
