/** What a start found on the disk and an operator must hear of: it serves all the same, with less than it once had. */
import type { Recovered } from '../storage/log.js'
import type { Log } from './log.js'

export function reportRecovered({ rolledBack, damaged, quarantined }: Recovered, log: Pick<Log, 'error'>): void {
  if (rolledBack !== undefined) log.error('storage/rolled-back', { ...rolledBack })
  for (const { document, position, reason } of damaged)
    log.error('storage/damage-found', { document, position, reason })
  for (const document of quarantined) log.error('storage/document-quarantined', { document })
}
