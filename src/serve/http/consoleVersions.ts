// What `GET /v1/versions` tells: which weights are served, which were tried and refused, and what can be gone back to.

export interface VersionNumbers {
  /** `version@step`; null: nothing is published yet. */
  readonly live: string | null
  /** Other index versions of the index. */
  readonly kept: readonly string[]
  /** Newest first. */
  readonly gates: readonly {
    readonly step: number
    readonly atMs: number
    /** `accepted`, `refused` and the like. */
    readonly outcome: string
    /** What was compared, and why it was refused. */
    readonly detail: string
  }[]
  /** Newest first: what `mtmi rollback` takes. */
  readonly checkpoints: readonly {
    readonly step: number
    /** Kept beyond the newest ones. */
    readonly version: boolean
    readonly savedAtMs?: number
    readonly examplesLearned: number
    /** Why it cannot be read. */
    readonly damaged?: string
  }[]
  /** What waits or is held back, in words; empty: nothing. */
  readonly held: readonly string[]
}
