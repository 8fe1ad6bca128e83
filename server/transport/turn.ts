/**
 * The end of an event-loop turn. What a turn brings for one socket, from however many messages and commits, leaves in
 * one write: a write costs as much for ten frames as for one, and it is what bounds fan-out.
 */
export interface TurnEnd {
  endOfTurn(): void
}

export class Turn {
  private readonly defer: (run: () => void) => void
  private isScheduled = false
  private first: TurnEnd[] = []
  private last: TurnEnd[] = []

  /** `defer` runs its argument once, after the current turn's input: `setImmediate`. */
  constructor(defer: (run: () => void) => void = setImmediate) {
    this.defer = defer
  }

  /** Runs at the end of this turn, before what is put `atLast`: for what still makes frames. */
  atEnd(task: TurnEnd): void {
    this.first.push(task)
    this.schedule()
  }

  /** Runs when every frame of the turn has been made. */
  atLast(task: TurnEnd): void {
    this.last.push(task)
    this.schedule()
  }

  private schedule(): void {
    if (this.isScheduled) return
    this.isScheduled = true
    this.defer(() => this.run())
  }

  private run(): void {
    this.isScheduled = false
    const { first } = this
    this.first = []
    for (const task of first) task.endOfTurn()
    const { last } = this
    this.last = []
    for (const task of last) task.endOfTurn()
  }
}
