/**
 * Histories as text, for tests that people read: a line per event, a milliseconds each unless the line begins with `@ms`.
 * Origins are written `a`, `a'`, `a''` for the first, second and third life of replica a; `coord` is the coordination log.
 *
 *     s > w1 x y x#k            session s writes write 1 to documents x and y and sets register x#k (`majority` to wait)
 *     s < w1 / a:1              answered, on the cut a:1; `/ a:1 / b:1` if the token sent was b:1
 *     s ! w1                    refused             s ? w1    unknown             s + w1    saved
 *     s > r1 x y fresh          reads               s < r1 x=1,2 y= x#k=1 / a:1
 *     s > c1 key                claims (`d1`: reads the claim); s < c1 owner a:1 / b:1   owner and past, then the cut
 *     s ~ degraded 1,2          s gone              s settled 0     marked; writes 1 and 2 were made again
 *     a start a' / a:3          begins a life on what its disk has
 *     a accept a':4 open a:3 / a:3      an open record; `open` alone on an empty disk
 *     a accept a:1 w1 x y / b:1         deps after the slash; the chain value is the dot unless `#text` gives another
 *     a withdraw a:1            a durable / a:1     b taken a:1   b rewound
 *     b deliver a:1             a send b a:1     a serve x=1 / a:1     a ack w1 local / a:1
 *     b install 1,2 / a:2       a truncate a:1      b need a a:3     a cut / a:1           a members a b c
 *     a coordinate coord:1 e1   a propose key / a:1 a pending x 1 0  a print x digest fingerprint
 *     a settled 1,2 0 / a:2     held and waiting    a crash          a disk lost  a recovered  world healed
 */
import { type Dot, makeOrigin, type OriginId } from '../../shared/clock/dot.js'
import type { VersionVector } from '../../shared/clock/version-vector.js'
import type { Contents, History, HistoryEvent, Level } from './history.js'

type Body<Event> = Event extends unknown ? Omit<Event, 'atMs' | 'by'> : never

/** A history of members a, b and c. */
export function historyOf(text: string): History {
  const events: HistoryEvent[] = []
  let atMs = 0
  for (const line of text.split('\n')) {
    const words = line.trim().split(/\s+/)
    if (words[0] === '' || words[0]!.startsWith('--')) continue
    if (words[0]!.startsWith('@')) atMs = Number(words.shift()!.slice(1))
    else atMs++
    const [by, ...rest] = words
    events.push({ atMs, by: by!, ...bodyOf(rest, line) } as HistoryEvent)
  }
  return { members: ['a', 'b', 'c'], events }
}

function bodyOf(words: readonly string[], line: string): Body<HistoryEvent> {
  const parts = split(words)
  const [verb, first = '', ...rest] = parts[0]!
  const clock = vectorOf(parts[1] ?? [])
  switch (verb) {
    case '>':
      return { type: 'invoke', call: callOf(first), request: requestOf(first, rest), ...deadlineOf(rest) }
    case '<':
      return okOf(first, rest, clock, vectorOf(parts[2] ?? []), parts[3] && vectorOf(parts[3]))
    case '!':
      return { type: 'refused', call: callOf(first), code: 'some/code' }
    case '?':
      return { type: 'unknown', call: callOf(first) }
    case '+':
      return { type: 'saved', id: callOf(first) }
    case '~':
      return { type: 'marked', mark: first as 'degraded', ...(rest[0] && { remade: idsOf(rest[0]) }) }
    case 'gone':
    case 'crash':
    case 'healed':
    case 'recovered':
    case 'rewound':
      return { type: verb }
    case 'start':
      return { type: 'start', origin: originOf(first), clock }
    case 'accept':
      return acceptOf(first, rest, clock)
    case 'taken':
    case 'withdraw':
      return { type: verb, dot: dotOf(first) }
    case 'durable':
      return { type: 'durable', clock }
    case 'deliver':
      return { type: 'deliver', dot: dotOf(first), chain: rest[0] ?? first }
    case 'send':
      return { type: 'send', to: first, dot: dotOf(rest[0]!) }
    case 'serve':
      return { type: 'serve', contents: contentsOf([first, ...rest]), clock }
    case 'ack':
      return { type: 'acknowledge', id: callOf(first), concern: rest[0] as 'local', clock }
    case 'install':
      return { type: 'install', held: idsOf(first), clock }
    case 'truncate':
      return { type: 'truncate', ...dotOf(first) }
    case 'need': {
      const { origin, seq } = dotOf(rest[0]!)
      return { type: 'need', peer: first, origin, from: seq }
    }
    case 'cut':
      return { type: 'majority-cut', cut: clock }
    case 'members':
      return { type: 'members', members: [first, ...rest] }
    case 'coordinate': {
      const { origin, seq } = dotOf(first)
      return { type: 'coordinate', origin, index: seq, entry: rest[0]! }
    }
    case 'propose':
      return { type: 'propose', key: first, deps: clock }
    case 'pending':
      return { type: 'pending', document: first, structs: Number(rest[0]), deletes: Number(rest[1]) }
    case 'print':
      return { type: 'fingerprint', document: first, digest: rest[0]!, fingerprint: rest[1]! }
    case 'disk':
      return { type: 'disk', fault: first as 'lost' }
    case 'settled':
      return parts[1]
        ? { type: 'replica-settled', held: idsOf(first), waiting: Number(rest[0]), clock }
        : { type: 'client-settled', outbox: Number(first) }
    default:
      throw new Error(`no such event: ${line}`)
  }
}

function okOf(
  name: string,
  words: readonly string[],
  cut: VersionVector,
  sent: VersionVector,
  token: VersionVector | undefined,
): Body<HistoryEvent> {
  const stands = { cut, sent, token: token ?? joined(cut, sent) }
  const call = callOf(name)
  if (name.startsWith('w')) return { type: 'ok', call, response: { type: 'written' }, ...stands }
  if (name.startsWith('r')) {
    return { type: 'ok', call, response: { type: 'read', contents: contentsOf(words) }, ...stands }
  }
  const [owner, ...past] = words
  return { type: 'ok', call, response: { type: 'claim', owner, deps: owner ? vectorOf(past) : undefined }, ...stands }
}

function requestOf(name: string, words: readonly string[]): Extract<HistoryEvent, { type: 'invoke' }>['request'] {
  const named = words.filter((word) => !/^(majority|eventual|fresh|within\d+)$/.test(word))
  if (name.startsWith('w')) {
    return {
      type: 'write',
      id: callOf(name),
      documents: named.filter((word) => !word.includes('#')),
      registers: named.filter((word) => word.includes('#')),
      concern: words.includes('majority') ? 'majority' : 'local',
    }
  }
  if (name.startsWith('c')) return { type: 'claim', key: named[0]! }
  if (name.startsWith('d')) return { type: 'read-claim', key: named[0]! }
  const level = words.find((word) => /^(majority|eventual|fresh)$/.test(word)) ?? 'session'
  return { type: 'read', documents: named, level: level as Level }
}

function deadlineOf(words: readonly string[]): { deadlineMs?: number } {
  const word = words.find((one) => one.startsWith('within'))
  return word ? { deadlineMs: Number(word.slice('within'.length)) } : {}
}

function acceptOf(name: string, words: readonly string[], deps: VersionVector): Body<HistoryEvent> {
  const dot = dotOf(name)
  const chain = words.find((word) => word.startsWith('#')) ?? name
  if (words[0] === 'open') {
    const predecessor = words[1] ? dotOf(words[1]) : undefined
    return { type: 'accept', dot, opens: { predecessor }, deps, chain, documents: [] }
  }
  const documents = words.slice(1).filter((word) => !word.startsWith('#'))
  return { type: 'accept', dot, deps, chain, id: callOf(words[0]!), documents }
}

function contentsOf(words: readonly string[]): Contents {
  const pairs = words.filter((word) => word.includes('=')).map((word) => word.split('=') as [string, string])
  return {
    writes: new Map(pairs.filter(([name]) => !name.includes('#')).map(([name, ids]) => [name, idsOf(ids)])),
    registers: new Map(pairs.filter(([name]) => name.includes('#')).map(([name, id]) => [name, Number(id)])),
  }
}

/** `w1` and `r1` are different calls. */
function callOf(name: string): number {
  const number = Number(name.slice(1))
  return name.startsWith('w') ? number : number + 1_000 * ' rcd'.indexOf(name[0]!)
}

const idsOf = (text: string): number[] => (text === '' || text === '-' ? [] : text.split(',').map(Number))

export function originOf(text: string): OriginId {
  const name = text.replaceAll("'", '')
  return makeOrigin(
    name,
    String(text.length - name.length)
      .padStart(4, '0')
      .padEnd(16, '0'),
  )
}

function dotOf(text: string): Dot {
  const [origin, seq] = text.split(':')
  return { origin: originOf(origin!), seq: Number(seq) }
}

function vectorOf(words: readonly string[]): VersionVector {
  return new Map(words.map(dotOf).map(({ origin, seq }) => [origin, seq]))
}

function joined(one: VersionVector, other: VersionVector): VersionVector {
  const both = new Map(one)
  for (const [origin, seq] of other) both.set(origin, Math.max(seq, both.get(origin) ?? 0))
  return both
}

function split(words: readonly string[]): string[][] {
  const parts: string[][] = [[]]
  for (const word of words) {
    if (word === '/') parts.push([])
    else parts.at(-1)!.push(word)
  }
  return parts
}
