/** Refusals of requests that are wrong in form: one shape, which names the place and never quotes what stood there. */
import type { z } from 'zod'
import { CausewayError } from '../../shared/errors/error.js'
import { describeIssue, type SchemaIssue } from '../../shared/errors/issue.js'

/** `request/invalid` with `details.path` (`timeoutMs`, `parts[2].update`) and `details.reason`. */
export function invalid(path: string, reason: string): CausewayError {
  return new CausewayError(
    'request/invalid',
    { path, reason },
    { message: `The request is not valid: ${path} ${reason}.` },
  )
}

/** `value` as `schema` has it. Throws `request/invalid` for the first thing that is wrong; `whole` names the value itself. */
export function validate<Schema extends z.ZodType>(schema: Schema, value: unknown, whole: string): z.output<Schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const { at, says } = describeIssue(parsed.error.issues[0] as SchemaIssue)
  throw invalid(at === '' ? whole : at, says)
}
