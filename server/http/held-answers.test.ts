import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { expect, test } from 'vitest'
import { HeldAnswers } from './held-answers.js'

const connection = (): object => Object.assign(new EventEmitter(), { destroyed: false })
const answer = (socket = connection()): ServerResponse & EventEmitter =>
  Object.assign(new EventEmitter(), { closed: false, req: { socket } }) as never

test('answers are counted until they were taken, whatever their order, and one is always possible', () => {
  const held = new HeldAnswers(100)
  const [first, second] = [answer(), answer()]
  held.hold(first, 400)
  expect(() => held.hold(answer(), 1)).toThrow('wait for their readers')
  first.emit('close')
  held.hold(second, 60)
  held.hold(first, 40)
  expect(() => held.hold(answer(), 1)).toThrow('wait for their readers')
  first.emit('close')
  held.hold(answer(), 40)
})

test('who has gone meanwhile is not counted', () => {
  const held = new HeldAnswers(100)
  held.hold(Object.assign(answer(), { closed: true }) as never, 100)
  held.hold(answer(), 100)
})

test('[SEC] answers behind others on one connection, which are told of nothing, are not counted when it has ended', () => {
  const held = new HeldAnswers(100)
  const socket = connection()
  for (let index = 0; index < 10; index++) held.hold(answer(socket), 10)
  expect(() => held.hold(answer(), 1)).toThrow('wait for their readers')
  ;(socket as EventEmitter).emit('close')
  held.hold(answer(), 100)
  expect(() => held.hold(answer(), 1)).toThrow('wait for their readers')
})
