// The stock y-websocket server, in memory or with its own LevelDB persistence, set up through its own environment
// variables. Its program is no export of its package, so it is imported by path.
import { readFileSync } from 'node:fs'

const [port, data] = process.argv.slice(2)
const home = new URL('../node_modules/@y/websocket-server/', import.meta.url)
const { bin } = JSON.parse(readFileSync(new URL('package.json', home), 'utf8'))
process.env.HOST = '127.0.0.1'
process.env.PORT = port
if (data) process.env.YPERSISTENCE = data
await import(new URL(bin['y-websocket-server'], home).href)
