import { expect, test } from 'vitest'
import { makeOrigin } from '../../shared/clock/dot.js'
import type { HybridTime } from '../../shared/clock/hybrid-clock.js'
import { CausewayError } from '../../shared/errors/error.js'
import type { Op } from '../../shared/protocol/op.js'
import type { CommitFigures, Log } from '../storage/log.js'
import { Committer } from './committer.js'

const origin = makeOrigin('a', '00000000000000aa')
const op = (seq: number): Op => ({ kind: 'open', dot: { origin, seq }, deps: new Map(), hlc: seq as HybridTime })

/** A log that answers each commit in a later turn, as `answer` says. */
function logThat(answer: () => CausewayError | undefined): Pick<Log, 'commit'> {
  return {
    commit: (_batch, onDone) => {
      setImmediate(() => {
        const error = answer()
        if (error) onDone(error)
        else onDone(undefined, { position: 1 } as CommitFigures)
      })
    },
  }
}

test('what is added for ever does not keep what was added before from being settled', async () => {
  let seq = 0
  let isStopped = false
  let committed = 0
  const committer = new Committer({
    log: logThat(() => undefined),
    monotonicMs: () => 0,
    onCommitted: (done) => {
      committed = done.seq
      if (!isStopped) committer.add(op(++seq))
    },
    onFailed: () => {},
  })
  // While one commit runs there is always another op, as where people go on typing.
  for (let n = 0; n < 3; n++) committer.add(op(++seq))
  const upTo = seq
  await committer.settled()
  expect(committed).toBeGreaterThanOrEqual(upTo)
  isStopped = true
  await committer.settled()
  expect(committed).toBe(seq)
})

test('a failed commit settles what fails with it', async () => {
  const failures: string[] = []
  const committer = new Committer({
    log: logThat(() => {
      committer.add(op(2)) // while it runs: fails with it
      return new CausewayError('storage/full')
    }),
    monotonicMs: () => 0,
    onCommitted: () => {},
    onFailed: ({ code }) => failures.push(code),
  })
  committer.add(op(1))
  await committer.settled()
  expect(failures).toEqual(['storage/full'])
  await committer.settled()
  expect(failures).toEqual(['storage/full'])
})
