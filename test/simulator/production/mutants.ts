/**
 * Ways in which the production cell can be built wrong, one a name, and which invariants must notice. Those of the cores
 * are patches of their objects: the code under test stays as it is.
 */
import type { Member } from '../../../server/replica/member.js'
import type { Recovery } from '../../../server/replica/recovery.js'
import type { Replica, Source } from '../../../server/replica/replica.js'
import type { VersionVector } from '../../../shared/clock/version-vector.js'
import type { CheckedInvariant } from '../check-history.js'

export const MUTANTS = {
  /** Keeps its incarnation over a restart. */
  'reuse-incarnation': ['I1'],
  /** Delivers an op without looking at what it depends on. */
  'skip-deps': ['I2'],
  /** An op does not depend on what other replicas' ops on their way to the disk have brought. */
  'deps-without-in-flight': ['I2'],
  /** After a restart, its line goes on above what the disk holds. */
  'opens-above-its-disk': ['I2'],
  /** Ops are pushed to peers when they are accepted. */
  'push-before-commit': ['I3'],
  /** Calls durable what was only written. */
  'skip-fsync': ['I3'],
  /** Acknowledged writes do not enter the token. */
  'token-forgets-writes': ['I5', 'I21'],
  /** What was read does not enter the token. */
  'token-forgets-reads': ['I6', 'I21'],
  /** Writes are accepted wherever they arrive, whatever their session has seen. */
  'writes-ignore-token': ['I7', 'I8', 'I9', 'I19', 'I21'],
  /** Reads are served wherever they arrive. */
  'reads-ignore-token': ['I5', 'I6', 'I9', 'I21'],
  /** A write is called saved when the first replica has it. */
  'majority-at-local': ['I12'],
  /** Nobody asks for what is missing. */
  'never-pull': ['I13', 'I11'],
  /** Takes for a majority what one replica has. */
  'majority-of-one': ['I17'],
  /** Cuts the log wherever it gets long. */
  'prune-above-cut': ['I18'],
  /** State transfer puts the other's state in the place of its own. */
  'join-by-replacement': ['I18'],
  /** State transfer keeps the surplus in the log and forgets it in documents. */
  'join-forgets-surplus': ['I18', 'I4', 'I11'],
  /** After a failed commit documents still count what it would have brought. */
  'keep-failed-updates': ['I19', 'I4', 'I12', 'I11', 'I13'],
  /** Fresh reads ask nobody. */
  'fresh-alone': ['I20'],
  /** A member that lacks what it once claimed, or everything, serves and counts. */
  'serve-while-recovering': ['I20', 'I12'],
  /** A member counts in fresh reads as soon as it has started. */
  'count-too-soon': ['I20'],
  /** An empty disk is filled from one member. */
  'level-with-one': ['I20', 'I12', 'I18'],
  /** Vectors leave out what openings imply, also for those who have not seen them. */
  'fold-for-everybody': ['I11', 'I13', 'I18'],
} as const satisfies Record<string, readonly CheckedInvariant[]>

export type Mutant = keyof typeof MUTANTS

export function mutateMember(member: Member, mutant: Mutant): void {
  switch (mutant) {
    case 'skip-deps': {
      const causal = member['causal']
      const lineages = Object.create(causal['lineages'])
      lineages.dominates = () => true
      Object.assign(causal, { lineages })
      break
    }
    case 'never-pull':
      Object.assign(member['catchUp'], { pullIfBehind: () => {}, unblock: () => {} })
      break
    case 'majority-of-one':
      Object.defineProperty(member['cut'], 'announced', {
        get: () => member['peersDurable'],
        set: () => {},
      })
      break
    case 'serve-while-recovering':
      onRecovery(member, (recovery) => {
        Object.defineProperty(recovery, 'isRecovering', { get: () => false, set: () => {} })
        Object.assign(recovery, { isConfirmed: true })
      })
      break
    case 'count-too-soon':
      onRecovery(member, (recovery) => Object.assign(recovery, { isConfirmed: true }))
      break
    case 'level-with-one':
      onRecovery(member, (recovery) => Object.defineProperty(recovery, 'enough', { get: () => 1 }))
      break
    case 'fold-for-everybody':
      Object.assign(member.lineages, { spellOut: (vector: VersionVector) => vector })
      break
    default:
  }
}

/** Changes what decides who may serve, once it is there. */
function onRecovery(member: Member, change: (recovery: Recovery) => void): void {
  let recovery: Recovery | undefined
  Object.defineProperty(member, 'recovery', {
    get: () => recovery,
    set(next: Recovery) {
      recovery = next
      change(next)
    },
  })
}

export function mutateReplica<S extends Source>(replica: Replica<S>, mutant: Mutant): void {
  switch (mutant) {
    case 'deps-without-in-flight':
      Object.defineProperty(replica, 'acceptedOthers', { get: () => replica['others'], set: () => {} })
      break
    case 'keep-failed-updates': {
      const load: (loaded: { name: string }, ...rest: unknown[]) => void = replica['load'].bind(replica)
      Object.assign(replica, {
        load(...args: Parameters<typeof load>) {
          load(...args)
          Object.assign(replica.document(args[0].name)!, { rollBack: () => {} })
        },
      })
      break
    }
    default:
  }
}
