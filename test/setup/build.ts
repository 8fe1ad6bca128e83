/** Workers and child processes run from the build, in tests too: bring it up to date first. */
import { execFileSync } from 'node:child_process'
import type { TestProject } from 'vitest/node'

const build = (): void => {
  execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-b', 'server'], { stdio: 'inherit' })
}

export default function setup(project: TestProject): void {
  build()
  project.onTestsRerun(async () => build())
}
