import { describe, expect, test } from 'vitest'
import { CausewayError } from '../../shared/errors/error.js'
import { configuredMembers, peerAddress } from './members.js'

const listen = '127.0.0.1:4400'
const here = { a: 'ws://127.0.0.1:4400', b: 'ws://127.0.0.1:4401', c: 'ws://localhost:4402/' }
const cellSecret = 'a secret of more than thirty-two bytes'

describe('members by configuration', () => {
  test('without peers a replica is a cell of its own', () => {
    expect(configuredMembers({ name: 'a', listen })).toEqual({ names: new Set('a'), others: new Map() })
  })

  test('the list names all, and the others are those to reach', () => {
    expect(configuredMembers({ name: 'b', listen, peers: here })).toEqual({
      names: new Set(['a', 'b', 'c']),
      others: new Map([
        ['a', 'ws://127.0.0.1:4400/peer'],
        ['c', 'ws://localhost:4402/peer'],
      ]),
    })
  })

  test.each<[string, string, Record<string, string>, boolean]>([
    // what, listen, peers, needs a secret?
    ['all on this machine', listen, here, false],
    ['alone in the list, reachable', '0.0.0.0:4400', { a: 'ws://10.0.0.1:4400' }, false],
    ['listening to the network', '0.0.0.0:4400', here, true],
    ['a peer elsewhere', listen, { ...here, c: 'wss://c.example/peer' }, true],
    ['reachable elsewhere, by its own address', listen, { ...here, a: 'ws://10.0.0.1:4400' }, true],
  ])('[SEC] %s: a secret is needed: %s', (_what, listenAt, peers, needed) => {
    const config = { name: 'a', listen: listenAt, peers }
    const refused = expect.objectContaining({ code: 'config/invalid', details: { option: 'cellSecret' } })
    if (needed) expect(() => configuredMembers(config)).toThrow(refused)
    else configuredMembers(config)
    configuredMembers({ ...config, cellSecret })
  })

  test('names of any kind are names', () => {
    const peers = { constructor: 'ws://127.0.0.1:1', '7': 'ws://127.0.0.1:2' }
    expect([...configuredMembers({ name: '7', listen, peers }).others.keys()]).toEqual(['constructor'])
    expect(() => configuredMembers({ name: 'valueof', listen, peers })).toThrow(CausewayError)
  })
})

test.each([
  ['ws://127.0.0.1:4400', 'ws://127.0.0.1:4400/peer'],
  ['ws://127.0.0.1:4400/', 'ws://127.0.0.1:4400/peer'],
  ['wss://A.example/peer', 'wss://a.example/peer'],
  ['wss://a.example/cells/one/peer', 'wss://a.example/cells/one/peer'],
  ['ws://[::1]:4400', 'ws://[::1]:4400/peer'],
  ['ws://a.example:80', 'ws://a.example/peer'],
  ['http://127.0.0.1:4400', undefined],
  ['127.0.0.1:4400', undefined],
  ['ws://', undefined],
  ['ws://a.example/y', undefined],
  ['ws://user@a.example', undefined],
  ['ws://:word@a.example', undefined],
  ['ws://a.example?token=x', undefined],
  ['ws://a.example/peer#x', undefined],
  ['ws://127.0.0.1:0', undefined],
])('the address %s is %s', (text, expected) => expect(peerAddress(text)).toBe(expected))
