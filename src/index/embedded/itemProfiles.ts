// The features of items as a catalogue has them, shared by all items that have the same, and filters on them.

import { own } from '../../core/own.ts'
import { conditionsOf, meets } from '../itemFilter.ts'
import type { Filter, ItemPayload } from '../vectorIndex.ts'

export interface Entry {
  readonly id: string
  readonly step: number
  readonly payload: ItemPayload
  readonly profile: Profile | undefined
  readonly listChangedAt: number
}

interface Profile {
  readonly features: Readonly<Record<string, readonly string[]>>
  readonly keys: ReadonlySet<string>
  uses: number
}

/** Equal for equal features in the same order only: every part has its length. Faster than JSON, once an item. */
function featuresText(features: Readonly<Record<string, readonly string[]>>): string {
  let text = ''
  for (const field in features) {
    text += `${field.length}:${field}`
    for (const value of own(features, field)!) text += `,${value.length}:${value}`
    text += ';'
  }
  return text
}

function featureKey(field: string, value: string): string {
  return JSON.stringify([field, value])
}

/** The profiles in use, and the rows of items by feature. */
export class ItemProfiles {
  readonly #profiles = new Map<string, Profile>()
  readonly #rowsByFeature = new Map<string, number[]>()
  /** Of the profiles; those of profiles without an item leave it with `dropUnused`. */
  readonly #fields = new Set<string>()

  /** undefined: without features. */
  of(features: ItemPayload['features']): Profile | undefined {
    if (features === undefined) return undefined
    const text = featuresText(features)
    let profile = this.#profiles.get(text)
    if (profile === undefined) {
      const keys = Object.entries(features).flatMap(([field, values]) =>
        values.map((value) => featureKey(field, value))
      )
      profile = { features, keys: new Set(keys), uses: 0 }
      this.#profiles.set(text, profile)
      this.#addFields(profile)
    }
    return profile
  }

  /** Notes an item of the profile. @param row greater than any before */
  add(profile: Profile | undefined, row: number): void {
    for (const key of profile?.keys ?? []) {
      const rows = this.#rowsByFeature.get(key)
      if (rows === undefined) this.#rowsByFeature.set(key, [row])
      else rows.push(row)
    }
  }

  clearRows(): void {
    this.#rowsByFeature.clear()
  }

  dropUnused(): void {
    for (const [text, profile] of this.#profiles) if (profile.uses === 0) this.#profiles.delete(text)
    this.#fields.clear()
    for (const profile of this.#profiles.values()) this.#addFields(profile)
  }

  fields(): string[] {
    return [...this.#fields]
  }

  /** Rows with the rarest of the values that a field must have; undefined: no field must have a value. */
  rarest(features: Filter['features']): readonly number[] | undefined {
    let fewest: readonly (readonly number[])[] | undefined
    let count = Number.POSITIVE_INFINITY
    for (const [field, { any }] of conditionsOf(features)) {
      if (any === undefined) continue
      const lists = any.map((value) => this.#rowsByFeature.get(featureKey(field, value)) ?? [])
      const length = lists.reduce((sum, list) => sum + list.length, 0)
      if (length >= count) continue
      fewest = lists
      count = length
    }
    if (fewest === undefined || fewest.length === 1) return fewest?.[0]
    return [...new Set(fewest.flat())].sort((a, b) => a - b)
  }

  #addFields({ features }: Profile): void {
    for (const field in features) if (own(features, field)!.length > 0) this.#fields.add(field)
  }
}

/** Evaluates the filter once for each profile: many items have the same. */
export function profileFilter(features: Filter['features']): (profile: Profile | undefined) => boolean {
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
