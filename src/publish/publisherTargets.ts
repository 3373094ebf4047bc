// The newest targets with the histories before them: what other weights are tried on before they are published.

import type { EncoderStep } from '../model/encoder.ts'
import type { ItemId, UserId } from '../records/interaction.ts'

export interface GateTarget {
  readonly userId: UserId
  /** The steps before the target, oldest first. */
  readonly history: readonly EncoderStep[]
  readonly target: ItemId
}

/** A ring: about 2 KB a target at 50 steps, where windows are not shared. */
export class PublisherTargets {
  readonly #max: number
  readonly #ring: GateTarget[] = []
  #next = 0

  /** @param max targets kept, ≥ 0 */
  constructor(max: number) {
    this.#max = max
  }

  /** A target that the history holds cannot be recommended, and is left out. */
  add(target: GateTarget): void {
    if (this.#max === 0 || target.history.some(({ itemId }) => itemId === target.target)) return
    this.#ring[this.#next] = target
    this.#next = (this.#next + 1) % this.#max
  }

  /** The user's targets are no more. */
  forget(userId: UserId): void {
    if (!this.#ring.some((target) => target.userId === userId)) return
    const kept = this.newestFirst().filter((target) => target.userId !== userId)
    this.#ring.splice(0, this.#ring.length, ...kept.reverse())
    this.#next = this.#ring.length % Math.max(1, this.#max)
  }

  newestFirst(): GateTarget[] {
    return [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)].reverse()
  }
}
