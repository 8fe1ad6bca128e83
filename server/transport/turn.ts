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
  /** Empty, with the room that a turn needed. */
  private spare: TurnEnd[] = []

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
    this.defer(this.run)
  }

  private readonly run = (): void => {
    this.isScheduled = false
    const { first } = this
    this.first = this.spare
    end(first)
    const { last } = this
    this.last = first
    end(last)
    this.spare = last
  }
}

/** Ends all and empties the list; what they put off for the next turn goes into another one. */
function end(tasks: TurnEnd[]): void {
  for (const task of tasks) task.endOfTurn()
  tasks.length = 0
}
