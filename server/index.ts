/** `causeway/server`: a replica inside your own process. */
export type { AuthenticateHook, Credentials, HookClaims } from './access/authenticator.js'
export { type CreateReplicaOptions, createReplica, type RunningReplica } from './host/start.js'
