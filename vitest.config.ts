import { existsSync } from 'node:fs'
import { playwright } from '@vitest/browser-playwright'
import { defineConfig } from 'vitest/config'

const executablePath = [
  process.env['CHROMIUM_PATH'],
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
].find((path) => path && existsSync(path))
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
const skipBrowser = process.env['SKIP_BROWSER_TESTS'] === '1'
if (skipBrowser) console.warn('SKIP_BROWSER_TESTS=1: the browser tests are left out')

// Machines are shared: only a hang should fail for its time.
const patience = { testTimeout: 60_000, expect: { poll: { timeout: 20_000 } } }

export default defineConfig({
  test: {
    coverage: { provider: 'v8', include: ['{server,client,shared}/**/*.ts'], reporter: ['text', 'lcov'] },
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            '{shared,server,client}/**/*.test.ts',
            'test/{fuzz,simulator}/**/*.test.ts',
            'test/arrows.test.ts',
            'bench/**/*.test.mjs',
          ],
          pool: 'forks',
          globalSetup: ['test/setup/build.ts'],
          ...patience,
        },
      },
      {
        test: {
          name: 'processes',
          include: ['test/integration/**/*.test.ts'],
          exclude: ['test/integration/hostile/**'],
          pool: 'forks',
          globalSetup: ['test/setup/build.ts'],
          ...patience,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'hostile',
          include: ['test/integration/hostile/**/*.test.ts'],
          // What bystanders feel is measured in time: a machine that stalls for a moment gets a second chance.
          retry: 1,
          pool: 'forks',
          globalSetup: ['test/setup/build.ts'],
          ...patience,
          hookTimeout: 60_000,
        },
      },
      ...(skipBrowser
        ? []
        : [
            {
              optimizeDeps: { entries: ['client/**/*.{ts,tsx}', 'test/browser/**/*.test.ts'] },
              test: {
                name: 'browser',
                include: ['test/browser/**/*.test.ts'],
                browser: {
                  enabled: true,
                  headless: true,
                  screenshotFailures: false,
                  instances: [{ browser: 'chromium' as const }],
                  provider: playwright({ launchOptions: { ...(executablePath ? { executablePath } : {}), args } }),
                },
              },
            },
          ]),
    ],
  },
})
