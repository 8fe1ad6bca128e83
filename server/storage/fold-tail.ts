/** A document as stored, put together into one update by its bytes: what a peer takes of it. */
import { AssertionError } from '../../shared/base/assert.js'
import { checkUpdate } from '../../shared/update/check.js'
import { joinUpdates } from '../../shared/update/join.js'
import { KnownState } from '../../shared/update/known-state.js'
import { STORED_UPDATE_LIMITS } from '../../shared/update/limits.js'
import { parseUpdate } from '../../shared/update/parse.js'
import { DamageError } from './sqlite-values.js'
import type { StateContent } from './state-format.js'
import type { StoredDocument } from './stored-document.js'

/** Throws `DamageError` where the updates do not fit together, and what a parser throws. */
export function foldTail({ snapshot, tail }: StoredDocument): StateContent {
  if (snapshot && tail.length === 0) return snapshot
  const updates = tail.map(({ update }) => update)
  const update = joined(snapshot?.update, updates)
  return { update, known: KnownState.of(update).encode() }
}

function joined(base: Uint8Array | undefined, updates: readonly Uint8Array[]): Uint8Array {
  try {
    return joinUpdates(base, updates)
  } catch (thrown) {
    if (!(thrown instanceof AssertionError)) throw thrown
    return joinUpdates(base, withoutRepeats(base, updates))
  }
}

/** Updates that two replicas accepted at the same time may repeat one another: of each, what the ones before lack. */
function withoutRepeats(base: Uint8Array | undefined, updates: readonly Uint8Array[]): Uint8Array[] {
  const known = base ? KnownState.of(base) : new KnownState()
  return updates.flatMap((update) => {
    const checked = checkUpdate(parseUpdate(update, STORED_UPDATE_LIMITS), known, 'update', STORED_UPDATE_LIMITS)
    if (checked.type === 'gap') throw new DamageError('an update refers to what is not there')
    known.add(checked)
    return checked.type === 'new' ? [checked.update] : []
  })
}
