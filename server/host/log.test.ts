import { describe, expect, test } from 'vitest'
import { CausewayError } from '../../shared/errors/error.js'
import { cleanText, createLog, type LogFields } from './log.js'

const canary = 'canary-7d1e'
const jwt = `eyJhbGciOiJIUzI1NiJ9.${Buffer.from(canary).toString('base64url')}.c2lnbmF0dXJl`

function logged(fields: LogFields, error?: unknown): { line: string; entry: Record<string, unknown> } {
  const lines: string[] = []
  const destination = { write: (line: string) => void lines.push(line) }
  createLog({ level: 'info', base: { replica: 'a', cell: 'demo' }, destination }).error('http/failed', fields, error)
  expect(lines).toHaveLength(1)
  return { line: lines[0]!, entry: JSON.parse(lines[0]!) }
}

describe('a line of the log', () => {
  test('is one JSON object with its event, its level as a word, and who wrote it', () => {
    const { line, entry } = logged({ document: 'a\nb', status: 500 })
    expect(line).toMatch(/^[^\n]*\n$/)
    expect(entry).toMatchObject({
      level: 'error',
      event: 'http/failed',
      replica: 'a',
      cell: 'demo',
      document: 'a\nb',
      status: 500,
      msg: 'A request failed inside the replica.',
    })
    expect(Date.parse(entry['time'] as string)).not.toBeNaN()
  })

  test('below the level is not written, and costs no cleaning', () => {
    const lines: string[] = []
    const log = createLog({ level: 'warn', destination: { write: (line) => void lines.push(line) } })
    log.info('http/request', {
      get path(): string {
        throw new Error('was read')
      },
    })
    log.warn('access/open')
    expect(lines).toHaveLength(1)
  })

  test('tells errors with their code and causes', () => {
    const cause = new Error('disk', { cause: new Error('cable') })
    const { entry } = logged({}, new CausewayError('storage/failed', {}, { cause }))
    expect(entry['error']).toMatchObject({
      name: 'CausewayError',
      code: 'storage/failed',
      cause: { message: 'disk', cause: { message: 'cable' } },
    })
  })

  test('ends, even where causes do not', () => {
    const error = new Error('loop') as Error & { cause: unknown }
    error.cause = error
    expect(logged({}, error).line.length).toBeLessThan(100_000)
    expect(logged({}, 'x'.repeat(1_000_000)).line.length).toBeLessThan(10_000)
    expect(logged({}, null).entry['error']).toBe('null')
  })
})

describe('[SEC] no secret gets into the log', () => {
  test.each<[name: string, fields: LogFields, error?: unknown]>([
    [
      'a field named like one',
      { token: canary, authorization: canary, secret: canary, cookie: canary, session: canary },
    ],
    ['a token in a text', { path: `/y/notes/${jwt}` }],
    ['a bearer header in a text', { header: `authorization: Bearer ${canary}` }],
    ['the query of an address', { url: `/y/notes?token=${canary}&w=1` }],
    ['the query of an address in an error', {}, new Error(`connect failed: ws://h/y?session=${canary}`)],
    ['a token in the cause of an error', {}, new Error('x', { cause: new Error(`bad token ${jwt}`) })],
    ['a token thrown as it is', {}, `Bearer ${canary}`],
  ])('%s', (_name, fields, error) => {
    const { line } = logged(fields, error)
    expect(line).not.toContain(canary)
    expect(line).not.toContain(Buffer.from(canary).toString('base64url'))
    expect(line).toContain('***')
  })

  test('plain questions stay readable', () => {
    expect(cleanText('What now? Who knows.')).toBe('What now? Who knows.')
  })
})
