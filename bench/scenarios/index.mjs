import { capacity } from './capacity.mjs'
import { cell } from './cell.mjs'
import { durability } from './durability.mjs'
import { fanout } from './fanout.mjs'
import { idle } from './idle.mjs'
import { ingest } from './ingest.mjs'
import { join } from './join.mjs'
import { many } from './many.mjs'
import { restart } from './restart.mjs'

/** In the order in which they run: `ingest` leaves the document that `join` opens. */
export const scenarios = [fanout, capacity, many, ingest, join, idle, restart, durability, cell]
