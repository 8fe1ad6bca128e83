/** The drill of a cell that lost its majority: from the alarm to the command that accepts the loss. */
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { type CellProcesses, cellStarter } from '../../support/cell-processes.js'

const startCell = cellStarter()

interface Cell {
  readonly state: string
  readonly epoch: number
  readonly members: readonly {
    readonly name: string
    readonly state: string
    readonly reachable: boolean
    readonly durable: object
  }[]
  readonly alarms: readonly { readonly alarm: string }[]
}

async function set(cell: CellProcesses, replica: string, key: string, query = ''): Promise<Response> {
  return await fetch(`${cell.replica(replica).http}/v1/documents/notes${query}`, {
    method: 'PATCH',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ operations: [{ op: 'set', path: ['m', key], value: true }] }),
  })
}

async function keys(cell: CellProcesses, replica: string): Promise<readonly string[]> {
  const response = await fetch(`${cell.replica(replica).http}/v1/documents/notes`)
  if (response.status !== 200) return [`${response.status}`]
  const { types } = (await response.json()) as { types: { m: object } }
  return Object.keys(types.m).sort()
}

async function cellOf(cell: CellProcesses, replica: string): Promise<Cell> {
  return (await (await fetch(`${cell.replica(replica).http}/v1/cell`)).json()) as Cell
}

async function forceRecover(cell: CellProcesses, replica: string): Promise<number> {
  const { status } = await fetch(`${cell.replica(replica).http}/v1/cell/force-recover`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ acceptLoss: true }),
  })
  return status
}

test('[DU2] two disks of three die: nobody serves less silently, and the command brings the cell back with what is left', async () => {
  const cell = await startCell()
  expect((await set(cell, 'a', 'saved', '?w=all')).status).toBe(200)
  const before = (await set(cell, 'a', 'later', '?w=all')).headers.get('Causeway-Session')!
  for (const name of ['b', 'c']) await cell.kill(name)
  expect((await set(cell, 'a', 'alone', '?w=local')).status).toBe(200)
  for (const name of ['b', 'c']) await cell.restart(name, { wipe: true, untilReady: false })

  // The one that lacks nothing serves, says what is the matter, and counts no majority.
  await expect.poll(() => cellOf(cell, 'a')).toMatchObject({ state: 'stuck: majority lost' })
  expect((await cellOf(cell, 'a')).alarms.map(({ alarm }) => alarm)).toContain('majority-lost')
  expect(await (await fetch(`${cell.replica('a').http}/readyz`)).json()).toEqual({
    ready: true,
    quorum: false,
    state: 'stuck: majority lost',
  })
  expect((await set(cell, 'a', 'unsaved', '?w=majority&timeoutMs=200')).status).toBe(202)
  expect(await keys(cell, 'a')).toEqual(['alone', 'later', 'saved', 'unsaved'])
  expect(await keys(cell, 'b')).toEqual(['503'])
  // By then it holds all that is left; a restart does not make a new member of it.
  await cell.restart('b', { untilReady: false })
  await expect.poll(() => cellOf(cell, 'b')).toMatchObject({ state: 'stuck: majority lost' })
  expect(await keys(cell, 'b')).toEqual(['503'])

  expect(await forceRecover(cell, 'a')).toBe(202)
  await expect.poll(() => cellOf(cell, 'a')).toMatchObject({ state: 'ready', epoch: 2 })
  await cell.ready('a', 'b', 'c')
  for (const name of ['a', 'b', 'c']) expect(await keys(cell, name)).toEqual(['alone', 'later', 'saved', 'unsaved'])
  expect((await set(cell, 'b', 'after', '?w=all')).status).toBe(200)

  // What was said in the epoch before binds nobody, and whoever comes with it is told.
  const reset = await fetch(`${cell.replica('c').http}/v1/documents/notes`, { headers: { 'Causeway-Session': before } })
  expect(reset.status).toBe(409)
  expect(await reset.json()).toMatchObject({ error: { code: 'session/reset' } })
  expect(reset.headers.get('Causeway-Session')).not.toBe(before)
  expect(await forceRecover(cell, 'a')).toBe(409)
})

test('[DU3] a member that was away when the loss was accepted brings what only it had', async () => {
  const cell = await startCell()
  expect((await set(cell, 'a', 'saved', '?w=all')).status).toBe(200)
  cell.partition(['c'])
  expect((await set(cell, 'c', 'only here', '?w=local')).status).toBe(200)
  for (const name of ['b', 'c']) await cell.kill(name)
  await cell.restart('b', { wipe: true, untilReady: false })
  await expect.poll(() => cellOf(cell, 'a')).toMatchObject({ state: 'stuck: majority lost' })
  expect(await forceRecover(cell, 'a')).toBe(202)
  await expect.poll(() => cellOf(cell, 'a')).toMatchObject({ state: 'ready', epoch: 2 })
  cell.heal()
  await cell.restart('c')
  await expect.poll(() => cellOf(cell, 'c')).toMatchObject({ epoch: 2, state: 'ready' })
  await cell.ready('a', 'b', 'c')
  for (const name of ['a', 'b', 'c']) await expect.poll(() => keys(cell, name)).toEqual(['only here', 'saved'])
})

test('a living client offers again what died with the servers that had it', async () => {
  const cell = await startCell()
  const doc = new Y.Doc()
  doc.getMap('m').set('first', true)
  const post = async (replica: string): Promise<number> => {
    const { status } = await fetch(`${cell.replica(replica).http}/v1/documents/notes/updates?w=local`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/octet-stream' },
      body: Y.encodeStateAsUpdate(doc) as Uint8Array<ArrayBuffer>,
    })
    return status
  }
  cell.partition(['b', 'c'])
  expect(await post('b')).toBe(200)
  await expect.poll(() => keys(cell, 'c')).toEqual(['first'])
  for (const name of ['b', 'c']) await cell.kill(name)
  cell.heal()
  for (const name of ['b', 'c']) await cell.restart(name, { wipe: true, untilReady: false })
  // Who remembers what they had died with them: for the third one they are new, or, where it had heard of it, they lack
  // it. Which of the two is theirs to say: what the third one says of them may be older than their disks.
  await expect
    .poll(async () => {
      const states = await Promise.all(['a', 'b', 'c'].map(async (name) => (await cellOf(cell, name)).state))
      if (states[0] === 'stuck: majority lost') await forceRecover(cell, 'a')
      return states
    })
    .toEqual(['ready', 'ready', 'ready'])
  expect(await post('a')).toBe(200)
  for (const name of ['a', 'b', 'c']) await expect.poll(() => keys(cell, name)).toEqual(['first'])
})

test('a dead member is taken out by a command on those who stay, and they are a majority of two', async () => {
  const cell = await startCell()
  expect((await set(cell, 'a', 'one', '?w=all')).status).toBe(200)
  const remove = async (replica: string, name: string): Promise<number> => {
    const { status } = await fetch(`${cell.replica(replica).http}/v1/cell/members/${name}`, { method: 'DELETE' })
    return status
  }
  expect(await remove('a', 'z')).toBe(404)
  await cell.kill('c')
  await expect.poll(async () => (await cellOf(cell, 'a')).members.length).toBe(3)
  expect(await remove('a', 'c')).toBe(202)
  expect(await remove('b', 'c')).toBe(202)
  await expect.poll(async () => (await cellOf(cell, 'b')).members.map(({ name }) => name)).toEqual(['a', 'b'])
  expect((await set(cell, 'a', 'two', '?w=all')).status).toBe(200)
  // Out for good: neither by its configuration nor after a restart of the others does it come back.
  await cell.restart('c', { untilReady: false })
  await cell.restart('a')
  expect((await cellOf(cell, 'a')).members.map(({ name }) => name)).toEqual(['a', 'b'])
  expect((await set(cell, 'a', 'three', '?w=majority')).status).toBe(200)
  expect(await keys(cell, 'b')).toEqual(['one', 'three', 'two'])
})
