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
  const written = lists
    .map(({ id, memory }) => ({ id: pointId(id), list: toSparse(memory.neighbours, memory.weights) }))
    .filter(({ id }) => ids.has(id))
  if (written.length === 0) return 0
  const points = written
    .filter(({ list }) => list.indices.length > 0)
    .map(({ id, list }) => ({ id, vector: { [memoryName]: list } }))
  // Qdrant refuses to update a vector to an empty one.
  const emptied = written.filter(({ list }) => list.indices.length === 0).map(({ id }) => id)
  const only = (has_id: string[]) => ({ must: [{ has_id }, ...notNewerThan(step).must] })
  await requests.write(`write ${written.length} lists to ${collection}`, (client) =>
    client.batchUpdate(collection, {
      operations: [
        ...(points.length === 0 ? [] : [{ update_vectors: { points, update_filter: notNewerThan(step) } }]),
        ...(emptied.length === 0 ? [] : [{ delete_vectors: { vector: [memoryName], filter: only(emptied) } }]),
        { set_payload: { payload: { version: step }, filter: only(written.map(({ id }) => id)) } }
      ],
      wait: true
    })
  )
  return written.length
}
