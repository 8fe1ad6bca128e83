/**
 * Workers and child processes run from the build, in tests too: bring it up to date first. `tsc` writes each module by
 * itself, for tests that look into one; the bundler writes what runs.
 */
import { execFileSync } from 'node:child_process'
import type { TestProject } from 'vitest/node'

const steps = [
  ['node_modules/typescript/bin/tsc', '-b', 'server'],
  ['node_modules/vite/bin/vite.js', 'build', '-c', 'vite.server.config.ts', '--logLevel', 'warn'],
]

const build = (): void => {
  for (const step of steps) execFileSync(process.execPath, step, { stdio: 'inherit' })
}

export default function setup(project: TestProject): void {
  build()
  project.onTestsRerun(async () => build())
}
