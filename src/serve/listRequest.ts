// What a list is asked for with, beside for whom it is.

import { configSchema, type RecommendOptions } from '../core/config/config.ts'
import type { VariantOptions } from '../core/config/servingOptions.ts'
import type { FeatureFilter } from '../index/itemFilter.ts'
import type { UserPayload } from '../index/vectorIndex.ts'
import type { ItemId } from '../records/interaction.ts'
import type { Rule } from './listRules.ts'

export type RecommenderOptions = RecommendOptions

export const defaultRecommenderOptions: RecommenderOptions = configSchema.shape.recommend.parse({})

/** Largest `limit` of a request. */
export const limitMax = 1000

/** `quotaShare` to `repeats`: see `recommend` of the configuration, which is the default. */
export interface ListRequest
  extends Partial<Pick<RecommenderOptions, 'quotaShare' | 'diversity' | 'diversityBy' | 'repeats'>> {
  /** Maximum length of the list. */
  readonly limit: number
  readonly filter?: FeatureFilter
  /** Name for each item the items of the history that are nearest to it, and those after which it is often taken. */
  readonly explain?: boolean
  /** Whether the memory has a say. Default true. */
  readonly memory?: boolean
  /** Excluded besides the history, such as the items in the basket. */
  readonly exclude?: readonly ItemId[]
  /** `hashKey` of items on earlier pages: excluded as well. */
  readonly shown?: ReadonlySet<number>
  /** Items like these come later, and they are excluded. */
  readonly negative?: readonly ItemId[]
  /** Whose seen and unwanted items are excluded, besides those of a stored user for whom the list is. */
  readonly users?: readonly UserPayload[]
  /** Before those of the configuration. */
  readonly rules?: readonly Rule[]
  /**
   * Facts such as country or device. Where nothing is known of the user, what is popular in this context comes first;
   * the first field with enough interactions counts.
   */
  readonly context?: Readonly<Record<string, string>>
  /** Instead of the arm that the user is in. Must be one of `variants`. */
  readonly variant?: string
}

/** A request with the options of an arm where it has none of its own. */
export function withOptionsOf<R extends ListRequest>(
  { name: _, share: __, popular: ___, ...options }: VariantOptions,
  request: R
): R {
  return { ...options, ...request }
}
