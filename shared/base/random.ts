/** Random numbers from a seed (sfc32): one seed, one case, on every machine. */
export class Random {
  private a: number
  private b: number
  private c: number
  private counter = 1

  constructor(seed: number) {
    this.a = seed >>> 0
    this.b = Math.floor(seed / 2 ** 32) >>> 0
    this.c = 0x9e3779b9
    for (let warmUp = 0; warmUp < 12; warmUp++) this.next()
  }

  /** A whole number from 0 up to, not including, `end`. */
  below(end: number): number {
    return Math.floor((this.next() / 2 ** 32) * end)
  }

  /** A whole number from `least` to `most`. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1)
  }

  chance(probability: number): boolean {
    return this.next() < probability * 2 ** 32
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!
  }

  /** `count` random hexadecimal digits. */
  hex(count: number): string {
    let digits = ''
    while (digits.length < count) digits += this.next().toString(16).padStart(8, '0')
    return digits.slice(0, count)
  }

  times<Item>(least: number, most: number, make: (at: number) => Item): Item[] {
    return Array.from({ length: this.between(least, most) }, (_, at) => make(at))
  }

  private next(): number {
    const sum = (this.a + this.b + this.counter++) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = ((this.c << 21) | (this.c >>> 11)) + sum
    return sum >>> 0
  }
}
