/**
 * The effective configuration: defaults < file < environment < flags, checked as one. A wrong value is one sentence that
 * names the option and where it was set, and never the value. Secrets come from the file or the environment only, and
 * are never printed.
 */
import { type core, globalRegistry, type input } from 'zod/mini'
import { CausewayError } from '../../shared/errors/error.js'
import { describeIssue, formatPath, type SchemaIssue } from '../../shared/errors/issue.js'
import { isOpenAccess } from '../access/authenticator.js'
import { configuredKeys } from '../access/keys.js'
import { type Config, configSchema } from './config-schema.js'
import { configuredMembers } from './members.js'

export type { Config, ConfigInput } from './config-schema.js'

export interface ConfigSources {
  /** What a command presets; the least of all. By option: `{'log.level': 'warn'}`. */
  readonly presets?: Readonly<Record<string, unknown>>
  /** A JSON file: its path, for messages, and its text. */
  readonly file?: { readonly path: string; readonly text: string } | undefined
  readonly env?: Readonly<Record<string, string | undefined>>
  /** By option, as typed. */
  readonly flags?: Readonly<Record<string, string | boolean | undefined>>
}

const SECRET_OPTIONS = ['auth.secret', 'cellSecret']

/**
 * Variables with our prefix that are no options: of the command line, and what container platforms set for a service
 * that happens to be called like us (CAUSEWAY_SERVICE_HOST, CAUSEWAY_PORT_4400_TCP_ADDR, …).
 */
const OTHER_VARIABLES =
  /^CAUSEWAY_(?:CONFIG|URL|TOKEN|(?:\w+_)?SERVICE_(?:HOST|PORT(?:_\w+)?)|(?:\w+_)?PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)$/

/** One option at the end of the tree. */
export interface Option {
  readonly path: readonly string[]
  /** `limits.updateBytes`. */
  readonly name: string
  /** `CAUSEWAY_LIMITS_UPDATE_BYTES`. */
  readonly variable: string
  /** `texts`: an object of texts. */
  readonly kind: 'number' | 'boolean' | 'list' | 'texts' | 'object' | 'text'
  readonly describes: string
}

export const OPTIONS: readonly Option[] = optionsOf(configSchema, [])

/** Throws `config/invalid` (`details.option`) with a sentence for the first thing that is wrong. */
export function loadConfig(sources: ConfigSources): Config {
  const settings = new Settings()
  for (const [name, value] of Object.entries(sources.presets ?? {})) settings.set(name.split('.'), value, 'a preset')
  if (sources.file !== undefined) settings.addFile(sources.file)
  settings.addEnvironment(sources.env ?? {})
  for (const [name, value] of Object.entries(sources.flags ?? {})) {
    if (value !== undefined) settings.addText(optionNamed(name), value, `--${flagOf(name)}`)
  }
  const config = settings.check()
  configuredKeys(config.auth)
  isOpenAccess(config)
  configuredMembers(config)
  return config
}

/** Checks options given by a program that embeds a replica. Throws `config/invalid`. */
export function parseConfig(options: input<typeof configSchema>): Config {
  const parsed = configSchema.safeParse(options)
  if (!parsed.success) throw invalid(parsed.error.issues[0] as SchemaIssue, undefined)
  configuredMembers(parsed.data)
  return parsed.data
}

/** The configuration as it may be shown: secrets and the query of addresses as `***`. */
export function redactConfig(config: Config): Record<string, unknown> {
  const { secret, jwks, ...auth } = config.auth
  return {
    ...config,
    ...(config.cellSecret === undefined ? {} : { cellSecret: '***' }),
    auth: {
      ...(secret === undefined ? {} : { secret: '***' }),
      ...(jwks === undefined ? {} : { jwks: jwks.replace(/\?.*$/s, '?***') }),
      ...auth,
    },
  }
}

/** The flag of an option: its name, with hyphens. */
export function flagOf(option: string): string {
  return option.replace('.', '-').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** Collects values and remembers where each came from. */
class Settings {
  private readonly tree = emptyBranch()
  private readonly sourceOf = new Map<string, string>()

  set(path: readonly string[], value: unknown, source: string): void {
    let branch = this.tree
    for (const key of path.slice(0, -1)) {
      const next = branch[key]
      branch = branch[key] = isBranch(next) ? next : emptyBranch()
    }
    branch[path.at(-1)!] = value
    this.sourceOf.set(formatPath(path), source)
  }

  addFile(file: { readonly path: string; readonly text: string }): void {
    let content: unknown
    try {
      content = JSON.parse(file.text)
    } catch (error) {
      // The parser's message may quote the file, and with it a secret: only the place is told.
      const at = /at position (\d+)/.exec(String(error))?.[1]
      throw wrong(
        'config',
        `The configuration file ${file.path} is not valid JSON${at ? ` (at character ${at})` : ''}.`,
      )
    }
    if (!isBranch(content)) throw wrong('config', `The configuration file ${file.path} must hold a JSON object.`)
    this.addTree(content, [], file.path)
  }

  private addTree(tree: Record<string, unknown>, path: readonly string[], source: string): void {
    for (const [key, value] of Object.entries(tree)) {
      const at = [...path, key]
      // Own lists and objects of an option are its value; everything above is only the way to it.
      if (isBranch(value) && OPTIONS.some((option) => isWithin(option.path, at))) this.addTree(value, at, source)
      else this.set(at, value, source)
    }
  }

  addEnvironment(env: Readonly<Record<string, string | undefined>>): void {
    for (const [variable, text] of Object.entries(env)) {
      if (!variable.startsWith('CAUSEWAY_') || text === undefined) continue
      const option = OPTIONS.find((candidate) => candidate.variable === variable)
      if (option !== undefined) this.addText(option, text, variable)
      else if (!OTHER_VARIABLES.test(variable)) throw wrong(variable, `${variable} is not an option.`)
    }
  }

  addText(option: Option, text: string | boolean, source: string): void {
    const value = typeof text === 'string' ? readText(option, text) : text
    if (value === undefined) {
      throw wrong(
        option.name,
        `${option.name} must be entries name=value with commas between, each name once (set by ${source}).`,
      )
    }
    this.set(option.path, value, source)
  }

  check(): Config {
    const parsed = configSchema.safeParse(this.tree)
    if (parsed.success) return parsed.data
    const issue = parsed.error.issues[0] as SchemaIssue
    const places = issue.path.map((_, index) => formatPath(issue.path.slice(0, index + 1))).reverse()
    throw invalid(issue, [describeIssue(issue).at, ...places].map((at) => this.sourceOf.get(at)).find(Boolean))
  }
}

/**
 * A text as the option's kind. What does not fit stays a text, for the schema to refuse in its own words; undefined where
 * the schema would not know which words.
 */
function readText(option: Option, text: string): unknown {
  switch (option.kind) {
    case 'number':
      return /^-?\d+(?:\.\d+)?$/.test(text) ? Number(text) : text
    case 'boolean':
      return text === 'true' || text === '1' ? true : text === 'false' || text === '0' ? false : text
    case 'list':
      return listOf(text)
    case 'texts':
      return text.startsWith('{') ? objectOf(text) : textsOf(text)
    case 'object':
      return objectOf(text)
    default:
      return text
  }
}

/** A JSON list, or entries with commas between. */
function listOf(text: string): unknown {
  if (!text.startsWith('[')) return text === '' ? [] : text.split(',').map((entry) => entry.trim())
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** A JSON object. */
function objectOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** `a=x,b=y` as an object; undefined where it is none, or names one key twice. */
function textsOf(text: string): Record<string, string> | undefined {
  const pairs = text === '' ? [] : text.split(',').map((entry) => /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/s.exec(entry))
  const texts = new Map(pairs.map((pair) => [pair?.[1] ?? '', pair?.[2] ?? '']))
  return texts.has('') || texts.size < pairs.length ? undefined : Object.fromEntries(texts)
}

function optionNamed(name: string): Option {
  const option = OPTIONS.find((candidate) => candidate.name === name)
  if (option === undefined || SECRET_OPTIONS.includes(name)) throw wrong(name, `${name} cannot be set by a flag.`)
  return option
}

interface SchemaNode extends core.$ZodType {
  readonly def: {
    readonly type: string
    readonly innerType?: SchemaNode
    readonly shape?: Record<string, SchemaNode>
    readonly valueType?: SchemaNode
  }
}

function optionsOf(schema: SchemaNode, path: readonly string[]): readonly Option[] {
  const bare = unwrap(schema)
  if (bare.def.shape !== undefined) {
    return Object.entries(bare.def.shape).flatMap(([key, inner]) => optionsOf(inner, [...path, key]))
  }
  const kinds: Record<string, Option['kind']> = {
    number: 'number',
    boolean: 'boolean',
    array: 'list',
    record: 'object',
  }
  return [
    {
      path,
      name: path.join('.'),
      variable: `CAUSEWAY_${path.map((key) => key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()).join('_')}`,
      kind: bare.def.valueType?.def.type === 'string' ? 'texts' : (kinds[bare.def.type] ?? 'text'),
      describes: globalRegistry.get(schema)?.description ?? '',
    },
  ]
}

function unwrap(schema: SchemaNode): SchemaNode {
  return schema.def.innerType === undefined ? schema : unwrap(schema.def.innerType)
}

function isWithin(path: readonly string[], branch: readonly string[]): boolean {
  return path.length > branch.length && branch.every((key, index) => path[index] === key)
}

/** Without a prototype: a key of any name, `__proto__` too, is a key like others and can be refused. */
function emptyBranch(): Record<string, unknown> {
  return Object.create(null)
}

function isBranch(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function invalid(issue: SchemaIssue, source: string | undefined): CausewayError {
  const { at, says } = describeIssue(issue)
  const isUnknown = issue.code === 'unrecognized_keys'
  return wrong(
    at,
    `${at} ${isUnknown ? 'is not an option' : says}${source === undefined ? '' : ` (set by ${source})`}.`,
  )
}

function wrong(option: string, message: string): CausewayError {
  return new CausewayError('config/invalid', { option }, { message })
}
