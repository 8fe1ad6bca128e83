/** An external coordination store, as small as it gets: one log that never fails and answers posts. */
import { makeOrigin } from '../../../shared/clock/dot.js'
import type { Machine, Program } from '../../../shared/simulator/program.js'
import { COORDINATION } from '../history.js'
import type { Entry, Message, Stored } from './messages.js'

export const COORDINATOR = 'store'
export const COORDINATION_ORIGIN = makeOrigin(COORDINATION, '0'.repeat(16))

export function bootCoordinator(machine: Machine<Message, Stored>): Program<Message> {
  const entries: Entry[] = []
  const calls = new Set<number>()
  return {
    step(input) {
      if (input.type !== 'posted') return
      const { peer, message } = input
      if (message.type === 'propose' && !calls.has(message.entry.call)) {
        calls.add(message.entry.call)
        entries.push({ ...message.entry, index: entries.length + 1 })
      }
      if (message.type === 'ask-entries' && message.from <= entries.length) {
        machine.post(peer, { type: 'entries', entries: entries.slice(message.from - 1) })
      }
    },
  }
}
