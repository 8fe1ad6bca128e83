import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { temporaryDirectory } from '../../test/integration/storage/op-source.js'
import { Witness } from './witness.js'

const birth = new Uint8Array(16).fill(7)
let path: string

beforeEach(() => {
  const temporary = temporaryDirectory()
  onTestFinished(() => temporary[Symbol.dispose]())
  path = join(temporary.path, 'witness')
})

/** What a start would remember. */
function remembered(of = birth): number {
  const witness = new Witness(path, of)
  witness.close()
  return witness.remembered
}

test('remembers the last position, also without being closed', () => {
  expect(remembered()).toBe(0)
  const witness = new Witness(path, birth)
  witness.note(3)
  witness.note(2 ** 52)
  expect(remembered()).toBe(2 ** 52)
  witness.close()
  expect(remembered()).toBe(2 ** 52)
})

test('knows nothing of another database', () => {
  const witness = new Witness(path, birth)
  witness.note(3)
  witness.close()
  expect(remembered(new Uint8Array(16).fill(8))).toBe(0)
})

test('knows nothing where any byte of it was changed or is missing', () => {
  const witness = new Witness(path, birth)
  witness.note(3)
  witness.close()
  const whole = readFileSync(path)
  for (let index = 0; index < whole.length; index++) {
    const changed = Uint8Array.from(whole)
    changed[index]! ^= 1
    writeFileSync(path, changed)
    expect(remembered()).toBe(0)
    writeFileSync(path, whole)
    truncateSync(path, index)
    expect(remembered()).toBe(0)
  }
})
