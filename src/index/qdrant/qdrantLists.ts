// Lists of the memory, written apart from the points that they belong to.

import type { ItemMemory } from '../vectorIndex.ts'
import { memoryName, pointId } from './qdrantNames.ts'
import { notNewerThan, toSparse } from './qdrantPoints.ts'
import type { QdrantRequests } from './qdrantRequests.ts'

/** Replaces the lists of points that are there and not newer than `step`. @returns how many */
export async function writeLists(
  requests: QdrantRequests,
  collection: string,
  step: number,
  lists: readonly ItemMemory[]
): Promise<number> {
  const stored = await requests.write(`read versions from ${collection}`, (client) =>
    client.retrieve(collection, {
      ids: lists.map(({ id }) => pointId(id)),
      with_payload: ['version', 'removedAtMs'],
      with_vector: false
    })
  )
  const older = stored.filter(
    ({ payload }) => payload?.removedAtMs === undefined && Number(payload?.version ?? 0) <= step
  )
  const ids = new Set(older.map(({ id }) => String(id)))
  const points = lists
    .map(({ id, memory }) => ({
      id: pointId(id),
      vector: { [memoryName]: toSparse(memory.neighbours, memory.weights) }
    }))
    .filter(({ id }) => ids.has(id))
  if (points.length === 0) return 0
  const only = { must: [{ has_id: points.map(({ id }) => id) }, ...notNewerThan(step).must] }
  await requests.write(`write ${points.length} lists to ${collection}`, (client) =>
    client.batchUpdate(collection, {
      operations: [
        { update_vectors: { points, update_filter: notNewerThan(step) } },
        { set_payload: { payload: { version: step }, filter: only } }
      ],
      wait: true
    })
  )
  return points.length
}
