/**
 * What the page says about saving and about the connection: a button with one glance's worth, a card that explains it,
 * and a live region for those who do not see it. "Saved" never shows early; it may show a moment late, so that the
 * sign does not flicker at every key.
 */
import { byId, setText } from './elements.js'
import type { SavedState } from './saved.js'
import type { Connection } from './shared-document.js'

export interface StatusModel {
  readonly saved: SavedState
  readonly connection: Connection
}

interface Shown {
  readonly kind: 'wait' | 'saving' | 'saved' | 'offline' | 'refused'
  readonly icon: string
  readonly text: string
  readonly heading: string
  readonly explained: string
  readonly connection: string
}

const CALM_MS = 500

export class StatusView {
  private readonly host: string
  private calm: ReturnType<typeof setTimeout> | undefined
  private shown: Shown['kind'] = 'wait'
  private hadWaiting = false

  /** `host` is named as the server that the page talks to. */
  constructor(host: string) {
    this.host = host
  }

  show(model: StatusModel): void {
    const next = describe(model, this.host)
    clearTimeout(this.calm)
    if (next.kind === 'saved' && this.shown === 'saving') this.calm = setTimeout(() => this.draw(next), CALM_MS)
    else this.draw(next)
    if (model.saved.type === 'offline' && model.saved.changes > 0) this.hadWaiting = true
  }

  private draw(next: Shown): void {
    const button = byId('status')
    button.dataset['kind'] = next.kind
    button.querySelector('use')?.setAttribute('href', `#i-${next.icon}`)
    setText(byId('status-text'), next.text)
    setText(byId('status-heading'), next.heading)
    setText(byId('status-explained'), next.explained)
    setText(byId('status-connection'), next.connection)
    if (next.kind !== this.shown) this.announce(this.shown, next)
    this.shown = next.kind
  }

  /** Said aloud: losing the connection, having it back. Not each change that is saved. */
  private announce(before: Shown['kind'], next: Shown): void {
    if (next.kind === 'offline' || next.kind === 'refused') say(`${next.heading}. ${next.explained}`)
    else if (next.kind === 'saved' && (before === 'offline' || this.hadWaiting)) {
      say(this.hadWaiting ? 'Connected again. All changes are saved.' : 'Connected again.')
      this.hadWaiting = false
    }
  }
}

/** Speaks through the live region. */
export function say(text: string): void {
  setText(byId('live'), text)
}

function describe({ saved, connection }: StatusModel, host: string): Shown {
  if (connection.type === 'refused') {
    return {
      kind: 'refused',
      icon: 'alert',
      text: 'Refused',
      heading: 'The server refused this page',
      explained: `It said: ${connection.reason}. Copy what you need, then reload.`,
      connection: `No connection to ${host}.`,
    }
  }
  if (saved.type === 'offline') return describeOffline(saved.changes, connection, host)
  if (saved.type === 'saving') {
    return {
      kind: 'saving',
      icon: 'up',
      text: saved.changes === 1 ? 'Saving 1 change' : `Saving ${saved.changes} changes`,
      heading: 'Saving',
      explained: `${count(saved.changes)} on the way. Saved means that the server has written to disk and said so.`,
      connection: `Connected to ${host}.`,
    }
  }
  return {
    kind: 'saved',
    icon: 'check',
    text: 'Saved',
    heading: 'All changes are saved',
    explained: 'The server has written each of your changes to disk and confirmed it.',
    connection: `Connected to ${host}.`,
  }
}

function describeOffline(changes: number, connection: Connection, host: string): Shown {
  const trying = connection.type === 'offline' ? `${host} does not answer. Trying again…` : `Connecting to ${host}…`
  if (connection.type !== 'offline' && changes === 0) {
    const text = connection.type === 'reconnecting' ? 'Reconnecting…' : 'Connecting…'
    return {
      kind: 'wait',
      icon: 'cut',
      text,
      heading: text.replace('…', ''),
      explained: 'This takes a moment.',
      connection: trying,
    }
  }
  const name = connection.type === 'reconnecting' ? 'Reconnecting' : 'Offline'
  return {
    kind: 'offline',
    icon: 'cut',
    text: changes === 0 ? name : `${name}: ${changes === 1 ? '1 change waits' : `${changes} changes wait`}`,
    heading: 'No connection',
    explained:
      changes === 0
        ? 'You can go on writing. Your changes are kept in this tab and sent when the server is back.'
        : `${count(changes)} kept in this tab, and sent when the server is back. Keep the tab open.`,
    connection: trying,
  }
}

function count(changes: number): string {
  return changes === 1 ? '1 change is' : `${changes} changes are`
}
