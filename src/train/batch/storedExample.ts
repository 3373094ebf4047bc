// Examples by row: each id of a batch is looked up once, for all that needs its row.

import type { Example } from '../../records/example.ts'
import type { UserId } from '../../records/interaction.ts'
import type { ItemTable } from './itemTable.ts'

/** An example whose items are rows. Valid until an item is admitted or loses its row. */
export interface StoredExample {
  readonly userId: UserId
  /** [n + 1] rows of the history, oldest first, then of the target; a target of 0 has no row. */
  readonly rows: Int32Array
  readonly timesMs: Float64Array // [n + 1]
  readonly weight: number
}

/**
 * Looks all ids up together. Steps whose item has no row are left out, older ones take their place.
 *
 * @param examples those already by row stay as they are
 * @param historyMax newest steps of a history that are kept
 */
export function examplesByRow(
  items: Pick<ItemTable, 'rowOf' | 'rowsOf'>,
  examples: readonly (Example | StoredExample)[],
  historyMax: number
): StoredExample[] {
  const ids: string[] = []
  for (const example of examples) {
    if ('rows' in example) continue
    const { history, target } = example
    for (let i = Math.max(0, history.length - historyMax); i < history.length; i++) ids.push(history[i]!.itemId)
    ids.push(target.itemId)
  }
  const rows = new Int32Array(ids.length)
  const timesMs = new Float64Array(ids.length)
  items.rowsOf(ids, rows)
  let next = 0
  return examples.map((example) => {
    if ('rows' in example) return example
    const { userId, history, target, weight } = example
    const newest = history.length - Math.min(history.length, historyMax)
    const start = next
    const last = start + history.length - newest
    next = last + 1
    timesMs[last] = target.eventTimeMs
    // In place, from the newest step back: what is written was read before.
    let at = last
    for (let i = history.length - 1; i >= 0 && at > start; i--) {
      const step = history[i]!
      const row = i >= newest ? rows[start + i - newest]! : items.rowOf(step.itemId)
      if (row === 0) continue
      rows[--at] = row
      timesMs[at] = step.eventTimeMs
    }
    return { userId, rows: rows.subarray(at, next), timesMs: timesMs.subarray(at, next), weight }
  })
}
