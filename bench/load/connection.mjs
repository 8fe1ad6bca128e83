// A WebSocket client on a plain socket: the upgrade, then raw bytes both ways. All sockets read into one shared buffer,
// so a read costs its system call and no allocation; whoever keeps bytes copies them.
import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'

const readBuffer = Buffer.allocUnsafe(256 * 1024)
const openTimeoutMs = 20_000

export class Connection {
  #socket
  #closing = false

  constructor(socket) {
    this.#socket = socket
  }

  /**
   * Connects and upgrades.
   * @param target `{host, port}` of the server
   * @param path path and query of the request
   * @param handlers `onOpen(connection)` right after the upgrade, before any byte that came with it; `onBytes(chunk)`,
   *   valid during the call only; `onClose()`, once, if the other side ends the open connection
   * @returns a promise of the open connection
   */
  static open(target, path, { onOpen, onBytes, onClose }) {
    return new Promise((resolve, reject) => {
      let head = Buffer.alloc(0)
      let isOpen = false
      const onRead = (length, buffer) => {
        const chunk = buffer.subarray(0, length)
        if (isOpen) {
          connection.onBytes(chunk)
          return true
        }
        head = Buffer.concat([head, chunk])
        const end = head.indexOf('\r\n\r\n')
        if (end === -1) return true
        clearTimeout(deadline)
        const status = head.toString('latin1', 0, head.indexOf('\r\n'))
        if (!status.startsWith('HTTP/1.1 101')) {
          connection.close()
          reject(new Error(`the server answered the upgrade of ${path} with "${status}"`))
          return true
        }
        isOpen = true
        onOpen(connection)
        resolve(connection)
        if (head.length > end + 4) connection.onBytes(head.subarray(end + 4))
        return true
      }
      const socket = connect({
        host: target.host,
        port: target.port,
        noDelay: true,
        onread: { buffer: readBuffer, callback: onRead },
      })
      const connection = new Connection(socket)
      connection.onBytes = onBytes
      const deadline = setTimeout(() => {
        connection.close()
        reject(new Error(`no WebSocket at ${path} within ${openTimeoutMs} ms`))
      }, openTimeoutMs)
      socket.once('connect', () => {
        socket.write(
          `GET ${path} HTTP/1.1\r\nHost: ${target.host}:${target.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
            `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
        )
      })
      let problem
      socket.on('error', (error) => {
        problem = error
      })
      socket.once('close', () => {
        clearTimeout(deadline)
        if (!isOpen) reject(problem ?? new Error('the server closed the connection before the upgrade'))
        else if (!connection.#closing) onClose()
      })
    })
  }

  /** Writes a frame made by `clientFrame`, or several back to back. */
  send(frame) {
    this.#socket.write(frame)
  }

  /** Ends the connection from this side; nothing is read from it any more. */
  close(lastFrame) {
    this.#closing = true
    this.onBytes = () => {}
    if (lastFrame) this.#socket.end(lastFrame, () => this.#socket.destroy())
    else this.#socket.destroy()
  }
}
