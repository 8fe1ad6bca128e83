/** Two clients with one client id write different text at two replicas that do not hear of each other. */
import { afterEach, describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { type CellProcesses, cellStarter } from '../../support/cell-processes.js'
import { StockClient } from '../../support/stock-client.js'

const startCell = cellStarter()
const clients: StockClient[] = []
afterEach(() => {
  for (const client of clients.splice(0)) client.close()
})

function open(cell: CellProcesses, replica: string, doc?: Y.Doc): StockClient {
  const client = new StockClient(cell.replica(replica).url, 'contested', { w: 'local' }, doc)
  clients.push(client)
  return client
}

function twin(): Y.Doc {
  const doc = new Y.Doc()
  doc.clientID = 4711
  return doc
}

async function textAt(cell: CellProcesses, replica: string): Promise<string> {
  const response = await fetch(`${cell.replica(replica).http}/v1/documents/contested?types=t:text`)
  if (response.status !== 200) return `${response.status}`
  return ((await response.json()) as { types: { t: string } }).types.t
}

async function verdict(cell: CellProcesses): Promise<string> {
  const response = await fetch(`${cell.replica('c').http}/v1/cell/convergence`)
  return ((await response.json()) as { verdict: string }).verdict
}

describe('[CV] one struct id with two contents', () => {
  test.each([
    ['the first at a', 'a', 'b'],
    ['the first at b', 'b', 'a'],
  ])(
    '%s: what was written first holds everywhere, and only who was shown the other is sent away',
    async (_, first, second) => {
      const cell = await startCell()
      const winner = open(cell, first, twin())
      const loser = open(cell, second, twin())
      for (const { provider } of [winner, loser]) await expect.poll(() => provider.synced).toBe(true)
      cell.partition(['a'], ['b'], ['c'])
      winner.type('first')
      await expect.poll(() => winner.echoed.size).toBe(1)
      loser.type('second, longer')
      await expect.poll(() => loser.echoed.size).toBe(1)
      const readerOfWinner = open(cell, first)
      const readerOfLoser = open(cell, second)
      await expect.poll(() => readerOfWinner.text).toBe('first')
      await expect.poll(() => readerOfLoser.text).toBe('second, longer')

      cell.heal()
      for (const { closedWith } of [loser, readerOfLoser]) await expect.poll(() => closedWith).toEqual([4409])
      // Ids that only the longer one has keep its content: every id stays defined.
      const settled = 'firstd, longer'
      for (const name of ['a', 'b', 'c']) await expect.poll(() => textAt(cell, name)).toBe(settled)
      await expect.poll(() => readerOfWinner.text).toBe(settled)
      for (const { closedWith } of [winner, readerOfWinner]) expect(closedWith).toEqual([])
      const anew = open(cell, second)
      await expect.poll(() => anew.text).toBe(settled)
      await expect.poll(() => verdict(cell)).toBe('equal')

      // It goes on as any document.
      readerOfWinner.type('!')
      await expect.poll(() => anew.text).toBe(`${settled}!`)
      await cell.restart(second)
      await expect.poll(() => textAt(cell, second)).toBe(`${settled}!`)
      await expect.poll(() => verdict(cell)).toBe('equal')
    },
  )
})
