/** Who is here, and who I am: avatars that lead to the note where somebody is, and a card to change name and colour. */
import { byId, element, setChildren } from './elements.js'
import { COLORS, cleanName, initials, type Person, type Presence } from './people.js'

export interface PeopleActions {
  /** Go to the note where this person is. */
  follow(noteId: string): void
  become(person: Person): void
}

export interface PeopleModel {
  readonly me: Person
  readonly presences: readonly Presence[]
  readonly currentId: string | undefined
  titleOf(noteId: string): string | undefined
}

const SHOWN_PEOPLE = 5

export class PeopleView {
  private readonly actions: PeopleActions
  private readonly avatars = new Map<number, HTMLLIElement>()
  private readonly more = element('li', { class: 'more' })
  private me: Person | undefined

  constructor(actions: PeopleActions) {
    this.actions = actions
    this.mountMe()
  }

  show(model: PeopleModel): void {
    const here = new Set(model.presences.map((presence) => presence.clientId))
    for (const clientId of this.avatars.keys()) if (!here.has(clientId)) this.avatars.delete(clientId)
    // Those in the same note first: they are the ones met in the text.
    const nearFirst = [...model.presences].sort(
      (left, right) => Number(right.noteId === model.currentId) - Number(left.noteId === model.currentId),
    )
    const shown = nearFirst.slice(0, SHOWN_PEOPLE).map((presence) => this.showAvatar(presence, model))
    const hidden = nearFirst.slice(SHOWN_PEOPLE)
    this.more.textContent = `+${hidden.length}`
    this.more.title = hidden.map(({ person }) => person.name).join(', ')
    setChildren(byId('people'), hidden.length > 0 ? [...shown, this.more] : shown)
    this.showMe(model.me)
  }

  private showAvatar(presence: Presence, model: PeopleModel): HTMLLIElement {
    const item = this.avatars.get(presence.clientId) ?? this.makeAvatar(presence.clientId)
    const button = item.firstElementChild as HTMLButtonElement
    const { person, noteId } = presence
    const title = noteId === undefined ? undefined : model.titleOf(noteId)
    const place = noteId === model.currentId && noteId ? 'in this note' : title === undefined ? 'here' : `in “${title}”`
    button.textContent = initials(person.name)
    button.style.setProperty('--person', person.color)
    button.dataset['note'] = noteId ?? ''
    button.classList.toggle('away', noteId !== model.currentId)
    button.title = `${person.name}, ${place}`
    button.ariaLabel = button.title
    return item
  }

  private makeAvatar(clientId: number): HTMLLIElement {
    const button = element('button', { type: 'button', class: 'avatar' })
    button.addEventListener('click', () => {
      const noteId = button.dataset['note']
      if (noteId) this.actions.follow(noteId)
    })
    const item = element('li', {}, button)
    this.avatars.set(clientId, item)
    return item
  }

  private showMe(me: Person): void {
    if (this.me?.name === me.name && this.me.color === me.color) return
    this.me = me
    const avatar = element('span', { class: 'avatar', 'aria-hidden': 'true' }, initials(me.name))
    avatar.style.setProperty('--person', me.color)
    const button = byId('me')
    button.replaceChildren(avatar, element('span', { class: 'me-name' }, me.name))
    button.ariaLabel = `You are ${me.name}. Change name or colour`
    for (const radio of byId('me-color').querySelectorAll('input')) radio.checked = radio.value === me.color
    const name = byId<HTMLInputElement>('me-name')
    if (document.activeElement !== name) name.value = me.name
  }

  private mountMe(): void {
    const form = byId<HTMLFormElement>('me-details')
    const name = byId<HTMLInputElement>('me-name')
    byId('me-color').append(
      ...COLORS.map((color) => {
        const radio = element('input', { type: 'radio', name: 'color', value: color.hex })
        const swatch = element('label', { title: color.name }, radio, element('span', { class: 'unseen' }, color.name))
        swatch.style.setProperty('--person', color.hex)
        radio.addEventListener('change', () => this.become({ color: color.hex }))
        return swatch
      }),
    )
    name.addEventListener('input', () => {
      const cleaned = cleanName(name.value)
      if (cleaned) this.become({ name: cleaned })
    })
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      form.hidePopover()
    })
    form.addEventListener('toggle', (event) => {
      if ((event as ToggleEvent).newState === 'open') name.select()
      else name.value = this.me?.name ?? ''
    })
  }

  private become(changed: Partial<Person>): void {
    if (this.me) this.actions.become({ ...this.me, ...changed })
  }
}
