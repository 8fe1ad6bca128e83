/** Shortcuts that work anywhere on the page, and how keys are written for the reader's keyboard. */
const isApple = /Mac|iPhone|iPad/.test(navigator.platform)

const APPLE_SIGNS: Readonly<Record<string, string>> = { Mod: '⌘', Alt: '⌥', Shift: '⇧', Enter: '↩', Delete: '⌫' }

export interface PageShortcuts {
  create(): void
  search(): void
  showKeys(): void
  /** Undo outside of any text; returns whether there was something to take back. */
  undo(): boolean
}

export function mountShortcuts(actions: PageShortcuts): void {
  for (const kbd of document.querySelectorAll<HTMLElement>('kbd[data-keys]')) {
    kbd.textContent = writeKeys(kbd.dataset['keys'] ?? '')
  }
  document.addEventListener(
    'keydown',
    (event) => {
      const action = chooseAction(event, actions)
      if (!action || document.querySelector('dialog[open]')) return
      if (action() !== false) event.preventDefault()
    },
    // Before the editor sees the key.
    { capture: true },
  )
}

function chooseAction(event: KeyboardEvent, actions: PageShortcuts): (() => unknown) | undefined {
  const mod = isApple ? event.metaKey && !event.ctrlKey : event.ctrlKey && !event.metaKey
  // By its place on the keyboard: with Alt, the letter itself may be a dead key.
  if (event.altKey && !event.ctrlKey && !event.metaKey && event.code === 'KeyN') return actions.create
  if (!mod || event.altKey) return undefined
  const key = event.key.toLowerCase()
  if (key === 'k' && !event.shiftKey) return actions.search
  if (key === '/') return actions.showKeys
  if (key === 'z' && !event.shiftKey && !isInText(event.target)) return actions.undo
  return undefined
}

function isInText(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches('input, textarea'))
}

function writeKeys(keys: string): string {
  const parts = keys.split('+')
  if (!isApple) return parts.map((part) => (part === 'Mod' ? 'Ctrl' : part)).join(' ')
  return parts.map((part) => APPLE_SIGNS[part] ?? part).join('')
}
