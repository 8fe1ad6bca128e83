import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RateLimiter } from './rate-limit.js'

test('a burst passes at once, then the steady rate does, and the wait that is told is enough', () => {
  let nowMs = 1000
  const limiter = new RateLimiter({ perSecond: 10, burst: 3 }, () => nowMs)
  expect([1, 2, 3].map(() => limiter.take('ada'))).toEqual([0, 0, 0])
  const waitMs = limiter.take('ada')
  expect(waitMs).toBe(100)
  nowMs += waitMs - 1
  expect(limiter.take('ada')).toBeGreaterThan(0)
  nowMs += 1
  expect(limiter.take('ada')).toBe(0)
})

test('[SEC] one key never pays for another', () => {
  const limiter = new RateLimiter({ perSecond: 1, burst: 1 }, () => 0)
  limiter.take('mallory')
  expect(limiter.take('mallory')).toBeGreaterThan(0)
  expect(limiter.take('ada')).toBe(0)
})

test('[SEC] the number of buckets is bounded, and those in use stay', () => {
  const limiter = new RateLimiter({ perSecond: 1, burst: 1 }, () => 0, 10)
  limiter.take('ada')
  for (let stranger = 0; stranger < 100; stranger++) {
    limiter.take(`stranger ${stranger}`)
    expect(limiter.take('ada')).toBeGreaterThan(0)
    expect(limiter.size).toBeLessThanOrEqual(10)
  }
})

test('a clock that is set back takes nothing from anybody', () => {
  let nowMs = 100_000
  const limiter = new RateLimiter({ perSecond: 1, burst: 3 }, () => nowMs)
  limiter.take('ada')
  nowMs = 0
  expect(limiter.take('ada')).toBe(0)
})

test('over any time no key passes more than its burst and what the rate adds', () => {
  const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 1, max: 20 })), { maxLength: 30 })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 20 }), steps, (perSecond, burst, asked) => {
      let nowMs = 0
      let passed = 0
      const limiter = new RateLimiter({ perSecond, burst }, () => nowMs)
      for (const [pauseMs, times] of asked) {
        nowMs += pauseMs
        for (let time = 0; time < times; time++) passed += limiter.take('ada') === 0 ? 1 : 0
      }
      expect(passed).toBeLessThanOrEqual(burst + (nowMs * perSecond) / 1000 + 1e-6)
    }),
  )
})
