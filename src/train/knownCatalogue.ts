// The catalogue as the trainer knows it. A batch that is trained on again after a crash must not know more of its items
// than it did the first time, so changes read meanwhile are held back.

import type { CatalogueReader } from '../log/catalogueReader.ts'
import type { CatalogueChange } from '../records/catalogue.ts'
import type { ItemId } from '../records/interaction.ts'
import type { StageTrainer } from './trainer.ts'

export class KnownCatalogue {
  readonly #reader: CatalogueReader
  readonly #trainer: Pick<StageTrainer, 'featuresChanged'>
  /** Next offset of the catalogue that the trainer knows. */
  #next = 0n
  readonly #until: () => bigint | undefined
  #heldBack: CatalogueChange[] = []
  /** Features as the trainer still knows them, and how many of the item's changes are held back. */
  readonly #known = new Map<ItemId, { features: readonly string[]; heldBack: number }>()

  /**
   * @param until next offset that the next batch knew the first time; undefined: it is new, and knows everything read
   */
  constructor(
    reader: CatalogueReader,
    trainer: Pick<StageTrainer, 'useCatalogue' | 'featuresChanged'>,
    until: () => bigint | undefined
  ) {
    this.#reader = reader
    this.#trainer = trainer
    this.#until = until
    reader.onChange((change) => this.#note(change))
    trainer.useCatalogue((itemId) => this.#known.get(itemId)?.features ?? reader.catalogue.featuresOf(itemId))
  }

  get next(): bigint {
    return this.#next
  }

  /** Before a batch is trained on. @param until next offset that it knew the first time; undefined: it is new */
  advance(until: bigint | undefined): void {
    const to = until ?? this.#reader.next
    const later = this.#heldBack.findIndex(({ offset }) => offset >= to)
    for (const { itemId, after } of this.#heldBack.splice(0, later < 0 ? this.#heldBack.length : later)) {
      const known = this.#known.get(itemId)!
      known.features = after
      if (--known.heldBack === 0) this.#known.delete(itemId)
      this.#trainer.featuresChanged(itemId)
    }
    if (to > this.#next) this.#next = to
  }

  #note(change: CatalogueChange): void {
    const { itemId, before, offset } = change
    const until = this.#until()
    if (until === undefined || offset < until) {
      this.#trainer.featuresChanged(itemId)
      return
    }
    this.#heldBack.push(change)
    const known = this.#known.get(itemId)
    if (known === undefined) this.#known.set(itemId, { features: before, heldBack: 1 })
    else known.heldBack++
  }
}
