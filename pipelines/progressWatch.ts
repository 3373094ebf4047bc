// Whether stages get on with their work: offsets that move, not sockets that are open.

type StageName = 'sequence' | 'train' | 'publish'

interface Noted {
  behind: number
  consumed: number
  /** When it last moved, or had nothing to do. */
  movedAtMs: number
}

export class ProgressWatch {
  readonly #stages = new Map<StageName, Noted>()

  /**
   * @param behind records that wait for the stage
   * @param consumed a number that grows with what it has worked off
   */
  note(stage: StageName, behind: number, consumed: number, nowMs: number): void {
    const noted = this.#stages.get(stage)
    if (noted === undefined || behind === 0 || consumed !== noted.consumed) this.#stages.set(stage, { behind, consumed, movedAtMs: nowMs })
    else noted.behind = behind
  }

  /** @returns which stage has work waiting and has not moved for `staleMaxMs`; undefined: none */
  stalled(nowMs: number, staleMaxMs: number): string | undefined {
    for (const [stage, { behind, movedAtMs }] of this.#stages) {
      if (nowMs - movedAtMs > staleMaxMs)
        return `${stage} has ${behind} records waiting and has not moved for ${Math.round((nowMs - movedAtMs) / 1000)} s`
    }
    return undefined
  }

  /** Seconds since each stage last moved or had nothing to do. */
  *lags(nowMs: number): Iterable<[StageName, number]> {
    for (const [stage, { movedAtMs }] of this.#stages) yield [stage, (nowMs - movedAtMs) / 1000]
  }
}
