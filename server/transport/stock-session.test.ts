import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ErrorCodeName } from '../../shared/errors/codes.js'
import { CausewayError } from '../../shared/errors/error.js'
import { type StockEffect, StockSession } from './stock-session.js'

const STORED = { leftover: false }
const LEFTOVER = { leftover: true }
const GAP = new CausewayError('document/gap')
const FULL = new CausewayError('storage/full')
const BAD = new CausewayError('document/bad-update')

/** `+2`: two acknowledgements, `-1`: a refusal, `?`: a step1, `echo`, `close`. */
function show(effects: readonly StockEffect[]): string {
  return effects
    .map((effect) => {
      switch (effect.type) {
        case 'acknowledge':
          return `+${effect.times}`
        case 'refuse':
          return `-${effect.times}`
        case 'ask':
          return '?'
        default:
          return effect.type
      }
    })
    .join(' ')
}

function connected(): StockSession {
  const session = new StockSession()
  session.opened()
  return session
}

test('the step2 of a connect and each update bring one acknowledgement', () => {
  const session = connected()
  const [step2, first, second] = [session.received('step2'), session.received('update'), session.received('update')]
  expect(show(session.acknowledged(step2, STORED))).toBe('+1')
  expect(show(session.acknowledged(first, STORED))).toBe('+1')
  expect(show(session.acknowledged(second, STORED))).toBe('+1')
  expect(session.inFlight).toBe(0)
})

test('an acknowledgement never overtakes an earlier request', () => {
  const session = connected()
  const [a, b, c] = [session.received('step2'), session.received('update'), session.received('update')]
  expect(show(session.acknowledged(c, STORED))).toBe('')
  expect(show(session.refused(b, BAD))).toBe('')
  expect(show(session.acknowledged(a, STORED))).toBe('+1 -1 +1')
})

test('what changed nothing is echoed to its sender, a step2 is not', () => {
  const session = connected()
  const echo = Uint8Array.of(0, 0)
  expect(show(session.acknowledged(session.received('step2'), { leftover: false, echo }))).toBe('+1')
  expect(show(session.acknowledged(session.received('update'), { leftover: false, echo }))).toBe('echo +1')
})

test('a gap is asked about once; the answer brings as many acknowledgements as updates were left unanswered', () => {
  const session = connected()
  session.acknowledged(session.received('step2'), STORED)
  expect(show(session.refused(session.received('update'), GAP))).toBe('?')
  expect(show(session.refused(session.received('update'), GAP))).toBe('')
  const answer = session.received('step2')
  expect(show(session.acknowledged(answer, STORED))).toBe('+2')
})

test('what an answer leaves over withholds no acknowledgement and is not asked about again', () => {
  const session = connected()
  expect(show(session.acknowledged(session.received('step2'), LEFTOVER))).toBe('?')
  expect(show(session.acknowledged(session.received('step2'), LEFTOVER))).toBe('+1')
  expect(show(session.acknowledged(session.received('update'), STORED))).toBe('+1')
})

test('a new gap after a closed one is asked about again', () => {
  const session = connected()
  session.acknowledged(session.received('step2'), STORED)
  session.refused(session.received('update'), GAP)
  session.acknowledged(session.received('step2'), STORED)
  expect(show(session.refused(session.received('update'), GAP))).toBe('?')
  expect(show(session.acknowledged(session.received('step2'), STORED))).toBe('+1')
})

test('a gap before the first step2 needs no question: that step2 was sent later and covers it', () => {
  const session = connected()
  expect(show(session.refused(session.received('update'), GAP))).toBe('')
  expect(show(session.acknowledged(session.received('step2'), STORED))).toBe('+2')
})

test('a gap found late is covered by a step2 that arrived in the meantime', () => {
  const session = connected()
  const update = session.received('update')
  const step2 = session.received('step2')
  expect(show(session.refused(update, GAP))).toBe('')
  expect(show(session.acknowledged(step2, STORED))).toBe('+2')

  const later = connected()
  const lateUpdate = later.received('update')
  const storedStep2 = later.received('step2')
  expect(show(later.acknowledged(storedStep2, STORED))).toBe('')
  expect(show(later.refused(lateUpdate, GAP))).toBe('+1 +1')
})

test('a step2 that was not stored covers nothing', () => {
  const session = connected()
  session.acknowledged(session.received('step2'), STORED)
  const update = session.received('update')
  const step2 = session.received('step2')
  expect(show(session.refused(step2, FULL))).toBe('')
  expect(show(session.refused(update, GAP))).toBe('?')
  expect(show(session.acknowledged(session.received('step2'), STORED))).toBe('+2')
})

test('a full disk withholds acknowledgements without a question until writes work again', () => {
  const session = connected()
  session.acknowledged(session.received('step2'), STORED)
  expect(show(session.refused(session.received('update'), FULL))).toBe('')
  expect(show(session.refused(session.received('update'), FULL))).toBe('')
  expect(show(session.resync())).toBe('?')
  expect(show(session.resync())).toBe('')
  const answer = session.received('step2')
  expect(show(session.refused(answer, FULL))).toBe('')
  expect(show(session.resync())).toBe('?')
  expect(show(session.acknowledged(session.received('step2'), STORED))).toBe('+2')
})

test('an answer that owes nothing brings no acknowledgement', () => {
  const session = connected()
  session.acknowledged(session.received('step2'), STORED)
  session.resync()
  expect(show(session.acknowledged(session.received('step2'), STORED))).toBe('')
})

test('[DU3] content that differs in an answer loses the document, since there is nothing left to withhold', () => {
  const differs = new CausewayError('document/equivocation')
  const session = connected()
  expect(show(session.acknowledged(session.received('step2'), STORED))).toBe('+1')
  expect(show(session.asksAgain())).toBe('?')
  expect(show(session.refused(session.received('step2'), differs))).toBe('lose')
  expect(show(session.refused(session.received('update'), differs))).toBe('-1')
})

test('a step2 for the session before this one at the same address is not counted', () => {
  const session = connected()
  const next = new StockSession(session.unansweredQuestions)
  next.opened()
  expect(show(next.acknowledged(next.received('step2'), STORED))).toBe('+1')
  expect(show(next.acknowledged(next.received('step2'), STORED))).toBe('')
  expect(show(next.acknowledged(next.received('step2'), STORED))).toBe('+1')
})

test.each<[ErrorCodeName, string]>([
  ['document/bad-update', '-1'],
  ['document/equivocation', '-1'],
  ['document/too-large', '-1'],
  ['access/forbidden', '-1'],
  ['document/busy', 'close'],
  ['storage/failed', 'close'],
  ['internal/failure', 'close'],
  ['cell/draining', 'close'],
])('an update refused with %s: %s', (code, expected) => {
  const session = connected()
  expect(show(session.refused(session.received('update'), new CausewayError(code)))).toBe(expected)
})

test('what is answered twice is a mistake of ours', () => {
  const session = connected()
  const update = session.received('update')
  session.acknowledged(update, STORED)
  expect(() => session.acknowledged(update, STORED)).toThrow('answered once')
  expect(() => session.acknowledged(update + 1, STORED)).toThrow('answered once')
})

/**
 * A stock client and a document around the session: the client counts as providers do, the network is two FIFOs, the
 * document answers in any order. `edits` are numbered; a step2 carries every edit that the client has made.
 */
class World {
  readonly session = connected()
  unsynced = 1
  edits = 0
  pendingStep2 = 0
  readonly stored = new Set<number>()
  readonly toServer: ({ kind: 'update'; edit: number } | { kind: 'step2'; edits: number })[] = []
  readonly toClient: ('step1' | number)[] = ['step1']
  readonly open = new Map<number, { kind: 'update'; edit: number } | { kind: 'step2'; edits: number }>()
  owesResync = false

  edit(): void {
    this.toServer.push({ kind: 'update', edit: ++this.edits })
    this.unsynced++
  }

  clientReads(): void {
    const message = this.toClient.shift()
    if (message === 'step1') this.toServer.push({ kind: 'step2', edits: this.edits })
    else if (message !== undefined) {
      this.unsynced -= message
      expect(this.unsynced, 'no acknowledgement too many').toBeGreaterThanOrEqual(0)
      if (this.unsynced > 0) return
      for (let edit = 1; edit <= this.edits; edit++) expect(this.stored, 'saved means stored').toContain(edit)
    }
  }

  serverReads(): void {
    const message = this.toServer.shift()
    if (message) this.open.set(this.session.received(message.kind), message)
  }

  documentAnswers(which: number, how: 'stored' | 'gap' | 'full' | 'leftover'): void {
    const [number, message] = [...this.open][which % Math.max(1, this.open.size)] ?? []
    if (number === undefined || message === undefined) return
    this.open.delete(number)
    if (how === 'full') {
      this.owesResync = true
      this.perform(this.session.refused(number, FULL))
    } else if (message.kind === 'update') {
      if (how !== 'gap') this.stored.add(message.edit)
      this.perform(how === 'gap' ? this.session.refused(number, GAP) : this.session.acknowledged(number, STORED))
    } else {
      for (let edit = 1; edit <= message.edits; edit++) this.stored.add(edit)
      this.perform(this.session.acknowledged(number, how === 'leftover' ? LEFTOVER : STORED))
    }
  }

  resync(): void {
    if (!this.owesResync) return
    this.owesResync = false
    this.perform(this.session.resync())
  }

  private perform(effects: readonly StockEffect[]): void {
    for (const effect of effects) {
      if (effect.type === 'ask') this.toClient.push('step1')
      else if (effect.type === 'acknowledge') this.toClient.push(effect.times)
    }
  }

  settle(): void {
    for (let round = 0; round < 50; round++) {
      while (this.toServer.length > 0) this.serverReads()
      while (this.open.size > 0) this.documentAnswers(0, 'stored')
      this.resync()
      while (this.toClient.length > 0) this.clientReads()
    }
  }
}

const step = fc.oneof(
  fc.constant((world: World) => world.edit()),
  fc.constant((world: World) => world.clientReads()),
  fc.constant((world: World) => world.serverReads()),
  fc.constant((world: World) => world.resync()),
  fc
    .record({ which: fc.nat(9), how: fc.constantFrom('stored', 'stored', 'gap', 'full', 'leftover') })
    .map(({ which, how }) => Object.assign((world: World) => world.documentAnswers(which, how as 'stored'), { how })),
)

test('whatever happens, "saved" is never shown early, and always in the end', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const world = new World()
      for (const run of steps) run(world)
      world.settle()
      expect(world.unsynced).toBe(0)
      expect(world.session.inFlight).toBe(0)
    }),
    { numRuns: 2000 },
  )
})

test('[SEC] a client that answers no step1 is sent a bounded number of them', () => {
  const session = new StockSession()
  let sent = 0
  for (let n = 0; n < 1000; n++) if (session.opened()) sent++
  expect(sent).toBe(100)
  session.received('step2')
  expect(session.opened()).toBe(true)
})

test('thousands of requests may wait, and be answered in any order', () => {
  const session = connected()
  const numbers = Array.from({ length: 5000 }, () => session.received('update'))
  let acknowledged = 0
  for (const number of numbers.toReversed()) {
    for (const effect of session.acknowledged(number, STORED)) if (effect.type === 'acknowledge') acknowledged++
  }
  expect(acknowledged).toBe(5000)
  for (let n = 0; n < 5000; n++) session.acknowledged(session.received('update'), STORED)
  expect(session.inFlight).toBe(0)
})
