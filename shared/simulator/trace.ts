/**
 * What happened in a world. Always a digest, which two runs of one seed must share; on demand compact text, a line per
 * event: milliseconds, who, what.
 */
export class Trace {
  /** The lines, where they are kept: the oldest are dropped beyond `mostLines`. */
  readonly lines: string[] = []
  private readonly mostLines: number
  private hash = 0x811c9dc5
  private events = 0

  /** `mostLines` 0 keeps only the digest. */
  constructor(mostLines = 0) {
    this.mostLines = mostLines
  }

  /** Whether text is kept: who has to build it may spare the work. */
  get isKept(): boolean {
    return this.mostLines > 0
  }

  /** `kind` and `detail` go into the digest; `text` is asked for only where lines are kept. */
  add(atMs: number, who: string, kind: string, detail: number, text?: () => string): void {
    this.events++
    this.mix(atMs)
    this.mix(detail)
    this.mixText(who)
    this.mixText(kind)
    if (this.mostLines === 0) return
    if (this.lines.length >= this.mostLines) this.lines.splice(0, Math.ceil(this.mostLines / 4))
    this.lines.push(`${String(atMs).padStart(6)} ${who} ${kind}${text ? ` ${text()}` : ''}`)
  }

  /** Eight hex digits over all events so far, and their number. */
  get digest(): string {
    return `${(this.hash >>> 0).toString(16).padStart(8, '0')}/${this.events}`
  }

  private mix(value: number): void {
    this.hash = Math.imul(this.hash ^ (value | 0), 0x01000193)
    this.hash ^= this.hash >>> 15
  }

  private mixText(text: string): void {
    for (let at = 0; at < text.length; at++) this.hash = Math.imul(this.hash ^ text.charCodeAt(at), 0x01000193)
  }
}
