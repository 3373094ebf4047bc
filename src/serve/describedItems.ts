// The items of a list with their titles, and why each is in it.

import { own } from '../core/own.ts'
import { noVotes, type Votes } from '../index/memory.ts'
import type { MergedItem } from '../index/mergeInterests.ts'
import type { CandidateResult, ItemPayload, SearchResult, VectorIndex } from '../index/vectorIndex.ts'
import type { ItemId } from '../records/interaction.ts'
import type { RecommendedItem } from './answers.ts'
import type { RuleEffect } from './listRules.ts'
import { nearestSteps, strongestVotes } from './reasons.ts'

export interface Reasons {
  /** Newest first. */
  readonly history: readonly ItemId[]
  readonly votes: Votes
  readonly effects: ReadonlyMap<ItemId, RuleEffect>
}

/** Newest items of the history that are compared with a result. */
const becauseHistoryMax = 50
/** Values of features in `about`: more do not fit into a line. */
const aboutMax = 4

/**
 * In one request. An item that was removed meanwhile is left out.
 *
 * @param reasons where results are to be explained
 * @returns undefined: no item is left, the index version is gone
 */
export async function describedItems(
  index: Pick<VectorIndex, 'items'>,
  { indexVersion }: Pick<SearchResult, 'indexVersion'>,
  merged: readonly MergedItem[],
  reasons?: Reasons
): Promise<RecommendedItem[] | undefined> {
  if (merged.length === 0) return []
  const history = new Set(reasons?.history.slice(0, becauseHistoryMax))
  const ids = [...new Set([...merged.map(({ itemId }) => itemId), ...history])]
  const { votes = noVotes, effects } = reasons ?? {}
  const options = reasons === undefined ? {} : { vectors: true, memory: votes.items }
  const items = await index.items(indexVersion, ids, options)
  if (items.size === 0) return undefined
  return merged.flatMap(({ itemId, score, interest }) => {
    const item = items.get(itemId)
    if (item === undefined) return []
    const words = { itemId, score, interest, ...wordsOf(item.payload) }
    if (reasons === undefined) return [words]
    const takenAfter = strongestVotes(item, votes)
    return [
      {
        ...words,
        because: [...nearestSteps(itemId, item, history, items)],
        ...(takenAfter.length === 0 ? {} : { takenAfter }),
        ...effects?.get(itemId)
      }
    ]
  })
}

/** The title of an item, and some of its features. */
export function wordsOf({ title, features = {} }: Pick<ItemPayload, 'title' | 'features'>): {
  title?: string
  about?: string
} {
  const values = Object.values(features).flat().slice(0, aboutMax)
  return { ...(title === undefined ? {} : { title }), ...(values.length === 0 ? {} : { about: values.join(', ') }) }
}

/** Values of the candidates of a search in a field of their features. */
export async function valuesIn(
  index: Pick<VectorIndex, 'items'>,
  { indexVersion, candidates }: CandidateResult,
  field: string
): Promise<(itemId: ItemId) => readonly string[]> {
  const items = await index.items(indexVersion, candidates?.itemIds ?? [])
  return (itemId) => own(items.get(itemId)?.payload.features ?? {}, field) ?? []
}

export function versionOf({ indexVersion, step }: Pick<SearchResult, 'indexVersion' | 'step'>): string {
  return `${indexVersion}@${step}`
}
