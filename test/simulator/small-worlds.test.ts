/**
 * Small configurations, tried completely instead of sampled: a process that dies at each of its operations, and all ways
 * in which some links are slow.
 */
import { expect, test } from 'vitest'
import { explore, SampledChoices } from '../../shared/simulator/choices.js'
import type { Death, World } from '../../shared/simulator/world.js'
import { checkHistory } from './check-history.js'
import type { Request } from './history.js'
import type { Violation } from './observed.js'
import type { Message, Stored } from './reference/messages.js'
import type { Mutant } from './reference/mutants.js'
import { referenceCell } from './reference/reference-cell.js'
import { Stage } from './stage.js'

const MEMBERS = ['a', 'b', 'c']

const write = (id: number, document: string): Request => {
  return {
    type: 'write',
    id,
    documents: [document],
    registers: [`${document}#k`],
    concern: id % 2 ? 'majority' : 'local',
  }
}
const read = (...documents: string[]): Request => ({ type: 'read', documents, level: 'session' })

/** A few calls of two clients, 40 ms apart; then whoever is dead starts again, and all comes to rest. */
function play(
  mutant: Mutant | undefined,
  prepare: (world: World<Message, Stored>) => void,
): { readonly violations: Violation[]; readonly operationsOfA: number } {
  const cell = referenceCell(mutant)
  const stage = new Stage(cell, { choices: new SampledChoices(7), members: MEMBERS })
  const { world } = stage
  for (const client of ['s', 't']) stage.addClient(client)
  prepare(world)
  const calls: [string, Request][] = [
    ['s', write(1, 'x')],
    ['t', read('x')],
    ['t', write(2, 'y')],
    ['s', write(3, 'x')],
    ['s', read('y', 'x')],
    ['t', read('y', 'x')],
  ]
  for (const [at, [client, request]] of calls.entries()) {
    world.at(60 + 40 * at, () => stage.submit(client, request, 1_000))
    // Clients go on at other replicas in between.
    for (const member of MEMBERS) world.at(80 + 40 * at, () => world.network.break(client, member))
  }
  const dead = (): readonly string[] => MEMBERS.filter((name) => !world.isRunning(name))
  for (let atMs = 150; atMs <= 6_000; atMs += 150) {
    world.runUntil(atMs)
    for (const name of dead()) world.start(name)
    if (atMs > 450 && stage.isQuiet) break
  }
  stage.settle()
  return { violations: checkHistory(stage.history), operationsOfA: world.operationsOf('a') }
}

/** The replica dies at its n-th operation, for each n that a run of its has. */
function dieEverywhere(mutant: Mutant | undefined, death: Death): Violation[] {
  const { operationsOfA } = play(mutant, () => {})
  expect(operationsOfA).toBeGreaterThan(40)
  for (let count = 1; count <= operationsOfA; count++) {
    const { violations } = play(mutant, (world) => world.endAtOperation('a', count, death))
    if (violations.length > 0) return violations
  }
  return []
}

test.each(['kill', 'power-cut'] as const)('a replica may die at each of its operations: %s', (death) => {
  expect(dieEverywhere(undefined, death)).toEqual([])
})

test('dying at each operation finds a commit that is not synced', () => {
  expect(dieEverywhere('skip-fsync', 'power-cut')).not.toEqual([])
})

/** Each link between replicas is fast or slow: all combinations. */
function slowEverywhere(mutant: Mutant | undefined): { readonly found: Violation[]; readonly runs: number } {
  const found: Violation[] = []
  const { runs, isComplete } = explore((choices) => {
    const { violations } = play(mutant, (world) => {
      for (const from of MEMBERS) {
        for (const to of MEMBERS) {
          if (from === to) continue
          const latencyMs = choices.between(2, 90)
          world.network.tune(from, to, { latencyMs: [latencyMs, latencyMs] })
        }
      }
    })
    found.push(...violations)
  }, 1_000)
  expect(isComplete).toBe(true)
  return { found, runs }
}

test('no choice of slow links breaks an invariant', () => {
  expect(slowEverywhere(undefined)).toEqual({ found: [], runs: 64 })
})

test.each(['skip-deps', 'reads-ignore-token'] as const)('some choice of slow links finds %s', (mutant) => {
  expect(slowEverywhere(mutant).found).not.toEqual([])
})
