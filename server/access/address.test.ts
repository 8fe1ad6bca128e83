import { describe, expect, test } from 'vitest'
import { addressKey, isLoopbackHost, parseListen } from './address.js'

describe('listen addresses', () => {
  test.each([
    ['127.0.0.1:4400', { host: '127.0.0.1', port: 4400 }],
    ['localhost:0', { host: 'localhost', port: 0 }],
    ['[::1]:65535', { host: '::1', port: 65535 }],
    ['[::]:80', { host: '::', port: 80 }],
    ['127.0.0.1', undefined],
    [':4400', undefined],
    ['4400', undefined],
    ['::1:4400', undefined],
    ['host:65536', undefined],
    ['host:-1', undefined],
    ['http://host:80', undefined],
    ['', undefined],
  ])('%j reads as %j', (text, expected) => {
    expect(parseListen(text)).toEqual(expected)
  })
})

describe('loopback', () => {
  test.each([
    ['localhost', true],
    ['LOCALHOST', true],
    ['app.localhost', true],
    ['127.0.0.1', true],
    ['127.1.2.3', true],
    ['::1', true],
    ['[::1]', true],
    ['::ffff:127.0.0.1', true],
    ['0.0.0.0', false],
    ['::', false],
    ['', false],
    ['10.0.0.1', false],
    ['127.0.0.1.evil.example', false],
    ['localhost.evil.example', false],
    ['evil-localhost', false],
  ])('%j is this machine: %s', (host, expected) => {
    expect(isLoopbackHost(host)).toBe(expected)
  })
})

describe('what limits per address count by', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8:1:2::9', '2001:db8:1:2'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['', ''],
  ])('%s counts as %s', (address, expected) => {
    expect(addressKey(address)).toBe(expected)
  })
})
