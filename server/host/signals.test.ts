import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { drainOnSignals } from './signals.js'

/** A process that records its ends instead of ending. */
class FakeProcess extends EventEmitter {
  readonly exits: (number | undefined)[] = []
  connected = true
  exit(code?: number): never {
    this.exits.push(code)
    return undefined as never
  }
}

let host: FakeProcess
let events: string[]
const log = { info: (event: string) => events.push(event), error: (event: string) => events.push(event) }

beforeEach(() => {
  vi.useFakeTimers()
  host = new FakeProcess()
  events = []
})
afterEach(() => {
  vi.useRealTimers()
})

function drain(stop: () => Promise<void>, endWithParent = false): () => void {
  return drainOnSignals(stop, { log, process: host as unknown as NodeJS.Process, drainLimitMs: 9_000, endWithParent })
}

describe('signals', () => {
  test.each(['SIGTERM', 'SIGINT'])('%s drains, then exits 0', async (signal) => {
    let release = (): void => {}
    drain(() => new Promise((resolve) => (release = resolve)))
    host.emit(signal, signal)
    await vi.advanceTimersByTimeAsync(8_999)
    expect(host.exits).toEqual([])
    release()
    await vi.runAllTimersAsync()
    expect(host.exits).toEqual([0])
    expect(events).toEqual(['replica/stopping', 'replica/stopped'])
  })

  test('a second one ends at once, and drains once', async () => {
    const stop = vi.fn(() => new Promise<void>(() => {}))
    drain(stop)
    host.emit('SIGTERM', 'SIGTERM')
    host.emit('SIGTERM', 'SIGTERM')
    expect(host.exits).toEqual([143])
    expect(stop).toHaveBeenCalledTimes(1)
  })

  test('a drain that takes too long ends with a failure, before a supervisor kills', async () => {
    drain(() => new Promise(() => {}))
    host.emit('SIGTERM', 'SIGTERM')
    await vi.advanceTimersByTimeAsync(9_000)
    expect(host.exits).toEqual([1])
    expect(events).toEqual(['replica/stopping', 'replica/drain-late'])
  })

  test('a drain that fails ends with a failure', async () => {
    drain(() => Promise.reject(new Error('disk')))
    host.emit('SIGINT', 'SIGINT')
    await vi.runAllTimersAsync()
    expect(host.exits).toEqual([1])
    expect(events).toEqual(['replica/stopping', 'replica/drain-failed'])
  })

  test('the end of the parent drains as a signal does, where it is to', async () => {
    drain(() => Promise.resolve())
    host.emit('disconnect')
    await vi.runAllTimersAsync()
    expect(host.exits).toEqual([])
    drain(() => Promise.resolve(), true)
    host.emit('disconnect')
    await vi.runAllTimersAsync()
    expect(host.exits).toEqual([0])
  })

  test('a parent that has gone already is missed too', async () => {
    host.connected = false
    drain(() => Promise.resolve(), true)
    await vi.runAllTimersAsync()
    expect(host.exits).toEqual([0])
  })

  test('a parent that goes while we drain changes nothing', async () => {
    const stop = vi.fn(() => new Promise<void>(() => {}))
    drain(stop, true)
    host.emit('SIGTERM', 'SIGTERM')
    host.emit('disconnect')
    expect([stop.mock.calls.length, host.exits]).toEqual([1, []])
  })

  test('handlers can be taken away', () => {
    drain(() => Promise.resolve(), true)()
    expect(host.eventNames()).toEqual([])
  })
})
