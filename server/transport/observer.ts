/** What the transport tells of itself; both are the host's. Names of events are stable, and no field holds a payload. */
export const TRANSPORT_EVENTS = [
  'connection-opened',
  'connection-closed',
  'upgrade-refused',
  'connection-refused',
  'authentication-refused',
  'bad-message',
  'update-refused',
  'update-late',
  'presence-refused',
  'id-taken',
  'id-unowned',
  'telling-refused',
  'telling-too-large',
  'slow-consumer',
  'dead-peer',
  'throttled',
] as const

export type TransportEvent = (typeof TRANSPORT_EVENTS)[number]

export interface TransportMetrics {
  count(event: TransportEvent, by?: number): void
}

export interface TransportLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void
  warn(fields: Readonly<Record<string, unknown>>, message: string): void
  error(fields: Readonly<Record<string, unknown>>, message: string): void
}

const ignore = (): void => {}

export const NO_METRICS: TransportMetrics = { count: ignore }
export const NO_LOG: TransportLog = { info: ignore, warn: ignore, error: ignore }
