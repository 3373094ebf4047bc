// The features of items as a catalogue has them, shared by all items that have the same, and filters on them.

import { own } from '../../core/own.ts'
import { conditionsOf, type FeatureFilter, meets } from '../itemFilter.ts'
import type { ItemPayload } from '../vectorIndex.ts'

export interface ItemFilter {
  readonly exclude: Iterable<string>
  /** `hashKey` of ids. */
  readonly excludeHashes?: ReadonlySet<number> | undefined
  readonly features?: FeatureFilter | undefined
  readonly availableAtMs?: number | undefined
}

export interface Entry {
  readonly id: string
  readonly step: number
  readonly payload: ItemPayload
  readonly profile: Profile | undefined
  readonly listChangedAt: number
}

export interface Profile {
  readonly features: Readonly<Record<string, readonly string[]>>
  readonly keys: ReadonlySet<string>
  uses: number
}

/** Equal for equal features in the same order only: every part has its length. Faster than JSON, once an item. */
export function featuresText(features: Readonly<Record<string, readonly string[]>>): string {
  let text = ''
  for (const field in features) {
    text += `${field.length}:${field}`
    for (const value of own(features, field)!) text += `,${value.length}:${value}`
    text += ';'
  }
  return text
}

export function featureKey(field: string, value: string): string {
  return JSON.stringify([field, value])
}

/** Evaluates the filter once for each profile: many items have the same. */
export function profileFilter(features: FeatureFilter | undefined): (profile: Profile | undefined) => boolean {
  const conditions = conditionsOf(features)
  if (conditions.length === 0) return () => true
  // One value in each field, the usual filter: a look into a set, as fast as what was evaluated before.
  if (conditions.every(([, { any, not, range, exists }]) => any?.length === 1 && !not && !range && exists !== false)) {
    const keys = conditions.map(([field, { any }]) => featureKey(field, any![0]!))
    return (profile) => keys.every((key) => profile?.keys.has(key) === true)
  }
  const known = new Map<Profile | undefined, boolean>()
  return (profile) => {
    let admitted = known.get(profile)
    if (admitted === undefined) {
      admitted = meets(profile?.features, features)
      known.set(profile, admitted)
    }
    return admitted
  }
}
