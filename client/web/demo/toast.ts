/** A short message with one way back, that leaves by itself, but not while it is pointed at or has the focus. */
import { byId, element } from './elements.js'

const SHOWN_MS = 10_000

let current: { readonly toast: HTMLElement; readonly act: () => void } | undefined

export function showToast(message: string, actionLabel: string, act: () => void): void {
  current?.toast.remove()
  const button = element('button', { type: 'button', class: 'button' }, actionLabel)
  const toast = element('div', { class: 'toast' }, element('p', {}, message), button)
  let leaving: ReturnType<typeof setTimeout> | undefined
  const stay = (): void => clearTimeout(leaving)
  const leave = (): void => {
    clearTimeout(leaving)
    leaving = setTimeout(() => hideToast(toast), SHOWN_MS)
  }
  button.addEventListener('click', takeBack)
  for (const event of ['pointerenter', 'focusin']) toast.addEventListener(event, stay)
  for (const event of ['pointerleave', 'focusout']) toast.addEventListener(event, leave)
  current = { toast, act }
  byId('toasts').append(toast)
  leave()
}

/** Does what the toast on screen offers; returns whether there was one. */
export function takeBack(): boolean {
  if (!current) return false
  const { toast, act } = current
  hideToast(toast)
  act()
  return true
}

function hideToast(toast: HTMLElement): void {
  if (current?.toast === toast) current = undefined
  toast.remove()
}
