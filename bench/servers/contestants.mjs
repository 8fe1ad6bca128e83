// Who can be measured, and how each is started. A contestant is a server together with the protocol that the load
// speaks to it: Causeway speaks both stock protocols and is compared with each peer through that peer's own.
import { fileURLToPath } from 'node:url'

const script = (name) => fileURLToPath(new URL(name, import.meta.url))

/**
 * @typedef {object} Contestant
 * @property {string} server name of the server, as `--servers` takes it
 * @property {string} label what tables say
 * @property {'hocuspocus' | 'y-websocket' | 'relay'} protocol what the load speaks
 * @property {string} base path before the document's name
 * @property {(place: {port: number, data: string, root: string}) => string[]} command arguments for node
 * @property {RegExp} ready the line of standard output that says it serves
 * @property {boolean} stores whether documents survive a restart
 */

const causeway = {
  server: 'causeway',
  stores: true,
  ready: /"event":\s*"ready"/,
  command: ({ port, data, root }) => [
    `${root}/dist/server/cli/main.js`,
    'serve',
    ...['--name', 'a', '--cell', 'bench', '--listen', `127.0.0.1:${port}`, '--data', data],
  ],
}

/**
 * One replica of a cell on this machine.
 * @param ports of all replicas, by name
 */
export function cellMember(name, ports) {
  const peers = [...ports].map(([peer, port]) => `${peer}=ws://127.0.0.1:${port}`).join(',')
  return {
    ...contestants.cell,
    label: `replica ${name}`,
    command: ({ port, data, root }) => [
      `${root}/dist/server/cli/main.js`,
      'serve',
      ...['--name', name, '--cell', 'bench', '--peers', peers, '--listen', `127.0.0.1:${port}`, '--data', data],
    ],
  }
}

/** @type {Record<string, Contestant>} */
export const contestants = {
  'causeway/hocuspocus': {
    ...causeway,
    label: 'causeway via /hocuspocus',
    protocol: 'hocuspocus',
    base: '/hocuspocus',
  },
  'causeway/y': { ...causeway, label: 'causeway via /y', protocol: 'y-websocket', base: '/y' },
  // Three processes: started by `harness/cell.mjs`, a member at a time.
  cell: { ...causeway, label: 'causeway, three replicas', protocol: 'y-websocket', base: '/y' },
  hocuspocus: {
    server: 'hocuspocus',
    label: 'hocuspocus + SQLite',
    protocol: 'hocuspocus',
    base: '',
    stores: true,
    ready: /"event":"ready"/,
    command: ({ port, data }) => [script('hocuspocus.mjs'), String(port), data],
  },
  'y-websocket': {
    server: 'y-websocket',
    label: 'y-websocket in memory',
    protocol: 'y-websocket',
    base: '',
    stores: false,
    ready: /running at/,
    command: ({ port }) => [script('y-websocket.mjs'), String(port)],
  },
  'y-leveldb': {
    server: 'y-leveldb',
    label: 'y-websocket + LevelDB',
    protocol: 'y-websocket',
    base: '',
    stores: true,
    ready: /running at/,
    command: ({ port, data }) => [script('y-websocket.mjs'), String(port), data],
  },
  relay: {
    server: 'relay',
    label: 'bare ws relay',
    protocol: 'relay',
    base: '',
    stores: false,
    ready: /"event":"ready"/,
    command: ({ port }) => [script('relay.mjs'), String(port)],
  },
}

/** Names that `--servers` takes. */
export const serverNames = [...new Set(Object.values(contestants).map(({ server }) => server))]
