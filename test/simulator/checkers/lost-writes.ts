/**
 * I12, no acknowledged write is lost. What a majority had on disk is there at the end, as long as never more than a
 * minority of disks was being replaced at once. What one replica had is there, if no disk was replaced; and in any case
 * if its client lives.
 */
import { type Checker, Findings } from '../observed.js'

export const checkLostWrites: Checker = ({ events, history, writes, sessions }) => {
  const findings = new Findings('I12')
  const end = events.findIndex(({ type }) => type === 'replica-settled')
  if (end < 0) return [] // Nothing is known about the end.
  const held = new Set<number>()
  const gone = new Set<string>()
  const damaged = new Set<string>()
  let members = history.members.length
  let lastDamage = -1
  let majorityLost = -1
  for (const [at, event] of events.entries()) {
    switch (event.type) {
      case 'replica-settled':
        for (const id of event.held) held.add(id)
        break
      case 'gone':
        gone.add(event.by)
        break
      case 'members':
        members = event.members.length
        break
      case 'recovered':
        damaged.delete(event.by)
        break
      case 'disk':
        damaged.add(event.by)
        lastDamage = at
        if (damaged.size > Math.floor((members - 1) / 2)) majorityLost = at
    }
  }
  for (const write of writes.values()) {
    if (held.has(write.id)) continue
    const { call, saved, id } = write
    const client = sessions[write.session]!.split('+')[0]!
    if (saved !== undefined && saved > majorityLost)
      findings.add(end, `write ${id} was saved by a majority and is lost`)
    else if (call.outcome !== 'ok') continue
    else if (!gone.has(client)) findings.add(end, `write ${id} was acknowledged, its client lives, and it is lost`)
    else if (lastDamage < 0) findings.add(end, `write ${id} was acknowledged and is lost, though no disk was replaced`)
  }
  return findings.found
}
