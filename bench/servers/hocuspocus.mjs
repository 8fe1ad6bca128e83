// Hocuspocus as its documentation starts it: the stock server with its SQLite extension, all settings as they come.
import { SQLite } from '@hocuspocus/extension-sqlite'
import { Server } from '@hocuspocus/server'

const [port, data] = process.argv.slice(2)
const server = new Server({
  port: Number(port),
  address: '127.0.0.1',
  quiet: true,
  extensions: [new SQLite({ database: `${data}/documents.sqlite` })],
})
await server.listen()
console.log('{"event":"ready"}')
