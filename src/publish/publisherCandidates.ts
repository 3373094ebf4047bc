// Which items may be in the index: the model knows them, or the catalogue has them, and lists may contain them.

import { isId } from '../index/indexChecks.ts'
import type { ItemId } from '../records/interaction.ts'
import type { PublisherItems } from './publisherItems.ts'
import type { PublisherParts } from './publisherReport.ts'

export class PublisherCandidates {
  readonly #items: PublisherItems
  readonly #parts: Required<Pick<PublisherParts, 'catalogue' | 'isCandidate'>>
  /** To be removed from the index. */
  readonly removed = new Set<ItemId>()
  /** Known to the model, but not allowed in lists: removed from the index once. */
  readonly #hidden = new Set<ItemId>()

  constructor(items: PublisherItems, parts: Required<Pick<PublisherParts, 'catalogue' | 'isCandidate'>>) {
    this.#items = items
    this.#parts = parts
  }

  /**
   * @param changed items with a new embedding @param expired items without one from now on @param counts interactions
   */
  noteModel(changed: Iterable<ItemId>, expired: Iterable<ItemId>, counts: Iterable<readonly [ItemId, number]>): void {
    for (const itemId of expired) {
      this.#hidden.delete(itemId)
      if (this.#parts.catalogue.get(itemId) === undefined) this.#leave(itemId)
      else {
        this.#items.noteCount(itemId, 0)
        this.#items.note(itemId, true)
      }
    }
    for (const itemId of changed) {
      if (!this.#parts.isCandidate(itemId)) {
        this.#hide(itemId)
        continue
      }
      this.removed.delete(itemId)
      this.#items.note(itemId, false)
    }
    for (const [itemId, count] of counts)
      if (!this.removed.has(itemId) && this.#parts.isCandidate(itemId)) this.#items.noteCount(itemId, count)
  }

  /** Titles or features are new or changed: the items are written. @param count of an item that was removed before */
  noteCatalogue(items: Iterable<{ readonly itemId: ItemId; readonly count?: number }>): void {
    for (const { itemId, count } of items) {
      this.#hidden.delete(itemId)
      this.removed.delete(itemId)
      if (count !== undefined) this.#items.noteCount(itemId, count)
      this.#items.note(itemId, true)
    }
  }

  remove(itemIds: Iterable<ItemId>): void {
    // An id that no index accepts is in none, and its removal would be refused.
    for (const itemId of itemIds) if (isId(itemId)) this.#leave(itemId)
  }

  /** `isCandidate` may have changed for any item. @param countOf interactions as the trainer counted them */
  changed(countOf: (itemId: ItemId) => number): void {
    for (const itemId of [...this.#items.ids()]) if (!this.#parts.isCandidate(itemId)) this.#hide(itemId)
    const shown = [...this.#hidden].filter((itemId) => this.#parts.isCandidate(itemId))
    this.noteCatalogue(shown.map((itemId) => ({ itemId, count: countOf(itemId) })))
  }

  #hide(itemId: ItemId): void {
    if (this.#hidden.has(itemId)) return
    this.#hidden.add(itemId)
    this.remove([itemId])
  }

  #leave(itemId: ItemId): void {
    this.#items.remove(itemId)
    this.removed.add(itemId)
  }
}
