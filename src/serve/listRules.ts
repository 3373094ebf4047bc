// Rules that boost and pin items: which searches they need besides that of the list, and what they make of its candidates.
//
// C candidates, K interests, D dimensions.

import { type ListRule, ruleProblem } from '../core/config/listRules.ts'
import { ConfigError } from '../core/errors.ts'
import type { FeatureFilter } from '../index/itemFilter.ts'
import type { Candidates, Filter } from '../index/vectorIndex.ts'
import type { ItemId } from '../records/interaction.ts'
import { filterOfBody } from './http/filters.ts'
import { ProblemError } from './http/problem.ts'
import { invalid } from './http/validation.ts'

export interface Rule {
  /** Where it is from, such as `recommend.rules[0]`: what an explanation names. */
  readonly name: string
  readonly items?: readonly ItemId[]
  readonly features?: FeatureFilter
  readonly boost?: number
  readonly pin?: number
  readonly repeats: boolean
}

/** What a rule did to an item, for its explanation. */
export type RuleEffect = Pick<Rule, 'boost' | 'pin'> & { readonly rule: string }

/** Candidates of a pin, at most: as many as a rule can name. */
export const pinnedMax = 100

/** An item at its place, 1-based. */
export interface Pin<T> {
  readonly place: number
  readonly item: T
}

/** @param where name of the list of rules @throws ProblemError 400 with all problems */
export function rulesOfRequest(given: readonly ListRule[] = [], where = 'rules'): Rule[] {
  const problems: string[] = []
  const rules = given.map((rule, i): Rule => {
    const name = `${where}[${i}]`
    const { items, filter, boost, pin, repeats = false } = rule
    const problem = ruleProblem(rule)
    if (problem !== undefined) problems.push(`${name}: ${problem}`)
    let features: FeatureFilter | undefined
    try {
      features = filterOfBody(filter)
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      problems.push(...(error.problems ?? []).map((text) => `${name}: ${text}`))
    }
    return {
      ...{ name, repeats },
      ...(items === undefined ? {} : { items: items.map((item) => item.trim()) }),
      ...(features === undefined ? {} : { features }),
      ...(boost === undefined ? {} : { boost }),
      ...(pin === undefined ? {} : { pin })
    }
  })
  if (problems.length > 0) throw invalid(problems)
  return rules
}

/** @throws ConfigError with all problems */
export function rulesOfConfiguration(given: readonly ListRule[]): Rule[] {
  try {
    return rulesOfRequest(given, 'recommend.rules')
  } catch (error) {
    if (error instanceof ProblemError) throw new ConfigError(error.problems ?? [error.message])
    throw error
  }
}

/** The filter of a list, narrowed to the items of a rule. */
export function filterOfRule(filter: Filter, { items, features }: Pick<Rule, 'items' | 'features'>): Filter {
  const all = [filter.features ?? [], features ?? []].flat() as readonly FeatureFilter[]
  return {
    ...filter,
    ...(items === undefined ? {} : { onlyItems: items }),
    ...(all.length === 0 ? {} : { features: all })
  }
}

/** The strongest boost of each item that a rule is about. @param found items of each rule */
export function effectsOf(rules: readonly Rule[], found: readonly (readonly ItemId[])[]): Map<ItemId, RuleEffect> {
  const effects = new Map<ItemId, RuleEffect>()
  for (const [i, { name, boost = 0 }] of rules.entries())
    for (const itemId of found[i]!)
      if (Math.abs(boost) > Math.abs(effects.get(itemId)?.boost ?? 0)) effects.set(itemId, { rule: name, boost })
  return effects
}

/** The candidates of several searches by the same interests, each once. */
export function union(all: readonly Candidates[]): Candidates {
  if (all.length === 1) return all[0]!
  const K = all[0]!.interestCount
  const at = new Map<ItemId, number>()
  const cosines: number[] = [] // [C, K]
  const memory: number[] = [] // [C]
  const vectors: number[] = [] // [C, D]
  for (const from of all)
    for (const [c, itemId] of from.itemIds.entries()) {
      const known = at.get(itemId)
      for (let k = 0; k < K; k++) {
        const cosine = from.cosines[c * K + k]!
        // What an index does not know of an item that one search found, it may of one that another found.
        if (known === undefined) cosines.push(cosine)
        else if (Number.isNaN(cosines[known * K + k])) cosines[known * K + k] = cosine
      }
      if (known !== undefined) continue
      at.set(itemId, at.size)
      memory.push(from.memory[c]!)
      const D = (from.vectors?.length ?? 0) / from.itemIds.length
      for (let d = 0; d < D; d++) vectors.push(from.vectors![c * D + d]!)
    }
  return {
    ...{ itemIds: [...at.keys()], interestCount: K },
    ...{ cosines: Float32Array.from(cosines), memory: Float32Array.from(memory) },
    ...(all[0]!.vectors === undefined ? {} : { vectors: Float32Array.from(vectors) })
  }
}

/** With so much added to the score of each item. */
export function rescored(candidates: Candidates, added: (itemId: ItemId, c: number) => number): Candidates {
  return { ...candidates, memory: candidates.memory.map((part, c) => part + added(candidates.itemIds[c]!, c)) }
}

/**
 * Where the pinned items go, by place; of two rules for an item the first.
 *
 * @param found of each rule the items that it found, best first
 */
export function pinsOf<T extends { readonly itemId: ItemId }>(
  rules: readonly Rule[],
  found: readonly (readonly T[])[]
): (Pin<T> & { readonly effect: RuleEffect })[] {
  const pinned = new Set<ItemId>()
  const pins = rules.flatMap(({ name, items, pin = 1 }, i) => {
    const by = new Map(found[i]!.map((item) => [item.itemId, item]))
    const chosen = items === undefined ? found[i]!.filter(({ itemId }) => !pinned.has(itemId)).slice(0, 1) : items
    return chosen
      .flatMap((one) => {
        const item = typeof one === 'string' ? by.get(one) : one
        if (item === undefined || pinned.has(item.itemId)) return []
        pinned.add(item.itemId)
        return [item]
      })
      .map((item, n) => ({ item, place: pin + n, effect: { rule: name, pin: pin + n } }))
  })
  return pins.sort((a, b) => a.place - b.place)
}

/**
 * A page of a list with its pinned items. Those of places that the list does not reach are its last.
 *
 * @param items without those that are pinned @param pins by place @param before items on earlier pages
 */
export function withPins<T>(items: readonly T[], pins: readonly Pin<T>[], before: number, limit: number): T[] {
  const page: T[] = []
  let [next, pin] = [0, 0]
  while (page.length < limit) {
    const isDue = pin < pins.length && pins[pin]!.place <= before + page.length + 1
    if (isDue || (next >= items.length && pin < pins.length)) page.push(pins[pin++]!.item)
    else if (next < items.length) page.push(items[next++]!)
    else break
  }
  return page
}
