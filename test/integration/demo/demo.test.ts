/** The notebook as people use it: real pages in a real browser, each person behind a network of their own. */
import type { Browser, BrowserContextOptions } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { launchBrowser, Person } from './person.js'
import { type DemoServer, startDemoServer } from './server.js'

const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }

describe.skipIf(process.env['SKIP_BROWSER_TESTS'] === '1')('the notebook', () => {
  let server: DemoServer
  let browser: Browser
  let people: Person[] = []

  const arrive = async (name?: string, options?: BrowserContextOptions): Promise<Person> => {
    const person = await Person.arrive(browser, server.url, name, options)
    people.push(person)
    return person
  }

  beforeAll(async () => {
    server = await startDemoServer()
    browser = await launchBrowser()
  })

  afterEach(async () => {
    const complaints = people.flatMap((person) => person.complaints)
    await Promise.all(people.map((person) => person.leave()))
    people = []
    expect(complaints, 'the console stays quiet').toEqual([])
  })

  afterAll(async () => {
    await browser?.close()
    await server?.stop()
  })

  test('two people who open an empty notebook at once find one welcome note', async () => {
    const [ada, grace] = await Promise.all([arrive(), arrive()])
    for (const person of [ada, grace]) {
      await person.text.waitFor()
      await expect.poll(() => person.rows.count()).toBe(1)
      await expect.poll(() => person.reads()).toMatch(/^This page is \*shared\*/)
      expect((await person.reads()).match(/Things to try/g)).toHaveLength(1)
    }
  })

  test('what one makes and writes appears with the other, with name and cursor', async () => {
    const [ada, grace] = await Promise.all([arrive('Ada'), arrive('Grace')])
    await ada.makeNote('Plan', 'From Ada. ')
    await grace.open('Plan')
    await expect.poll(() => grace.reads()).toBe('From Ada. ')
    await grace.cursorOf('Ada').waitFor()
    await grace.write('From Grace.')
    await ada.cursorOf('Grace').waitFor()
    await Promise.all([ada.page.keyboard.type('More.'), grace.page.keyboard.type('Again.')])
    await Promise.all([ada.status('Saved').waitFor(), grace.status('Saved').waitFor()])
    await expect.poll(async () => (await ada.reads()) === (await grace.reads())).toBe(true)
    expect([...(await ada.reads())].sort().join('')).toBe([...'From Ada. From Grace.More.Again.'].sort().join(''))

    const grace2 = ada.page.getByRole('button', { name: 'Grace, in this note' })
    await grace2.waitFor()
    await grace.takeName('Admiral Hopper')
    await ada.cursorOf('Admiral Hopper').waitFor()
    await grace2.waitFor({ state: 'hidden' })
  })

  test('"Saved" appears when the echo has come back, and not while it is under way', async () => {
    const [ada, grace] = await Promise.all([arrive('Ada'), arrive('Grace')])
    await ada.makeNote('Under way', 'a')
    await grace.open('Under way')
    await ada.status('Saved').waitFor()
    const said = await recordStatus(ada)
    ada.link.hold()
    await ada.write('bc')
    await expect.poll(() => grace.reads()).toBe('abc')
    // The server has it, as Grace reads it; Ada has not been told.
    await ada.status(/^Saving \d changes$/).waitFor()
    expect(await said()).not.toContain('Saved')
    ada.link.release()
    await ada.status('Saved').waitFor()
  })

  test('without a connection writing goes on, is counted as waiting, and arrives when it is back', async () => {
    const [ada, grace] = await Promise.all([arrive('Ada'), arrive('Grace')])
    await ada.makeNote('Away', 'before ')
    await grace.open('Away')
    await expect.poll(() => grace.reads()).toBe('before ')
    await ada.status('Saved').waitFor()

    ada.link.cut()
    await ada.status('Reconnecting…').waitFor()
    await ada.write('while away')
    await ada.status(/^Offline: \d+ changes wait$/).waitFor()
    await expect.poll(() => ada.page.locator('#live').textContent()).toMatch(/^No connection/)
    await ada.makeNote('Made offline', 'also this')
    await grace.write('meanwhile ')
    await grace.status('Saved').waitFor()
    expect(await grace.reads()).toBe('before meanwhile ')

    ada.link.mend()
    await ada.status('Saved').waitFor()
    await ada.open('Away')
    await expect.poll(async () => (await ada.reads()) === (await grace.reads())).toBe(true)
    expect(await grace.reads()).toContain('while away')
    expect(await grace.reads()).toContain('meanwhile ')
    await expect.poll(() => ada.page.locator('#live').textContent()).toMatch(/^Connected again/)
    await grace.open('Made offline')
    await expect.poll(() => grace.reads()).toBe('also this')
  })

  test('a page with waiting changes asks before it is closed', async () => {
    const ada = await arrive('Ada')
    await ada.makeNote('Unsaved', 'a')
    await ada.status('Saved').waitFor()
    ada.link.cut()
    await ada.write('b')
    await ada.status(/change/).waitFor()
    const asked = ada.page.waitForEvent('dialog')
    await ada.page.close({ runBeforeUnload: true })
    const dialog = await asked
    expect(dialog.type()).toBe('beforeunload')
    await dialog.dismiss()
    ada.link.mend()
    await ada.status('Saved').waitFor()
  })

  test('a reload keeps the note, its text, and who one is', async () => {
    const ada = await arrive('Ada Lovelace')
    await ada.makeNote('Kept', 'every word')
    await ada.status('Saved').waitFor()
    await ada.page.reload()
    await ada.text.waitFor()
    expect(await ada.title.inputValue()).toBe('Kept')
    await expect.poll(() => ada.reads()).toBe('every word')
    await ada.page.getByRole('button', { name: 'You are Ada Lovelace.' }).waitFor()
  })

  test('a note deleted by one is marked for the other, and comes back by either', async () => {
    const [ada, grace] = await Promise.all([arrive('Ada'), arrive('Grace')])
    await ada.makeNote('Doomed', 'words')
    await grace.open('Doomed')
    await ada.page.getByRole('button', { name: 'Delete', exact: true }).click()
    await grace.page.getByText('Ada deleted this note.').waitFor()
    await expect.poll(() => grace.text.getAttribute('contenteditable')).toBe('false')
    await ada.page.getByRole('button', { name: 'Undo' }).click()
    await grace.page.getByText('Ada deleted this note.').waitFor({ state: 'hidden' })
    await expect.poll(() => ada.title.inputValue()).toBe('Doomed')

    await ada.page.getByRole('button', { name: 'Delete', exact: true }).click()
    await grace.page.getByRole('button', { name: 'Bring it back' }).click()
    await ada.open('Doomed')
    expect(await ada.reads()).toBe('words')

    await ada.page.getByRole('button', { name: 'Delete', exact: true }).click()
    await grace.page.getByText('Ada deleted this note.').waitFor()
    await grace.page.getByRole('button', { name: 'Deleted notes' }).click()
    await grace.page.getByRole('button', { name: 'Restore Doomed' }).click()
    await ada.row('Doomed').waitFor()
  })

  test('everything can be done by keyboard, and the focus can be seen', async () => {
    const ada = await arrive('Ada')
    const { keyboard } = ada.page
    await keyboard.press('Alt+n')
    await keyboard.type('By keyboard')
    await keyboard.press('Enter')
    await keyboard.type('some ')
    await keyboard.press('Control+b')
    await keyboard.type('bold')
    await expect.poll(() => ada.reads()).toBe('some **bold**')
    await keyboard.press('Escape')
    expect(await focused(ada)).toMatchObject({ text: expect.stringContaining('By keyboard'), isOutlined: true })
    await keyboard.press('F2')
    await keyboard.type('Renamed')
    await keyboard.press('Escape')
    await ada.row('Renamed').waitFor()
    await keyboard.press('Delete')
    await ada.row('Renamed').waitFor({ state: 'hidden' })
    await keyboard.press('Control+z')
    await ada.row('Renamed').waitFor()
    await keyboard.press('ArrowDown')
    expect((await focused(ada)).text).not.toContain('Renamed')
    await keyboard.press('Home')
    await keyboard.press('Enter')
    await keyboard.press('Control+Home')
    await keyboard.type('>')
    await expect.poll(() => ada.reads()).toBe('>some **bold**')
    await keyboard.press('Control+z')
    await expect.poll(() => ada.reads()).not.toContain('>')
    await keyboard.press('Control+Shift+Z')
    await expect.poll(() => ada.reads()).toBe('>some **bold**')
    await keyboard.press('Control+k')
    await keyboard.type('renam')
    await expect.poll(() => ada.rows.count()).toBe(1)
    await keyboard.press('ArrowDown')
    expect((await focused(ada)).text).toContain('Renamed')
    await keyboard.press('Control+/')
    await ada.page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor()
    await keyboard.press('Escape')
    await ada.page.getByRole('dialog').waitFor({ state: 'hidden' })
    // Round the page: each stop is visible and has a name, and the editor lets the focus out again.
    const stops: string[] = []
    for (let stop = 0; stop < 16; stop++) {
      await keyboard.press('Tab')
      const now = await focused(ada)
      if (now.text === '') continue
      expect(now.isOutlined, now.text).toBe(true)
      stops.push(now.text)
    }
    expect(stops.join('\n')).toMatch(/Text of the note[\s\S]*Search notes/)
  })

  test('on a phone there is the list or a note, and nothing runs out of the screen', async () => {
    const ada = await arrive('Ada Byron, Countess of Lovelace', PHONE)
    const fits = () => ada.page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)
    expect(await fits()).toBe(true)
    await ada.text.waitFor({ state: 'hidden' })
    await ada.makeNote(
      `A title with a${'n endless'.repeat(9)} word${'x'.repeat(60)}`,
      `[link](https://example.com/${'y'.repeat(90)})`,
    )
    await ada.status('Saved').waitFor()
    expect(await fits()).toBe(true)
    expect(await ada.rows.first().isVisible()).toBe(false)
    await ada.page.getByRole('button', { name: /^You are/ }).click()
    expect(await fits()).toBe(true)
    await ada.page.keyboard.press('Escape')
    await ada.page.getByRole('button', { name: 'All notes' }).click()
    await ada.rows.first().waitFor()
    expect(await ada.text.isVisible()).toBe(false)
    expect(await fits()).toBe(true)
    await ada.page.goBack()
    await ada.text.waitFor()
  })

  test('what others write is shown as text, never run', async () => {
    const [ada, grace] = await Promise.all([arrive('<img src=x onerror=alert(1)>'), arrive('Grace')])
    await ada.makeNote('<script>alert(2)</script>', '<img src=x onerror=alert(3)>')
    await grace.open('<script>alert(2)</script>')
    await grace.cursorOf('<img src=x onerror=alert(1)>').waitFor()
    expect(await grace.page.locator('main script, nav script, img:not(.cm-widgetBuffer)').count()).toBe(0)
  })

  test('colours follow the system until one is chosen, which a reload keeps', async () => {
    const ada = await arrive('Ada', { colorScheme: 'dark' })
    const background = () => ada.page.evaluate(() => getComputedStyle(document.querySelector('main')!).backgroundColor)
    const dark = await background()
    await ada.page.emulateMedia({ colorScheme: 'light' })
    const light = await background()
    expect(light).not.toBe(dark)
    await ada.page.getByRole('radio', { name: 'Dark' }).check()
    expect(await background()).toBe(dark)
    await ada.page.reload()
    expect(await background()).toBe(dark)
    await ada.page.getByRole('radio', { name: 'As the system' }).check()
    expect(await background()).toBe(light)
  })
})

/** Collects what the status says from now on. */
async function recordStatus(person: Person): Promise<() => Promise<string[]>> {
  const said = await person.page.evaluateHandle(() => {
    const texts: string[] = []
    const target = document.getElementById('status-text')!
    new MutationObserver(() => texts.push(target.textContent ?? '')).observe(target, { childList: true })
    return texts
  })
  return () => said.jsonValue()
}

/** What has the focus: its name or text, and whether the page shows it. */
function focused(person: Person): Promise<{ text: string; isOutlined: boolean }> {
  return person.page.evaluate(() => {
    const element = document.activeElement as HTMLElement
    const isShown = (candidate: Element | null) => {
      const style = candidate && getComputedStyle(candidate)
      return !!style && ((style.outlineStyle !== 'none' && style.outlineWidth !== '0px') || style.boxShadow !== 'none')
    }
    const labels = (element as HTMLInputElement).labels
    return {
      text:
        element === document.body ? '' : (element.ariaLabel ?? labels?.[0]?.textContent ?? element.textContent ?? ''),
      // A text shows its cursor; a field may show the focus at what surrounds it.
      isOutlined: element.isContentEditable || isShown(element) || isShown(element.parentElement),
    }
  })
}
