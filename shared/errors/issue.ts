/**
 * What a schema found wrong, as a sentence that names the place and never quotes the value: values may be secrets, and
 * sentences end in logs. The input has the form of zod's issues; messages of our own (codes `custom` and
 * `invalid_format`) are written to follow the name: "must be …".
 */
export interface SchemaIssue {
  readonly code?: string
  readonly path: readonly PropertyKey[]
  readonly message: string
  readonly expected?: string
  readonly origin?: string
  readonly minimum?: number | bigint
  readonly maximum?: number | bigint
  readonly values?: readonly unknown[]
  readonly keys?: readonly string[]
  /** What is wrong with a key. */
  readonly issues?: readonly SchemaIssue[]
}

export interface DescribedIssue {
  /** `limits.updateBytes`, `parts[2].update`; empty for the whole. */
  readonly at: string
  /** A predicate: `must be a whole number`. */
  readonly says: string
}

/** `[2].update` for `[2, 'update']`. */
export function formatPath(path: readonly PropertyKey[]): string {
  return path
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '')
}

export function describeIssue(issue: SchemaIssue): DescribedIssue {
  const unknownKey = issue.code === 'unrecognized_keys' ? issue.keys?.[0] : undefined
  if (unknownKey !== undefined) return { at: formatPath([...issue.path, unknownKey]), says: 'is not known here' }
  return { at: formatPath(issue.path), says: predicate(issue) }
}

const KINDS: Readonly<Record<string, string>> = {
  array: 'a list',
  boolean: 'true or false',
  int: 'a whole number',
  number: 'a number',
  object: 'an object',
  record: 'an object',
  string: 'a text',
}

function predicate(issue: SchemaIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${KINDS[issue.expected ?? ''] ?? 'of another kind'}`
    case 'invalid_value':
      return `must be ${(issue.values ?? [])
        .map(String)
        .join(', ')
        .replace(/, (?=[^,]*$)/, ' or ')}`
    case 'too_small':
      return bound(issue.origin, 'least', Number(issue.minimum))
    case 'too_big':
      return bound(issue.origin, 'most', Number(issue.maximum))
    case 'invalid_key':
      return issue.issues?.[0] === undefined ? 'has the wrong form' : predicate(issue.issues[0])
    case 'custom':
    case 'invalid_format':
      return issue.message
    default:
      return 'has the wrong form'
  }
}

function bound(origin: string | undefined, which: 'least' | 'most', limit: number): string {
  if (origin === 'string') return `must have at ${which} ${limit} ${limit === 1 ? 'character' : 'characters'}`
  if (origin === 'array') return `must have at ${which} ${limit} ${limit === 1 ? 'entry' : 'entries'}`
  return `must be at ${which} ${limit}`
}
