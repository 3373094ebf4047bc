// A list of what is popular: in a context first, with boosts and pins.

import { contextKey } from '../index/popularity.ts'
import type { PopularItem, PopularItems } from '../index/vectorIndex.ts'
import type { ItemId } from '../records/interaction.ts'
import type { SessionRecommendations } from './answers.ts'
import { versionOf, wordsOf } from './describedItems.ts'
import type { ListRequest } from './listRequest.ts'
import { effectsOf, pinnedMax, pinsOf, type Rule, type RuleEffect, withPins } from './listRules.ts'

interface PopularListParts {
  readonly request: ListRequest
  readonly boosts: readonly Rule[]
  readonly pins: readonly Rule[]
  /** Why the list is not personal, in words. */
  readonly why: string
  /** Items looked at for a place. */
  readonly perPlace: number
  /** @param without more items to leave out @param rule among whose items to search @param key of a context */
  readonly search: (count: number, without: readonly ItemId[], rule?: Rule, key?: string) => Promise<PopularItems>
}

export async function popularList(parts: PopularListParts): Promise<SessionRecommendations> {
  const { request, boosts, pins, why, perPlace, search } = parts
  const { limit, shown = new Set(), context = {} } = request
  const pinned = await Promise.all(pins.map((rule) => search(pinnedMax, [], rule)))
  const placed = pinsOf(
    pins,
    pinned.map(({ items }) => items)
  ).filter(({ place }) => place > shown.size)
  const effects = new Map<ItemId, RuleEffect>(placed.map(({ item, effect }) => [item.itemId, effect]))
  const popular = async (first: readonly PopularItem[], key?: string): Promise<PopularItems> => {
    const left = [...first, ...placed.map(({ item }) => item)].map(({ itemId }) => itemId)
    const places = limit - first.length
    const [found, ...boosted] = (await Promise.all(
      [undefined, ...boosts].map((rule) => search(places * perPlace, left, rule, key))
    )) as [PopularItems, ...PopularItems[]]
    if (boosts.length === 0) return found
    const by = effectsOf(
      boosts,
      boosted.map(({ items }) => items.map(({ itemId }) => itemId))
    )
    for (const [itemId, effect] of by) effects.set(itemId, effect)
    const all = new Map([found, ...boosted].flatMap(({ items }) => items).map((item) => [item.itemId, item]))
    const items = [...all.values()]
      .map((item) => ({ ...item, score: item.score + (by.get(item.itemId)?.boost ?? 0) }))
      .sort((a, b) => b.score - a.score || (a.itemId < b.itemId ? -1 : 1))
    return { ...found, items: items.slice(0, places) }
  }
  let within: (PopularItems & { readonly popularIn: string }) | undefined
  for (const [field, value] of Object.entries(context)) {
    const popularIn = contextKey(field, value)
    const found = await popular([], popularIn)
    if (found.items.length === 0) continue
    within = { ...found, popularIn }
    break
  }
  const first = within?.items ?? []
  const others = within === undefined || first.length < limit ? await popular(first) : undefined
  const found = within ?? others!
  // Another version went live in between: then without the context.
  if (others !== undefined && found.indexVersion !== others.indexVersion)
    return popularList({ ...parts, request: { ...request, context: {} } })
  const page = withPins([...first, ...(others?.items ?? [])], placed, shown.size, limit)
  const items = page.map(({ itemId, score, payload }) => ({
    ...{ itemId, score, interest: null },
    ...wordsOf(payload),
    ...(request.explain === true ? effects.get(itemId) : undefined)
  }))
  return {
    ...{ version: versionOf(found), items, coldStart: 'popular', why },
    ...(within === undefined ? {} : { popularIn: within.popularIn })
  }
}
