// What a figure is worth depends on where it was taken: the machine, the commit, the disk, and who else was at work.
import { execFileSync } from 'node:child_process'
import { readFileSync, statfsSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { cores } from './usage.mjs'

const fileSystems = { 61267: 'ext4', 1481003842: 'xfs', 2435016766: 'btrfs', 2035054128: 'overlay', 16914836: 'tmpfs' }

/** @returns everything that a result is stored with */
export function describeRun({ root, data }) {
  const type = statfsSync(data).type
  const lock = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'))
  const version = (name) => lock.packages[`node_modules/${name}`]?.version
  return {
    date: new Date().toISOString(),
    commit: commitOf(root),
    machine: `${cores} x ${cpus()[0]?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`,
    node: process.version,
    load: loadavg()
      .map((value) => value.toFixed(2))
      .join(' '),
    dataFileSystem: fileSystems[type] ?? `0x${type.toString(16)}`,
    peers: Object.fromEntries(
      ['@hocuspocus/server', '@hocuspocus/extension-sqlite', '@y/websocket-server', 'ws', 'yjs'].map((name) => [
        name,
        version(name),
      ]),
    ),
  }
}

export function headline(run) {
  const peers = Object.entries(run.peers).map(([name, version]) => `${name} ${version}`)
  const lines = [
    `commit ${run.commit} on ${run.date}, node ${run.node}`,
    `machine: ${run.machine}; load average before: ${run.load}`,
    `peers: ${peers.join(', ')}`,
    `data folders on ${run.dataFileSystem}: durable writes pay for this disk`,
  ]
  if (run.dataFileSystem === 'tmpfs') {
    lines.push('WARNING: that is memory, where a durable write costs nothing; set TMPDIR to a folder on a disk')
  }
  return lines.join('\n')
}

function commitOf(root) {
  const git = (...args) =>
    execFileSync('git', ['-C', root, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') ? ' with changes' : '')
  } catch {
    return 'unknown'
  }
}
