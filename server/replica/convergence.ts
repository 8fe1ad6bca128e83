export interface ConvergenceReport {
  readonly verdict: 'equal' | 'lagging' | 'diverged'
  readonly checked: number
  readonly diverged: readonly string[]
  readonly documents: readonly {
    readonly document: string
    readonly state: 'equal' | 'lagging' | 'diverged' | 'unknown'
    readonly replicas: Readonly<
      Record<string, { readonly clock: Readonly<Record<string, number>>; readonly fingerprint: string } | null>
    >
  }[]
  readonly heldBack: readonly {
    readonly replica: string
    readonly dot: string
    readonly waitsFor: Readonly<Record<string, number>>
  }[]
  readonly unreachable: readonly string[]
}
