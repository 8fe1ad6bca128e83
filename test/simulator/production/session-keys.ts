/** Keys of session tokens in the simulated world, where nobody forges: a checksum does for a MAC. */
import type { SessionKeys } from '../../../shared/session/token.js'

export const SESSION_KEYS: SessionKeys = {
  current: 1,
  mac: (keyId, bytes) => {
    if (keyId !== 1) return undefined
    let hash = 0x811c9dc5
    for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
    const mac = new Uint8Array(16)
    new DataView(mac.buffer).setUint32(0, hash >>> 0)
    return mac
  },
}
