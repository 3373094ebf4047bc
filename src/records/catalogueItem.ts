// What is known of an item besides its clicks.

import type { ItemId } from './interaction.ts'

export interface CatalogueItem {
  readonly itemId: ItemId
  readonly title?: string
  /** Genres, categories, brand …: every value of every field, in the catalogue's own words. */
  readonly features: Readonly<Record<string, readonly string[]>>
  /** Milliseconds since the Unix epoch. */
  readonly updatedAtMs: number
}

/** `field=value` for every feature of the item, sorted: what the model has an embedding row for. */
export function featureKeys({ features }: Pick<CatalogueItem, 'features'>): string[] {
  return Object.entries(features)
    .flatMap(([field, values]) => values.map((value) => `${field}=${value}`))
    .sort()
}

/** `featureKeys` by item; empty for items that are not listed. */
export function featureLookup(items: Iterable<CatalogueItem>): (itemId: ItemId) => readonly string[] {
  const features = new Map(Array.from(items, (item) => [item.itemId, featureKeys(item)]))
  return (itemId) => features.get(itemId) ?? []
}
