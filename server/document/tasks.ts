/**
 * What the document workers can do: a name, a function over bytes. A new task is a row here and its priority in
 * `pool.ts`; the compiler asks for the second once it sees the first. Inputs and results must survive a structured
 * clone: no functions, no classes but `Uint8Array`.
 */
import { agrees } from './agrees.js'
import { compact } from './compact.js'
import { diff } from './diff.js'
import { fingerprint } from './fingerprint.js'
import { patch } from './patch.js'
import { view } from './view.js'

export const DOCUMENT_TASKS = { agrees, compact, diff, fingerprint, patch, view }

export type DocumentTasks = typeof DOCUMENT_TASKS
