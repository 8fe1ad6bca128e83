/** A person at the demo: one browser context behind a link of its own, and the moves that the tests speak of. */
import { existsSync } from 'node:fs'
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core'
import { type Link, openLink } from './link.js'

const PLACES = [
  process.env['CHROMIUM_PATH'],
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
]
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
]

export function launchBrowser(): Promise<Browser> {
  const executablePath = PLACES.find((path) => path && existsSync(path))
  return chromium.launch({ ...(executablePath ? { executablePath } : {}), args: ARGUMENTS })
}

export class Person {
  readonly page: Page
  readonly link: Link
  /** What the console complained of; a failed connection is no complaint, it is what some tests are about. */
  readonly complaints: string[] = []

  private constructor(page: Page, link: Link) {
    this.page = page
    this.link = link
    page.on('pageerror', (error) => this.complaints.push(String(error)))
    page.on('console', (message) => {
      const isConnection = /^(WebSocket connection to|Failed to load resource: net::ERR)/.test(message.text())
      if (['error', 'warning'].includes(message.type()) && !isConnection) this.complaints.push(message.text())
    })
  }

  /** Opens the notebook and, where a name is given, takes it. */
  static async arrive(browser: Browser, serverUrl: string, name = '', options: BrowserContextOptions = {}) {
    const link = await openLink(serverUrl)
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
    const person = new Person(await context.newPage(), link)
    await person.page.goto(link.url)
    await person.status('Saved').waitFor()
    if (name) await person.takeName(name)
    return person
  }

  async leave(): Promise<void> {
    await this.page.context().close()
    await this.link.close()
  }

  get title(): Locator {
    return this.page.getByRole('textbox', { name: 'Title of the note' })
  }

  get text(): Locator {
    return this.page.getByRole('textbox', { name: 'Text of the note' })
  }

  /** The rows of the list. */
  get rows(): Locator {
    return this.page.getByRole('list', { name: 'Notes' }).getByRole('link')
  }

  row(title: string): Locator {
    return this.rows.filter({ has: this.page.getByText(title, { exact: true }) })
  }

  status(text: string | RegExp): Locator {
    return this.page.getByRole('main').getByRole('button', { name: text, exact: true })
  }

  /** The name at another person's cursor. */
  cursorOf(name: string): Locator {
    return this.text.locator('.remote-name', { hasText: name })
  }

  async takeName(name: string): Promise<void> {
    await this.page.getByRole('button', { name: /^You are/ }).click()
    await this.page.getByLabel('Your name').fill(name)
    await this.page.keyboard.press('Enter')
    await this.page.getByLabel('Your name').waitFor({ state: 'hidden' })
  }

  async makeNote(title: string, text = ''): Promise<void> {
    await this.page.getByRole('button', { name: 'New note' }).click()
    await this.title.fill(title)
    if (text) await this.write(text)
  }

  async open(title: string): Promise<void> {
    await this.row(title).click()
    await this.text.waitFor()
  }

  /** Types at the end of the text. */
  async write(text: string): Promise<void> {
    await this.text.focus()
    await this.page.keyboard.press('Control+End')
    await this.page.keyboard.type(text)
  }

  /** The text as written, without the names at cursors. */
  async reads(): Promise<string> {
    const lines = await this.text.locator('.cm-line').evaluateAll((elements) =>
      elements.map((line) => {
        const copy = line.cloneNode(true) as HTMLElement
        for (const caret of copy.querySelectorAll('.remote-caret, .cm-placeholder')) caret.remove()
        return copy.textContent ?? ''
      }),
    )
    return lines.join('\n')
  }
}
