// Which item a point of Qdrant is.
//
// A point's id is a UUID made of the item's id, the same in every index version for ever; the way back is in its payload. To
// read hundreds of payloads costs a search more than the search itself, so what was read once is remembered.

import type { ItemId } from '../../records/interaction.ts'
import type { QdrantRequests } from './qdrantRequests.ts'

/** Some 40 MB. Of a larger catalogue what is found most often stays; the rest is read again. */
const rememberedMax = 250_000

export class QdrantItemIds {
  readonly #requests: QdrantRequests
  /** The one that was remembered first is the first to go. */
  readonly #known = new Map<string, ItemId>()

  constructor(requests: QdrantRequests) {
    this.#requests = requests
  }

  /** @returns the item of each point, in their order; undefined for one that is not in the collection any more */
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
