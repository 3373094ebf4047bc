// Which items may be in lists: all, or those of the catalogue (`events.catalogueOnly`) once there is one.

import type { CatalogueReader } from '../log/catalogueReader.ts'
import type { CatalogueChange } from '../records/catalogue.ts'
import type { ItemId } from '../records/interaction.ts'
import type { Publisher } from './publisher.ts'
import type { PublishStageOptions } from './publishStageOptions.ts'

/**
 * A catalogue that arrives while this process runs counts as complete when nothing of it has come for so long. Before,
 * its first item would remove all others from the index.
 */
const catalogueRestMs = 10_000

export class CandidateItems {
  readonly #reader: CatalogueReader
  readonly #publisher: Publisher
  readonly #options: Pick<PublishStageOptions, 'replica' | 'clock' | 'config'>
  /** Items that the catalogue lacks are left out. */
  #isCatalogueOnly = false
  /** When the catalogue last changed after it had been read. */
  #changedMs = Number.NEGATIVE_INFINITY

  constructor(
    reader: CatalogueReader,
    publisher: Publisher,
    options: Pick<PublishStageOptions, 'replica' | 'clock' | 'config'>
  ) {
    this.#reader = reader
    this.#publisher = publisher
    this.#options = options
    reader.onChange((change) => this.#note(change))
  }

  has(itemId: ItemId): boolean {
    return this.#reader.catalogue.isCandidate(itemId, this.#isCatalogueOnly)
  }

  /** A catalogue exists and is not in effect yet, or it was in effect and exists no more. */
  get turns(): boolean {
    const isWanted = this.#options.config.events.catalogueOnly && this.#reader.catalogue.size > 0
    return isWanted !== this.#isCatalogueOnly
  }

  turnIfDue(nowMs: number, draining: boolean): void {
    if (!this.turns || (!draining && nowMs - this.#changedMs < catalogueRestMs)) return
    this.#isCatalogueOnly = !this.#isCatalogueOnly
    this.#publisher.candidatesChanged((itemId) => this.#options.replica.countOf(itemId))
  }

  #note({ itemId, wasDeleted, isDeleted }: CatalogueChange): void {
    const { replica, clock } = this.#options
    replica.featuresChanged(itemId)
    const count = wasDeleted || this.#isCatalogueOnly ? { count: replica.countOf(itemId) } : {}
    if (isDeleted) this.#publisher.removeItems([itemId])
    else this.#publisher.noteCatalogue([{ itemId, ...count }])
    if (this.#reader.isCaughtUp) this.#changedMs = clock.nowMs()
  }
}
