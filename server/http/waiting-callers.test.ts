import { expect, test } from 'vitest'
import { WaitingCallers } from './waiting-callers.js'

test('[SEC] one caller takes no more than its places, whoever else waits, and has them again when it leaves', () => {
  const callers = new WaitingCallers(2)
  const leave = callers.enter('mallory')!
  expect([callers.enter('mallory'), callers.enter('mallory'), callers.enter('ada')]).toEqual([
    expect.any(Function),
    undefined,
    expect.any(Function),
  ])
  leave()
  expect([callers.enter('mallory'), callers.enter('mallory')]).toEqual([expect.any(Function), undefined])
})
