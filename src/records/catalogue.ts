// The catalogue as a fold over the topic `items`: the newest record of each item, and which items were deleted.
//
// One per heap: everything in a thread that needs titles or features reads this one. Field names and values are stored
// once each, and an item as numbers of them: 240 bytes an item with a title of 30 characters and 4 features (measured,
// 200,000 items).

import { type Availability, availabilityOf, type CatalogueItem } from './catalogueItem.ts'
import type { ItemId } from './interaction.ts'

/** What the catalogue says of an item. */
export type CatalogueEntry = Omit<CatalogueItem, 'updatedAtMs'>

/** What one record changed. */
export interface CatalogueChange {
  readonly itemId: ItemId
  /** Where the record is in the topic. */
  readonly offset: bigint
  /** `field=value` before and after, sorted; empty where the catalogue had, or has, no such item. */
  readonly before: readonly string[]
  readonly after: readonly string[]
  /** There was a tombstone before, or is one now. */
  readonly wasDeleted: boolean
  readonly isDeleted: boolean
}

interface Stored {
  readonly title: string | undefined
  /** Numbers of features, in the order of the record. */
  readonly features: readonly number[]
  readonly availability: Availability
}

interface Feature {
  readonly field: string
  readonly value: string
  /** `field=value` */
  readonly key: string
}

export class Catalogue {
  readonly #items = new Map<ItemId, Stored>()
  readonly #deleted = new Set<ItemId>()
  readonly #features: Feature[] = []
  /** Field → value → number of the feature. */
  readonly #numbers = new Map<string, Map<string, number>>()

  get size(): number {
    return this.#items.size
  }

  /** Applies one record. @param item null: a tombstone */
  apply(
    itemId: ItemId,
    offset: bigint,
    item: (Pick<CatalogueItem, 'features'> & Availability & { readonly title?: string | undefined }) | null
  ): CatalogueChange {
    const before = this.featuresOf(itemId)
    const wasDeleted = this.#deleted.has(itemId)
    if (item === null) {
      this.#items.delete(itemId)
      this.#deleted.add(itemId)
    } else {
      const features = Object.entries(item.features).flatMap(([field, values]) =>
        values.map((value) => this.#number(field, value))
      )
      this.#items.set(itemId, {
        title: item.title,
        features: features.length === 0 ? none : features,
        availability: availabilityOf(item)
      })
      this.#deleted.delete(itemId)
    }
    return { itemId, offset, before, after: this.featuresOf(itemId), wasDeleted, isDeleted: item === null }
  }

  /** undefined: the catalogue has no such item, or it was deleted. */
  get(itemId: ItemId): CatalogueEntry | undefined {
    const stored = this.#items.get(itemId)
    if (stored === undefined) return undefined
    const { title, availability } = stored
    const features = this.#featuresFrom(stored)
    return { itemId, ...(title === undefined ? {} : { title }), features, ...availability }
  }

  /** `field=value`, sorted; empty where the catalogue has no such item. */
  featuresOf(itemId: ItemId): readonly string[] {
    const stored = this.#items.get(itemId)
    if (stored === undefined || stored.features.length === 0) return none
    return stored.features.map((number) => this.#features[number]!.key).sort()
  }

  /**
   * The newest record of the item is a tombstone: it is in no list until the catalogue has it again. An item that was
   * never in the catalogue is not deleted.
   */
  isDeleted(itemId: ItemId): boolean {
    return this.#deleted.has(itemId)
  }

  /**
   * Whether the item may be in lists: a deleted one may not.
   * @param catalogueOnly nor may one that a catalogue that is not empty lacks
   */
  isCandidate(itemId: ItemId, catalogueOnly: boolean): boolean {
    if (this.#items.has(itemId)) return true
    return !this.#deleted.has(itemId) && !(catalogueOnly && this.#items.size > 0)
  }

  /** In the order in which they were deleted. */
  deleted(): Iterable<ItemId> {
    return this.#deleted
  }

  #featuresFrom({ features }: Stored): CatalogueItem['features'] {
    const byField = new Map<string, string[]>()
    for (const number of features) {
      const { field, value } = this.#features[number]!
      const values = byField.get(field)
      if (values === undefined) byField.set(field, [value])
      else values.push(value)
    }
    return Object.fromEntries(byField) // defines own properties: a field may be called `__proto__`
  }

  #number(field: string, value: string): number {
    let values = this.#numbers.get(field)
    if (values === undefined) {
      values = new Map()
      this.#numbers.set(field, values)
    }
    const known = values.get(value)
    if (known !== undefined) return known
    const number = this.#features.push({ field, value, key: `${field}=${value}` }) - 1
    values.set(value, number)
    return number
  }
}

const none: readonly never[] = []
