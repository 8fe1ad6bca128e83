/** What a tab or a browser remembers for this page. A browser may forbid storage: then it lasts as long as the page. */
const PREFIX = 'causeway-notebook-'

export type Keeper = 'tab' | 'browser'

export function recall(keeper: Keeper, key: string): string | undefined {
  try {
    return storageOf(keeper).getItem(PREFIX + key) ?? undefined
  } catch {
    return undefined
  }
}

export function remember(keeper: Keeper, key: string, value: string): void {
  try {
    storageOf(keeper).setItem(PREFIX + key, value)
  } catch {
    // Nothing depends on it.
  }
}

function storageOf(keeper: Keeper): Storage {
  return keeper === 'tab' ? sessionStorage : localStorage
}
