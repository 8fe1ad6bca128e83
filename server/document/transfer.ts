/**
 * Moving bytes between threads. A structured clone of a view copies the whole buffer below it, and transferring that
 * buffer would take it from everybody else who looks into it: an update is often a slice of a network frame or of
 * Node's pool. So the bytes of a message are copied, exactly, into fresh buffers, and those are transferred.
 */

/** A value ready to be posted: `message` with `transfer` as its transfer list. */
export interface Detached {
  readonly message: unknown
  readonly transfer: ArrayBuffer[]
}

/**
 * Copies the bytes below `value` (JSON-like, with `Uint8Array`s anywhere); `value` stays as it is. `together` puts them
 * all into one buffer: one transfer, however many updates a tail has. `apart` gives each its own, so that a receiver who
 * keeps a small one does not keep the large one beside it alive.
 */
export function detach(value: unknown, buffers: 'together' | 'apart'): Detached {
  const found: Uint8Array[] = []
  collectBytes(value, found)
  if (found.length === 0) return { message: value, transfer: [] }
  if (buffers === 'apart') {
    const copies = found.map((bytes) => new Uint8Array(bytes))
    return { message: replaceBytes(value, copies.values()), transfer: copies.map((copy) => copy.buffer) }
  }
  const arena = new Uint8Array(found.reduce((size, bytes) => size + bytes.length, 0))
  let used = 0
  const copies = found.map((bytes) => {
    arena.set(bytes, used)
    used += bytes.length
    return arena.subarray(used - bytes.length, used)
  })
  return { message: replaceBytes(value, copies.values()), transfer: [arena.buffer] }
}

function collectBytes(value: unknown, found: Uint8Array[]): void {
  if (value instanceof Uint8Array) found.push(value)
  else if (Array.isArray(value)) for (const inner of value) collectBytes(inner, found)
  else if (isPlainObject(value)) for (const inner of Object.values(value)) collectBytes(inner, found)
}

/** `value` with its bytes replaced in the order of `collectBytes`. */
function replaceBytes(value: unknown, copies: Iterator<Uint8Array>): unknown {
  if (value instanceof Uint8Array) return copies.next().value
  if (Array.isArray(value)) return value.map((inner) => replaceBytes(inner, copies))
  if (!isPlainObject(value)) return value
  // A key named `__proto__` stays a key this way.
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, replaceBytes(inner, copies)]))
}

/** Whatever else is an object (a date, shared memory) passes as the clone takes it. */
function isPlainObject(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
