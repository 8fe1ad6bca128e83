import { expect, test } from 'vitest'
import { lineWriter } from './log-lines.js'

/** Takes `size` bytes a call, after throwing the `failures` in order. */
function output(size: number, failures: string[]) {
  const taken: Uint8Array[] = []
  const writeSome = (bytes: Uint8Array): number => {
    const code = failures.shift()
    if (code !== undefined) throw Object.assign(new Error(code), { code })
    taken.push(bytes.slice(0, size))
    return Math.min(size, bytes.length)
  }
  return { writeSome, text: () => Buffer.concat(taken).toString() }
}

test.each([
  ['in one piece', 100, [], 'grüße\n'],
  ['in pieces that cut characters', 1, [], 'grüße\n'],
  ['after a full pipe was read', 3, ['EAGAIN', 'EAGAIN'], 'grüße\n'],
  ['not at all where the reader has gone', 3, ['EPIPE'], ''],
  ['not at all on a full disk', 3, ['ENOSPC'], ''],
])('a line is written %s', (_how, size, failures, expected) => {
  const { writeSome, text } = output(size, [...failures])
  lineWriter(writeSome)('grüße\n')
  expect(text()).toBe(expected)
})

test('a reader that has stopped costs one wait, and lines until it reads again', () => {
  let isFull = false
  let tries = 0
  const { writeSome, text } = output(4, [])
  const write = lineWriter((bytes) => {
    tries++
    if (isFull) throw Object.assign(new Error('EAGAIN'), { code: 'EAGAIN' })
    isFull = text() === ''
    return writeSome(bytes)
  })
  write('first\n')
  expect(text()).toBe('firs')
  tries = 0
  write('lost\n')
  expect(tries).toBe(1)
  isFull = false
  write('third\n')
  expect(text()).toBe('firs\nthird\n')
})
