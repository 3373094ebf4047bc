// What is known of an item besides its clicks.

import { BadEventError } from '../core/errors.ts'
import { shorten } from '../core/shorten.ts'
import type { ItemId } from './interaction.ts'
import { timeReader } from './value/eventTime.ts'

/** When an item may be in lists; absent: at any time. Milliseconds since the Unix epoch. */
export interface Availability {
  readonly availableFromMs?: number
  /** No longer from then on. */
  readonly availableUntilMs?: number
}

export interface CatalogueItem extends Availability {
  readonly itemId: ItemId
  readonly title?: string
  /** Genres, categories, brand …: every value of every field, in the catalogue's own words. */
  readonly features: Readonly<Record<string, readonly string[]>>
  /** Milliseconds since the Unix epoch. */
  readonly updatedAtMs: number
}

/** The availability alone, of anything that has one. */
export function availabilityOf({
  availableFromMs,
  availableUntilMs
}: { readonly [F in keyof Availability]: number | undefined }): Availability {
  if (availableFromMs === undefined && availableUntilMs === undefined) return always
  return {
    ...(availableFromMs === undefined ? {} : { availableFromMs }),
    ...(availableUntilMs === undefined ? {} : { availableUntilMs })
  }
}

const always: Availability = {}

/** @param atMs absent: whenever */
export function isAvailable(
  { availableFromMs = Number.NEGATIVE_INFINITY, availableUntilMs = Number.POSITIVE_INFINITY }: Availability,
  atMs: number | undefined
): boolean {
  return atMs === undefined || (availableFromMs <= atMs && atMs < availableUntilMs)
}

const isoMs = timeReader({ unit: 'iso' })

/** Of a text: ISO 8601, UTC where it names no zone, or milliseconds since 1970. @throws BadEventError for anything else */
export function availabilityMs(field: string, text: string): number {
  const timeMs = /^\d+$/.test(text) && text.length !== 8 ? Number(text) : isoMs(text)
  if (Number.isNaN(timeMs))
    throw new BadEventError(`${field} is ${shorten(text, 40)}: expected ISO 8601 or milliseconds since 1970`)
  return timeMs
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
