import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ERROR_CODES } from './codes.js'

const page = new URL('../../docs/ERRORS.md', import.meta.url)

function render(): string {
  const rows = Object.entries(ERROR_CODES).map(
    ([code, { says, retry, outcome, http, close, exit }]) =>
      `| \`${code}\` | ${says} | ${retry} | ${outcome} | ${http} | ${close} | ${exit} |`,
  )
  return [
    '# Error codes',
    '',
    'Programs match on the code, never on the text. `retry`: `never` the same request fails again, `later` wait and repeat,',
    '`elsewhere` another replica may answer. `outcome`: `definite` certainly not done, `indefinite` nobody knows.',
    'WebSocket closes of 44xx are final to stock clients and stand only where `retry` is `never`.',
    '',
    '| code | meaning | retry | outcome | HTTP | close | exit |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
}

test('docs/ERRORS.md shows the table (CAUSEWAY_WRITE_DOCS=1 writes it)', () => {
  if (process.env['CAUSEWAY_WRITE_DOCS'] === '1') writeFileSync(page, render())
  expect(readFileSync(page, 'utf8')).toBe(render())
})

test('a close that stock clients take as final is only where trying again is useless', () => {
  const final = Object.entries(ERROR_CODES).filter(([, { close }]) => close >= 4400 && close <= 4499)
  expect(final.length).toBeGreaterThan(5)
  expect(final.filter(([, { retry }]) => retry !== 'never')).toEqual([])
})

test('codes are sorted', () => {
  expect(Object.keys(ERROR_CODES)).toEqual(Object.keys(ERROR_CODES).sort())
})
