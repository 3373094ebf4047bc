// Reports an index version that does not go live, once, and that it does.

import type { HeldPromotion, ItemReport, UserReport } from './publisherReport.ts'
import type { PublishStageOptions } from './publishStageOptions.ts'

type Parts = Pick<PublishStageOptions, 'clock' | 'logger' | 'onHeldPromotion'>

export class PromotionWatch {
  readonly #parts: Parts
  #held: HeldPromotion | undefined

  constructor(parts: Parts) {
    this.#parts = parts
  }

  get held(): HeldPromotion | undefined {
    return this.#held
  }

  /** @returns whether another version went live */
  note({ promotion, indexVersion, step }: ItemReport | UserReport): boolean {
    if (promotion === undefined) return false
    const { clock, logger, onHeldPromotion } = this.#parts
    const { outcome } = promotion
    if (outcome === 'done') {
      if (this.#held !== undefined) onHeldPromotion?.(undefined)
      this.#held = undefined
      logger?.info({ model: `${indexVersion}@${step}`, outcome }, `index version ${indexVersion} is live`)
      return true
    }
    if (this.#held?.indexVersion === indexVersion) return false
    const text = `index version ${indexVersion} does not go live: ${promotion.reason}`
    this.#held = { indexVersion, sinceMs: clock.nowMs(), text }
    onHeldPromotion?.(this.#held)
    logger?.warn({ indexVersion, outcome }, text)
    return false
  }
}
