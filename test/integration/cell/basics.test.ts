/** A cell of three processes: how it begins, what it says of itself, and what its levels and concerns promise. */
import { beforeEach, describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { createSessionKeys } from '../../../server/access/session-keys.js'
import type { CellId } from '../../../shared/clock/cell.js'
import { encodeToken } from '../../../shared/session/token.js'
import { type CellProcesses, cellStarter } from '../../support/cell-processes.js'
import { Recording } from './recording.js'
import { CELL_SECRET } from './trial.js'

const startCell = cellStarter()
const environment = { CAUSEWAY_CELL_SECRET: CELL_SECRET }

interface Answer<Body> {
  readonly status: number
  readonly body: Body
  readonly session: string | null
}

async function ask<Body>(
  cell: CellProcesses,
  name: string,
  path: string,
  { method = 'GET', body, session }: { method?: string; body?: object; session?: string } = {},
): Promise<Answer<Body>> {
  const headers: Record<string, string> = {}
  if (body) headers['content-type'] = 'application/json'
  if (session) headers['causeway-session'] = session
  const response = await fetch(`${cell.replica(name).http}${path}`, {
    method,
    headers,
    ...(body && { body: JSON.stringify(body) }),
  })
  const { status } = response
  return { status, body: (await response.json()) as Body, session: response.headers.get('causeway-session') }
}

interface Written {
  readonly acknowledged: string
  readonly replicas: number
  readonly error?: { readonly code: string }
}

interface Shown {
  readonly types?: { readonly set?: Record<string, true> }
  readonly error?: { readonly code: string; readonly retry: string; readonly outcome: string }
}

interface CellAnswer {
  readonly cell: string
  readonly id: string | null
  readonly self: string
  readonly members: readonly {
    readonly name: string
    readonly state: string
    readonly reachable: boolean
    readonly lagOps: number
  }[]
}

let key = 0
const write = (cell: CellProcesses, name: string, query: string, session?: string): Promise<Answer<Written>> =>
  ask(cell, name, `/v1/documents/notes?${query}`, {
    method: 'PATCH',
    body: { operations: [{ op: 'set', path: ['set', `k${++key}`], value: true }] },
    ...(session && { session }),
  })

describe('a cell', () => {
  test('is born when all have met, and not before; it survives that all of them are killed', async () => {
    const cell = await startCell({ environment, untilReady: false })
    await cell.kill('c')
    await expect.poll(async () => (await ask(cell, 'a', '/readyz').catch(() => undefined))?.status).toBe(503)
    expect((await ask(cell, 'a', '/readyz')).body).toEqual({ ready: false, quorum: false, state: 'starting' })
    const early = await write(cell, 'a', 'w=local')
    expect([early.status, early.body.error?.code, early.session]).toEqual([503, 'cell/starting', null])

    await cell.restart('c')
    await cell.ready()
    const seen = await Promise.all(cell.names.map((name) => ask<CellAnswer>(cell, name, '/v1/cell')))
    const [first] = seen
    expect(first?.body.id).toMatch(/^[0-9a-f]{32}$/)
    expect(new Set(seen.map(({ body }) => body.id)).size).toBe(1)
    expect(seen.map(({ body }) => body.self)).toEqual(['a', 'b', 'c'])
    for (const name of cell.names) {
      await expect
        .poll(async () => (await ask<object>(cell, name, '/readyz')).body)
        .toEqual({ ready: true, quorum: true, state: 'ready' })
      expect(JSON.parse(await cell.replica(name).line((line) => line.includes('"ready"')))).toMatchObject({
        event: 'ready',
      })
    }
    expect((await write(cell, 'b', 'w=all')).status).toBe(200)

    await Promise.all(cell.names.map((name) => cell.kill(name)))
    await Promise.all(cell.names.map((name) => cell.restart(name)))
    for (const name of cell.names) {
      const { body } = await ask<Shown>(cell, name, '/v1/documents/notes')
      expect(Object.keys(body.types?.set ?? {})).toEqual([`k${key}`])
      expect((await ask<CellAnswer>(cell, name, '/v1/cell')).body.id).toBe(first?.body.id)
    }
  })

  describe('that is whole', () => {
    let cell: CellProcesses
    beforeEach(async () => {
      cell = await startCell({ environment: { ...environment, CAUSEWAY_SERVE_ALONE_AFTER_MS: '300' } })
    })

    test('[DU2] says how far a write has come, with one replica down too', async () => {
      // Concern, status, and at how many it then is at least.
      const table: readonly [string, number, string, number][] = [
        ['local', 200, 'local', 1],
        ['1', 200, 'local', 1],
        ['majority', 200, 'majority', 2],
        ['2', 200, 'majority', 2],
      ]
      const check = async (rows: readonly [string, number, string, number][]): Promise<void> => {
        for (const [concern, status, least, replicas] of rows) {
          const answer = await write(cell, 'a', `w=${concern}&timeoutMs=800`)
          expect([concern, answer.status]).toEqual([concern, status])
          expect(answer.body.replicas).toBeGreaterThanOrEqual(replicas)
          if (least !== 'local') expect(answer.body.acknowledged).not.toBe('local')
        }
      }
      await check([...table, ['3', 200, 'all', 3], ['all', 200, 'all', 3]])
      await cell.kill('c')
      await check(table)
      for (const concern of ['3', 'all']) {
        const { status, body } = await write(cell, 'a', `w=${concern}&timeoutMs=800`)
        expect([status, body.acknowledged, body.replicas]).toEqual([202, 'majority', 2])
      }
      await cell.kill('b')
      const alone = await write(cell, 'a', 'w=majority&timeoutMs=800')
      expect([alone.status, alone.body.acknowledged, alone.body.replicas]).toEqual([202, 'local', 1])
      expect((await ask<object>(cell, 'a', '/readyz')).body).toMatchObject({ ready: true, quorum: false })
      // Nobody is left who could know that its disk is old: it serves all the same.
      await cell.kill('a')
      await cell.restart('a')
      expect((await write(cell, 'a', 'w=local')).status).toBe(200)
    })

    test('[AV] a minority edits, and does not pass for a majority', async () => {
      expect((await write(cell, 'a', 'w=all')).status).toBe(200)
      cell.partition(['a'])
      const edit = await write(cell, 'a', 'w=majority&timeoutMs=500')
      expect([edit.status, edit.body.acknowledged]).toEqual([202, 'local'])
      expect((await write(cell, 'b', 'w=majority')).status).toBe(200)
      for (const level of ['majority', 'fresh']) {
        const { status, body } = await ask<Shown>(cell, 'a', `/v1/documents/notes?level=${level}&timeoutMs=500`)
        expect([status, body.error?.code, body.error?.retry]).toEqual([503, 'read/not-majority-durable', 'later'])
        expect((await ask(cell, 'b', `/v1/documents/notes?level=${level}`)).status).toBe(200)
      }
      // The session goes on where it is, and nowhere else.
      const here = await ask<Shown>(cell, 'a', '/v1/documents/notes', { session: edit.session! })
      expect(Object.keys(here.body.types?.set ?? {}).length).toBe(2)
      const path = '/v1/documents/notes?timeoutMs=300'
      const there = await ask<Shown>(cell, 'b', path, { session: edit.session! })
      expect([there.status, there.body.error]).toMatchObject([
        503,
        { code: 'session/replica-behind', retry: 'elsewhere', outcome: 'definite' },
      ])
      cell.heal()
      const later = await ask<Shown>(cell, 'b', '/v1/documents/notes?timeoutMs=30000', { session: edit.session! })
      expect(Object.keys(later.body.types?.set ?? {}).length).toBe(3)
      await expect
        .poll(async () => (await ask<{ verdict: string }>(cell, 'c', '/v1/cell/convergence')).body.verdict)
        .toBe('equal')
    })

    test('[SEC] a token that is forged, cut or of another cell is no session, and gets a fresh one', async () => {
      const { session } = await write(cell, 'a', 'w=all')
      const { id } = (await ask<CellAnswer>(cell, 'a', '/v1/cell')).body
      const token = new Recording(cell.names, id!, CELL_SECRET).decode(session!)
      const cut = session!.slice(0, -4)
      const forged = `${session!.slice(0, 40)}${session![40] === 'A' ? 'B' : 'A'}${session!.slice(41)}`
      const foreignId = '0'.repeat(32) as CellId
      const keys = createSessionKeys({ cell: foreignId, secret: CELL_SECRET })
      const foreign = encodeToken({ ...token, cell: foreignId }, keys)
      const otherSecret = createSessionKeys({ cell: id as CellId, secret: `${CELL_SECRET}!` })
      for (const bad of [cut, forged, foreign, encodeToken(token, otherSecret), 'x']) {
        const refused = await ask<Shown>(cell, 'b', '/v1/documents/notes', { session: bad })
        expect([refused.status, refused.body.error?.code]).toEqual([409, 'session/reset'])
        const again = await ask<Shown>(cell, 'b', '/v1/documents/notes', { session: refused.session! })
        expect(again.status).toBe(200)
      }
    })

    test('[CD] what was changed together is never seen half', async () => {
      const documents = ['x', 'other/y']
      let isOver = false
      const halves: string[] = []
      // Seen in the second first: then the first, read later in the session, has it too.
      const watching = cell.names.map(async (name) => {
        while (!isOver) {
          for (const [one, other] of [documents, documents.toReversed()] as [string, string][]) {
            const before = await ask<Shown>(cell, name, `/v1/documents/${encodeURIComponent(one)}`)
            const after = await ask<Shown>(cell, name, `/v1/documents/${encodeURIComponent(other)}`)
            const has = after.body.types?.set ?? {}
            halves.push(...Object.keys(before.body.types?.set ?? {}).filter((id) => !has[id]))
          }
        }
      })
      for (let id = 0; id < 60; id++) {
        const name = cell.names[id % 3]!
        const update = (): string => {
          const document = new Y.Doc()
          document.getMap('set').set(String(id), true)
          return Buffer.from(Y.encodeStateAsUpdate(document)).toString('base64')
        }
        const parts = documents.map((document) => ({ document, update: update() }))
        const { status } = await ask(cell, name, '/v1/transactions?w=local', { method: 'POST', body: { parts } })
        expect(status).toBe(200)
      }
      isOver = true
      await Promise.all(watching)
      expect(halves).toEqual([])
      for (const name of cell.names) {
        for (const document of documents) {
          const path = `/v1/documents/${encodeURIComponent(document)}?level=fresh`
          expect(Object.keys((await ask<Shown>(cell, name, path)).body.types?.set ?? {}).length).toBe(60)
        }
      }
    })

    test('says of itself what operators are promised', async () => {
      await write(cell, 'a', 'w=all')
      // What a knows of c, b hears a moment later.
      await expect
        .poll(async () => (await ask<CellAnswer>(cell, 'b', '/v1/cell')).body.members.map(({ lagOps }) => lagOps))
        .toEqual([0, 0, 0])
      const { body } = await ask<CellAnswer>(cell, 'b', '/v1/cell')
      expect(body).toMatchObject({
        cell: 'test',
        epoch: 1,
        configEpoch: expect.any(Number),
        self: 'b',
        raft: null,
        majorityDurable: { a: expect.any(Number) },
        alarms: [],
      })
      const members = async () => (await ask<CellAnswer>(cell, 'b', '/v1/cell')).body.members
      await expect.poll(members).toEqual(
        cell.names.map((name) => ({
          name,
          url: expect.stringMatching(/^ws:/),
          role: 'follower',
          state: 'active',
          reachable: true,
          vector: { a: expect.any(Number) },
          durable: { a: expect.any(Number) },
          lagOps: 0,
          lagMs: 0,
        })),
      )
      await cell.stop('c')
      await expect
        .poll(async () => (await members())[2], { timeout: 40_000 })
        .toMatchObject({ name: 'c', reachable: false })
      cell.cont('c')
    })
  })
})
