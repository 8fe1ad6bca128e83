/** Light and dark: by the system, unless a person chose for this browser. */
import { recall, remember } from './remembered.js'

const CHOICES = ['system', 'light', 'dark']

/** Applies what was chosen before, and lets `fieldset` (three radio buttons) choose. */
export function mountTheme(fieldset: HTMLElement): void {
  const before = recall('browser', 'theme') ?? ''
  const chosen = CHOICES.includes(before) ? before : 'system'
  const apply = (choice: string): void => {
    document.documentElement.dataset['theme'] = choice
  }
  apply(chosen)
  for (const radio of fieldset.querySelectorAll('input')) {
    radio.checked = radio.value === chosen
    radio.addEventListener('change', () => {
      apply(radio.value)
      remember('browser', 'theme', radio.value)
    })
  }
}
