/** The thread of the document workers. Everything it does is in `server/document`. */
import { parentPort } from 'node:worker_threads'
import { assert } from '../../shared/base/assert.js'
import { serveTasks } from '../document/serve-tasks.js'
import { DOCUMENT_TASKS } from '../document/tasks.js'

assert(parentPort, 'this file runs as a worker thread')
serveTasks(parentPort, DOCUMENT_TASKS)
