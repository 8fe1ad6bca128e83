/**
 * Who is here. Each tab is a person with a name and a colour, told to the others through presence (awareness), which is
 * never stored. What others send is checked before it is shown: a name of some length, a colour of the known form.
 */
import { cutText } from './cut-text.js'
import { recall, remember } from './remembered.js'

export interface Person {
  readonly name: string
  /** `#rrggbb`; white text on it is readable for every colour that this page offers. */
  readonly color: string
}

/** Somebody else's presence in the notebook. */
export interface Presence {
  readonly clientId: number
  readonly person: Person
  /** The note that this person looks at. */
  readonly noteId: string | undefined
}

/** Each has a contrast of at least 4.9 with white. */
export const COLORS = [
  { name: 'Teal', hex: '#0f766e' },
  { name: 'Blue', hex: '#1d4ed8' },
  { name: 'Violet', hex: '#6d28d9' },
  { name: 'Pink', hex: '#be185d' },
  { name: 'Red', hex: '#b91c1c' },
  { name: 'Orange', hex: '#b4420c' },
  { name: 'Ochre', hex: '#8a5a06' },
  { name: 'Green', hex: '#15713a' },
] as const

const NAME_LIMIT = 40

const FIRST = ['Quiet', 'Brisk', 'Amber', 'Clever', 'Gentle', 'Bright', 'Steady', 'Merry', 'Swift', 'Kind']
const SECOND = ['Heron', 'Otter', 'Finch', 'Badger', 'Curlew', 'Fox', 'Hare', 'Lynx', 'Plover', 'Seal', 'Wren', 'Ibis']

/** This tab's person: as before a reload, else with the name last chosen in this browser, else a made-up one. */
export function recallPerson(): Person {
  const before = readPerson(parseJson(recall('tab', 'person')))
  if (before) return before
  const name = cleanName(recall('browser', 'name') ?? '') || `${pick(FIRST)} ${pick(SECOND)}`
  const person = { name, color: pick(COLORS).hex }
  rememberPerson(person)
  return person
}

/** Keeps the person over reloads of this tab. */
export function rememberPerson(person: Person): void {
  remember('tab', 'person', JSON.stringify(person))
}

/** Keeps a name that was chosen, and not made up, for new tabs of this browser. */
export function rememberName(name: string): void {
  remember('browser', 'name', name)
}

export function cleanName(name: string): string {
  return cutText(name.replace(/\s+/g, ' ').trim(), NAME_LIMIT)
}

/** A person out of anything; `undefined` where the shape is wrong. */
export function readPerson(value: unknown): Person | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { name, color } = value as Record<string, unknown>
  if (typeof name !== 'string' || cleanName(name) === '') return undefined
  if (typeof color !== 'string' || !/^#[0-9a-f]{6}$/i.test(color)) return undefined
  return { name: cleanName(name), color }
}

/** The others in an awareness, by name. */
export function readPresences(states: ReadonlyMap<number, unknown>, ownClientId: number): Presence[] {
  const presences: Presence[] = []
  for (const [clientId, state] of states) {
    if (clientId === ownClientId || typeof state !== 'object' || state === null) continue
    const { user, note } = state as Record<string, unknown>
    const person = readPerson(user)
    if (person) presences.push({ clientId, person, noteId: typeof note === 'string' ? note : undefined })
  }
  return presences.sort(
    (left, right) => left.person.name.localeCompare(right.person.name) || left.clientId - right.clientId,
  )
}

/** A colour that few of the others wear. */
export function freeColor(others: readonly Presence[], wanted: string): string {
  const worn = (color: string): number => others.filter((other) => other.person.color === color).length
  if (worn(wanted) === 0) return wanted
  return [...COLORS].sort((left, right) => worn(left.hex) - worn(right.hex))[0]!.hex
}

/** Up to two letters for an avatar. */
export function initials(name: string): string {
  const words = name.split(' ').filter(Boolean)
  const chosen = words.length > 1 ? [words[0]!, words.at(-1)!] : words
  return chosen.map((word) => [...word][0]?.toUpperCase() ?? '').join('')
}

function pick<T>(choices: readonly T[]): T {
  return choices[Math.floor(Math.random() * choices.length)]!
}

function parseJson(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text)
  } catch {
    return undefined
  }
}
