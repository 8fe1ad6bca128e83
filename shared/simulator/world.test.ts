import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ExploredChoices, explore, SampledChoices } from './choices.js'
import type { ConnectionId, Input, Machine, Program } from './program.js'
import { Trace } from './trace.js'
import { World, type WorldOptions } from './world.js'

type Step = (input: Input<string>, machine: Machine<string, string>) => void
type TestWorld = World<string, string>

/** A node that runs `start` and then `step`; what it saw is in `seen`, over all its lives. */
function add(
  world: TestWorld,
  name: string,
  step: Step = () => {},
  start: (machine: Machine<string, string>) => void = () => {},
): Input<string>[] {
  const seen: Input<string>[] = []
  world.addNode(name, (machine): Program<string> => {
    start(machine)
    return {
      step(input) {
        seen.push(input)
        step(input, machine)
      },
    }
  })
  return seen
}

const received = (inputs: readonly Input<string>[]): string[] =>
  inputs.flatMap((input) => (input.type === 'received' || input.type === 'posted' ? [input.message] : []))
const kinds = (inputs: readonly Input<string>[]): string[] => inputs.map(({ type }) => type)

const sampled = (seed: number, options: Partial<WorldOptions<string>> = {}): TestWorld =>
  new World({ choices: new SampledChoices(seed), ...options })

/** `a` connects to `b` and sends the words, one a millisecond. */
function talk(world: TestWorld, words: readonly string[]): { a: Input<string>[]; b: Input<string>[] } {
  let connection: ConnectionId
  const rest = [...words]
  const a = add(
    world,
    'a',
    (input, machine) => {
      if (input.type !== 'timer') return
      const word = rest.shift()
      if (word === undefined) return
      machine.send(connection, word)
      machine.setTimer('next', 1)
    },
    (machine) => {
      connection = machine.open('b')
      machine.setTimer('next', 1)
    },
  )
  const b = add(world, 'b')
  world.start('b')
  world.start('a')
  return { a, b }
}

const words = Array.from({ length: 40 }, (_, at) => `w${at}`)
const seeds = fc.integer({ min: 0, max: 2 ** 32 })

describe('connections', () => {
  test('what a connection carries arrives once and in order, whatever blocks it for a while', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 0, max: 30 }), fc.integer({ min: 1, max: 200 }), (seed, from, lasting) => {
        const world = sampled(seed)
        const { b } = talk(world, words)
        world.at(from, () => world.network.block('a', 'b'))
        world.at(from + lasting, () => world.network.unblock('a', 'b'))
        world.runUntil(1_000)
        expect(received(b)).toEqual(words)
      }),
    )
  })

  test('a connection that breaks has delivered a beginning of what was sent, and both ends hear of it', () => {
    const lengths = new Set<number>()
    fc.assert(
      fc.property(seeds, fc.integer({ min: 10, max: 35 }), (seed, atMs) => {
        const world = sampled(seed)
        const { a, b } = talk(world, words)
        world.at(atMs, () => world.network.break('a', 'b'))
        world.runUntil(1_000)
        const arrived = received(b)
        lengths.add(arrived.length)
        expect(arrived).toEqual(words.slice(0, arrived.length))
        expect(arrived.length).toBeLessThan(words.length)
        expect(kinds(a).filter((kind) => kind === 'closed')).toHaveLength(1)
        expect(kinds(b).at(-1)).toBe('closed')
      }),
    )
    expect(lengths.size).toBeGreaterThan(10)
  })

  test('a blocked link lets the other direction pass', () => {
    const world = sampled(1)
    const { a, b } = talk(world, ['hello'])
    world.runUntil(100)
    world.network.block('b', 'a')
    world.runUntil(200)
    expect(kinds(a)).toContain('opened')
    expect(received(b)).toEqual(['hello'])
  })

  test('two connections overtake each other', () => {
    const orders = new Set<string>()
    for (let seed = 0; seed < 50; seed++) {
      const world = sampled(seed)
      const b = add(world, 'b')
      add(world, 'a', undefined, (machine) => {
        for (const word of ['one', 'two']) machine.send(machine.open('b'), word)
      })
      world.start('b')
      world.start('a')
      world.runUntil(100)
      orders.add(received(b).join())
    }
    expect([...orders].sort()).toEqual(['one,two', 'two,one'])
  })

  test('where nobody listens, and where no answer comes, the opener is told so', () => {
    const refused = sampled(1)
    add(refused, 'b')
    const a = add(refused, 'a', undefined, (machine) => machine.open('b'))
    refused.start('a')
    refused.runUntil(1_000)
    expect(kinds(a)).toEqual(['closed'])

    const silent = sampled(1)
    const { a: opener, b } = talk(silent, ['hello'])
    silent.network.block('b', 'a')
    silent.runUntil(10_000)
    expect(kinds(opener).filter((kind) => kind === 'closed')).toHaveLength(1)
    expect(kinds(b).at(-1)).toBe('closed')
  })

  test('the death of a process closes its connections; a power cut is noticed by silence only', () => {
    const closedAt = (death: 'kill' | 'power-cut'): number => {
      const world = sampled(3)
      const { b } = talk(world, words)
      world.runUntil(100)
      world.end('a', death)
      while (!kinds(b).includes('closed')) world.step()
      return world.nowMs - 100
    }
    expect(closedAt('kill')).toBeLessThan(50)
    expect(closedAt('power-cut')).toBeGreaterThan(1_000)
  })

  test('after closing, nothing is received, and what was sent still arrives', () => {
    const world = sampled(1)
    const b = add(world, 'b', (input, machine) => {
      if (input.type === 'received') machine.send(input.connection, 'answer')
    })
    const a = add(world, 'a', undefined, (machine) => {
      const connection = machine.open('b')
      machine.send(connection, 'last words')
      machine.close(connection)
      machine.send(connection, 'too late')
    })
    world.start('b')
    world.start('a')
    world.runUntil(100)
    expect(received(b)).toEqual(['last words'])
    expect(kinds(a)).toEqual([])
  })

  test('posts are lost, doubled and overtaken', () => {
    const world = sampled(5, { links: { postLoss: 0.2, postDuplication: 0.2 } })
    const b = add(world, 'b')
    add(world, 'a', undefined, (machine) => {
      for (const word of words) machine.post('b', word)
    })
    world.start('b')
    world.start('a')
    world.runUntil(100)
    const arrived = received(b)
    expect(new Set(arrived).size).toBeLessThan(words.length)
    expect(arrived.length).toBeGreaterThan(new Set(arrived).size)
    expect(arrived.map((word) => words.indexOf(word))).not.toEqual(
      arrived.map((word) => words.indexOf(word)).sort((x, y) => x - y),
    )
  })
})

describe('disks', () => {
  /** Writes a record and syncs, again and again; says when a record is durable. */
  function writer(world: TestWorld): { durable: string[]; found: string[][] } {
    const durable: string[] = []
    const found: string[][] = []
    let count = 0
    const write = (machine: Machine<string, string>): void => {
      machine.write([`r${count}`, `r${count}'`])
      count++
      machine.sync()
    }
    const step: Step = (input, machine) => {
      if (input.type === 'synced') {
        durable.splice(0, durable.length, ...world.disk('a').copy())
        write(machine)
        write(machine)
      }
    }
    add(world, 'a', step, (machine) => {
      found.push([...machine.read()])
      write(machine)
    })
    world.start('a')
    return { durable, found }
  }

  test('a power cut keeps all that was synced and an even beginning of the rest; death alone keeps everything', () => {
    const losses = new Set<number>()
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 60 }), fc.boolean(), (seed, atMs, power) => {
        const world = sampled(seed)
        const { durable, found } = writer(world)
        world.runUntil(atMs)
        const synced = [...durable]
        const everything = world.disk('a').read()
        world.end('a', power ? 'power-cut' : 'kill')
        world.start('a')
        const after = found[1]!
        expect(after).toEqual(everything.slice(0, after.length))
        expect(after.length).toBeGreaterThanOrEqual(synced.length)
        expect(after.length % 2).toBe(0)
        if (!power) expect(after).toEqual(everything)
        losses.add(everything.length - after.length)
      }),
    )
    expect(losses.size).toBeGreaterThan(2)
  })

  test('a full disk fails every sync under way and drops what was unsynced', () => {
    const world = sampled(1)
    const a = add(world, 'a', undefined, (machine) => {
      machine.write(['one'])
      machine.sync()
      machine.write(['two'])
      machine.sync()
    })
    world.disk('a').trouble = 'full'
    world.start('a')
    world.runUntil(100)
    expect(kinds(a)).toEqual(['sync-failed', 'sync-failed'])
    expect(world.disk('a').read()).toEqual([])
  })

  test('a sync makes durable what was written before it, and no more', () => {
    const world = sampled(1)
    add(world, 'a', undefined, (machine) => {
      machine.write(['one'])
      machine.sync()
      machine.write(['two'])
    })
    world.start('a')
    world.runUntil(100)
    expect(world.disk('a').copy()).toEqual(['one'])
  })

  test('an old copy put back is all that a start finds', () => {
    const world = sampled(1)
    const { found } = writer(world)
    world.runUntil(20)
    const backup = world.disk('a').copy()
    world.runUntil(40)
    world.end('a', 'kill')
    world.disk('a').replace(backup)
    world.start('a')
    expect(found[1]).toEqual(backup)
  })
})

describe('processes', () => {
  test('a paused process gets later, in order, what came meanwhile', () => {
    const world = sampled(1)
    const { b } = talk(world, words)
    world.runUntil(15)
    const before = received(b).length
    world.pause('b')
    world.runUntil(500)
    expect(received(b)).toHaveLength(before)
    world.resume('b')
    expect(received(b)).toEqual(words)
  })

  test('each start has its own entropy; timers and inputs of an earlier life are gone', () => {
    const world = sampled(1)
    const drawn: string[] = []
    const a = add(world, 'a', undefined, (machine) => {
      drawn.push(machine.entropy.hex(16))
      if (drawn.length === 1) machine.setTimer('late', 50)
    })
    world.start('a')
    world.end('a', 'kill')
    world.start('a')
    world.runUntil(200)
    expect(new Set(drawn).size).toBe(2)
    expect(a).toEqual([])
  })

  test('a timer of the same name replaces the one that runs', () => {
    const world = sampled(1)
    const a = add(world, 'a', undefined, (machine) => {
      machine.setTimer('tick', 10)
      machine.setTimer('tick', 30)
      machine.setTimer('tock', 10)
      machine.clearTimer('tock')
    })
    world.start('a')
    world.runUntil(29)
    expect(a).toEqual([])
    world.runUntil(30)
    expect(kinds(a)).toEqual(['timer'])
  })

  test('a process can die at each of its operations, and does nothing after it', () => {
    const done: string[][] = []
    for (let operation = 1; operation <= 4; operation++) {
      const world = sampled(1)
      const did: string[] = []
      add(world, 'a', undefined, (machine) => {
        machine.write(['x'])
        did.push('written')
        machine.sync()
        did.push('sync begun')
        machine.setTimer('t', 1)
        did.push('timer set')
      })
      world.endAtOperation('a', operation, 'power-cut')
      world.start('a')
      done.push(did)
      expect(world.isRunning('a')).toBe(operation === 4)
    }
    expect(done.map(({ length }) => length)).toEqual([0, 1, 2, 3])
  })

  test('wall clocks are skewed per node and the monotonic one is not', () => {
    const world = sampled(1, { epochMs: 1_000_000 })
    const readings: number[] = []
    const read = (machine: Machine<string, string>): void => {
      readings.push(machine.wallMs(), machine.monotonicMs())
    }
    add(world, 'a', undefined, read)
    add(world, 'b', undefined, read)
    world.skewClock('b', -3_600_000)
    world.runUntil(7)
    world.start('a')
    world.start('b')
    expect(readings).toEqual([1_000_007, 7, 1_000_007 - 3_600_000, 7])
  })
})

describe('determinism', () => {
  const play = (seed: number): Trace => {
    const trace = new Trace(1_000)
    const world = sampled(seed, { trace, describe: (message) => message })
    talk(world, words)
    world.at(20, () => world.network.break('a', 'b'))
    world.runUntil(1_000)
    return trace
  }

  test('one seed, one trace', () => {
    expect(play(8117).lines).toEqual(play(8117).lines)
    expect(play(8117).digest).toBe(play(8117).digest)
    expect(new Set([1, 2, 3, 4, 5].map((seed) => play(seed).digest)).size).toBe(5)
  })

  test('a trace is text, a line per event, and keeps the latest lines', () => {
    expect(play(3).lines.slice(0, 3)).toMatchInlineSnapshot(`
      [
        "     0 b start",
        "     0 a start",
        "     1 a timer next",
      ]
    `)
    const short = new Trace(10)
    for (let at = 0; at < 100; at++) short.add(at, 'a', 'tick', 0)
    expect(short.lines.length).toBeLessThanOrEqual(10)
    expect(short.lines.at(-1)).toBe('    99 a tick')
  })
})

describe('exploring', () => {
  /** Three nodes send one message each to `z`, all equally fast. */
  const race = (choices: ExploredChoices): string => {
    const world: TestWorld = new World({ choices, links: { latencyMs: [5, 5], postLoss: 0, postDuplication: 0 } })
    const z = add(world, 'z')
    world.start('z')
    for (const name of ['a', 'b', 'c']) {
      add(world, name, undefined, (machine) => machine.post('z', name))
      world.start(name)
    }
    world.runUntil(100)
    return received(z).join('')
  }

  test('every order of what happens at one instant is tried exactly once', () => {
    const orders: string[] = []
    expect(explore((choices) => orders.push(race(choices)), 100)).toEqual({ runs: 6, isComplete: true })
    expect(orders.sort()).toEqual(['abc', 'acb', 'bac', 'bca', 'cab', 'cba'])
  })

  test('a path replays its run', () => {
    explore((choices) => {
      const order = race(choices)
      expect(race(new ExploredChoices(choices.path))).toBe(order)
    }, 100)
  })

  test('quantities are tried at their ends, chances both ways, certainties not at all', () => {
    const answers: unknown[] = []
    explore(
      (choices) =>
        answers.push([
          choices.between(3, 9),
          choices.chance(0.01),
          choices.chance(0),
          choices.chance(1),
          choices.between(4, 4),
        ]),
      100,
    )
    expect(answers).toEqual([
      [3, false, false, true, 4],
      [3, true, false, true, 4],
      [9, false, false, true, 4],
      [9, true, false, true, 4],
    ])
  })

  test('a bound on runs is kept, and what a run throws names its path', () => {
    expect(explore(race, 4)).toEqual({ runs: 4, isComplete: false })
    const failing = (choices: ExploredChoices): void => expect(race(choices)).not.toBe('bac')
    expect(() => explore(failing, 100)).toThrow(/^on path 1/)
  })

  test('a run that is no function of its choices is found out', () => {
    let runs = 0
    expect(() => {
      explore((choices) => choices.among(2 + runs++), 100)
    }).toThrow('function of its choices')
  })
})
