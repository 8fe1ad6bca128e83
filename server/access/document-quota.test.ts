import { expect, test } from 'vitest'
import { countNewDocument, hourly } from './document-quota.js'
import { RateLimiter } from './rate-limit.js'

const quotas = (perUser: number, perSpace: number, now = () => 0) => ({
  perUser: new RateLimiter(hourly(perUser), now),
  perSpace: new RateLimiter(hourly(perSpace), now),
})

test('[SEC] a user over their quota uses up nothing of their space', () => {
  const some = quotas(2, 4)
  expect([1, 2].map(() => countNewDocument(some, 'team', 'eve'))).toEqual([0, 0])
  for (let again = 0; again < 10; again++) expect(countNewDocument(some, 'team', 'eve')).toBeGreaterThan(0)
  expect([1, 2].map(() => countNewDocument(some, 'team', 'ada'))).toEqual([0, 0])
  expect(countNewDocument(some, 'team', 'bob')).toBeGreaterThan(0)
  expect(countNewDocument(some, 'other', 'bob')).toBe(0)
})

test('who is nobody counts by space alone', () => {
  const some = quotas(1, 3)
  expect([1, 2, 3].map(() => countNewDocument(some, 'team', undefined))).toEqual([0, 0, 0])
  expect(countNewDocument(some, 'team', undefined)).toBeGreaterThan(0)
})

test('room comes back over the hour', () => {
  let nowMs = 0
  const some = quotas(60, 1_000, () => nowMs)
  for (let document = 0; document < 60; document++) countNewDocument(some, 'team', 'ada')
  expect(countNewDocument(some, 'team', 'ada')).toBe(60_000)
  nowMs += 60_000
  expect(countNewDocument(some, 'team', 'ada')).toBe(0)
})
