/**
 * Every decision that a simulated world leaves open is asked for at a choice point, so that one and the same world can
 * be *sampled* (a seed decides) or *explored* (every combination of small decisions is tried, as a depth-first walk over
 * the tree of choices). A run is a function of the answers: the seed, or the path, replays it.
 */
import { assert } from '../base/assert.js'
import { Random } from '../base/random.js'

export interface Choices {
  /** A decision between `count` ways to go on: 0 up to, not including, `count`. */
  among(count: number): number
  /** A decision that falls on yes this often; 0 and 1 leave none. */
  chance(probability: number): boolean
  /** A quantity, such as a latency. Exploring tries only the ends: what lies between changes numbers, not orders. */
  between(least: number, most: number): number
  /** A seed for randomness inside a process. Never a decision: no two are equal, and exploring does not vary them. */
  entropy(): number
}

/** Answers from a seed. */
export class SampledChoices implements Choices {
  private readonly random: Random

  constructor(seed: number) {
    this.random = new Random(seed)
  }

  among(count: number): number {
    return count === 1 ? 0 : this.random.below(count)
  }

  chance(probability: number): boolean {
    return probability >= 1 || (probability > 0 && this.random.chance(probability))
  }

  between(least: number, most: number): number {
    return least === most ? least : this.random.between(least, most)
  }

  entropy(): number {
    return this.random.between(0, 2 ** 32 - 1)
  }
}

interface Turn {
  taken: number
  /** Unknown where the path was read from text: it is trusted to fit. */
  readonly ways: number | undefined
}

/** Answers along one path of the tree of choices; where the path ends, always the first way. */
export class ExploredChoices implements Choices {
  private readonly turns: Turn[]
  private position = 0
  private entropyCount = 0

  /** `path` as an earlier exploration gave it: the run of that path again. It must be the same world. */
  constructor(path: string | readonly Turn[] = []) {
    this.turns =
      typeof path !== 'string'
        ? [...path]
        : path.split('.').flatMap((taken) => (taken === '' ? [] : [{ taken: Number(taken), ways: undefined }]))
  }

  among(count: number): number {
    assert(count >= 1, 'a choice needs a way to go')
    if (count === 1) return 0
    const known = this.turns[this.position++]
    if (known) {
      const fits = known.ways === undefined ? known.taken < count : known.ways === count
      assert(fits, 'a run must be a function of its choices: another number of ways on the same path')
      return known.taken
    }
    this.turns.push({ taken: 0, ways: count })
    return 0
  }

  chance(probability: number): boolean {
    if (probability <= 0) return false
    return probability >= 1 || this.among(2) === 1
  }

  between(least: number, most: number): number {
    return least === most || this.among(2) === 0 ? least : most
  }

  entropy(): number {
    return ++this.entropyCount
  }

  /** The turns taken, as `2.0.1`. */
  get path(): string {
    return this.turns.map(({ taken }) => taken).join('.')
  }

  /** The next path in depth-first order; none after the last one. To be asked once the run is over. */
  next(): ExploredChoices | undefined {
    const turns = this.turns.slice(0, this.position).map((turn) => ({ ...turn }))
    for (let last = turns.at(-1); last; last = turns.at(-1)) {
      assert(last.ways !== undefined, 'a path read from text has no successor')
      if (++last.taken < last.ways) return new ExploredChoices(turns)
      turns.pop()
    }
    return undefined
  }
}

export interface Exploration {
  readonly runs: number
  /** Whether every combination was tried. */
  readonly isComplete: boolean
}

/** Runs the world along all paths, depth first, `mostRuns` at most. What a run throws is thrown on, with its path. */
export function explore(run: (choices: ExploredChoices) => void, mostRuns: number): Exploration {
  let runs = 0
  for (let choices: ExploredChoices | undefined = new ExploredChoices(); choices; choices = choices.next()) {
    if (runs === mostRuns) return { runs, isComplete: false }
    runs++
    try {
      run(choices)
    } catch (error) {
      throw new Error(`on path ${choices.path}: ${error instanceof Error ? error.message : error}`, { cause: error })
    }
  }
  return { runs, isComplete: true }
}
