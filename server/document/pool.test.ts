import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, expect, test, vi } from 'vitest'
import * as Y from 'yjs'
import { compact } from './compact.js'
import type { DocumentState } from './document-state.js'
import { fingerprint } from './fingerprint.js'
import { patch } from './patch.js'
import { parsePatchOperations } from './patch-operation.js'
import { DocumentWorkers } from './pool.js'
import { view } from './view.js'

// Other suites share the machine: only a hang should fail for its time.
vi.setConfig({ testTimeout: 30_000 })

const workers = new DocumentWorkers()
afterAll(() => workers.close())

const state = ((): DocumentState => {
  const tail: Uint8Array[] = []
  const doc = new Y.Doc()
  doc.on('update', (update: Uint8Array) => tail.push(update))
  doc.getMap('map').set('bytes', new Uint8Array([1, 2, 3]))
  doc.getText('text').insert(0, 'some text')
  doc.getText('text').delete(0, 5)
  return { snapshot: tail[0], tail: tail.slice(1) }
})()

test('the workers answer as the functions do, and the state stays usable', async () => {
  const before = structuredClone(state)
  const operations = parsePatchOperations([{ op: 'insertText', path: ['text'], text: '!' }])
  expect(await workers.compact(state)).toEqual(compact(state))
  expect(await workers.fingerprint(state)).toBe(fingerprint(state))
  expect(await workers.patch(state, operations, 5)).toEqual(patch(state, operations, 5))
  expect(await workers.view(state)).toBe(view(state))
  expect(await workers.view(state, { text: 'map' })).toBe(view(state, { text: 'map' }))
  const whole = await workers.diff(state, new Uint8Array([0]))
  expect(fingerprint({ snapshot: whole, tail: [] })).toBe(fingerprint(state))
  expect(await workers.agrees(state, whole, [], new Map())).toBe(true)
  expect(state).toEqual(before)
  expect(Object.keys(workers.stats().tasks).sort()).toEqual([
    'agrees',
    'compact',
    'diff',
    'fingerprint',
    'patch',
    'view',
  ])
})

test.each<[string, () => Promise<unknown>, object]>([
  [
    'a document that cannot be written again',
    () => workers.compact({ snapshot: undefined, tail: [new Uint8Array([0, 1, 1, 1, 5, 3])] }),
    { code: 'document/uncompactable', details: { reason: 'failed to load' } },
  ],
  ['a state vector that is none', () => workers.diff(state, new Uint8Array([9])), { code: 'protocol/bad-message' }],
  [
    'an operation that is out of range',
    () => workers.patch(state, [{ op: 'remove', path: ['a'], index: 0, length: 1 }], 5),
    { code: 'request/invalid', details: { path: 'operations[0].index' } },
  ],
])('%s is refused with its code', async (_what, call, expected) => {
  await expect(call()).rejects.toMatchObject(expected)
})

test('types nested deeper than a reader would bear can be compacted, deleted or not', async () => {
  const doc = new Y.Doc()
  doc.transact(() => {
    let parent = doc.getArray<unknown>('root')
    for (let level = 0; level < 4_000; level++) {
      const inner = new Y.Array<unknown>()
      parent.push([inner])
      parent = inner
    }
  })
  const nested = { snapshot: undefined, tail: [Y.encodeStateAsUpdate(doc)] }
  const { update, fingerprint } = await workers.compact(nested)
  expect(await workers.fingerprint({ snapshot: update, tail: [] })).toBe(fingerprint)
  await expect(workers.view(nested)).rejects.toMatchObject({ code: 'document/too-expensive' })

  const deletion = await workers.patch(nested, [{ op: 'remove', path: ['root'], index: 0, length: 1 }], 5)
  const deleted = await workers.compact({ snapshot: update, tail: [deletion.update] })
  expect(deleted.update.length).toBeLessThan(100)
})

test('the main thread does not load Yjs, and an idle pool does not keep the process alive', async () => {
  const pool = new URL('../../dist/.modules/server/document/pool.js', import.meta.url)
  const script = `import('${pool}')
    .then(({ DocumentWorkers }) => new DocumentWorkers().view({ snapshot: undefined, tail: [] }))
    .then((text) => console.log(JSON.stringify([text, globalThis['__ $YJS$ __'] === true])))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--eval', script], { timeout: 25_000 })
  expect(JSON.parse(stdout)).toEqual(['{}', false])
}, 30_000)
