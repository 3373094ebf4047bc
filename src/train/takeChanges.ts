// What a publisher must be sent of the tables and the memory.

import type { ModelUpdate } from '../records/modelUpdate.ts'
import type { ItemTable } from './batch/itemTable.ts'
import type { ItemMemory } from './memory/itemMemory.ts'

interface ChangingParts {
  readonly items: ItemTable
  readonly features: ItemTable
  readonly memory: ItemMemory
}

/**
 * What changed since the last call: expired items, embeddings of items, lists of the memory, embeddings of features.
 */
export function takeChanges({ items, features, memory }: ChangingParts): ModelUpdate[] {
  const updates: ModelUpdate[] = []
  // An item that lost its row and got one again is among the dirty rows, not here.
  for (const itemId of items.takeExpired()) updates.push({ kind: 'item-row', itemId, row: null, count: 0 })
  features.takeExpired()
  for (const row of items.takeDirty())
    updates.push({
      kind: 'item-row',
      itemId: items.idOf(row),
      row: items.values(row).slice(),
      count: items.count(row)
    })
  updates.push(...memory.takeUpdates())
  for (const row of features.takeDirty())
    updates.push({ kind: 'feature-row', feature: features.idOf(row), row: features.values(row).slice() })
  return updates
}
