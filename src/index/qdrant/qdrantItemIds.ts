// Item ids of points in Qdrant.
//
// A point's id is a UUID derived from the item's id, the same in every index version; the item's id is in the payload.
// Reading hundreds of payloads costs more than a search, so ids that were read once are cached.

import type { ItemId } from '../../records/interaction.ts'
import type { QdrantRequests } from './qdrantRequests.ts'

/** Some 40 MB. Of a larger catalogue the other ids are read again. */
const rememberedMax = 250_000

export class QdrantItemIds {
  readonly #requests: QdrantRequests
  /** Oldest first. */
  readonly #known = new Map<string, ItemId>()

  constructor(requests: QdrantRequests) {
    this.#requests = requests
  }

  /** @returns the item of each point, in order; undefined if it is no longer in the collection */
  async of(collection: string, points: readonly string[]): Promise<readonly (ItemId | undefined)[]> {
    const itemIds = points.map((point) => this.#known.get(point))
    const unknown = [...new Set(points.filter((_, i) => itemIds[i] === undefined))]
    if (unknown.length === 0) return itemIds
    const found = await this.#requests.read(`read ids of items from ${collection}`, (client) =>
      client.retrieve(collection, { ids: unknown, with_payload: ['id'], with_vector: false })
    )
    const read = new Map<string, ItemId>()
    // A tombstone has no id.
    for (const { id, payload } of found) if (typeof payload?.id === 'string') read.set(String(id), payload.id)
    for (const [point, itemId] of read) this.#remember(point, itemId)
    return points.map((point, i) => itemIds[i] ?? read.get(point))
  }

  #remember(point: string, itemId: ItemId): void {
    this.#known.set(point, itemId)
    if (this.#known.size <= rememberedMax) return
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest)
      return
    }
  }
}
