/** Changes whenever the fingerprint of any document does, so that replicas of different versions do not compare. */
export const FINGERPRINT_VERSION = 1
