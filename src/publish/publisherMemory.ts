// What the publisher writes of the memory: the items' lists, how users vote, and users whom only the memory knows.

import type { MemoryWeight, Neighbours } from '../index/memory.ts'
import type { UserPoint, VectorIndex } from '../index/vectorIndex.ts'
import type { EncoderStep } from '../model/encoder.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { PublisherItems } from './publisherItems.ts'
import { type UserMarks, userPoint } from './publisherPoints.ts'
import type { PublishedMemory } from './publisherReport.ts'

const noNeighbours: Neighbours = { neighbours: [], weights: new Float32Array(0) }

export class PublisherMemory {
  readonly #memory: PublishedMemory | undefined
  readonly #items: PublisherItems
  readonly #index: Pick<VectorIndex, 'updateMemory'>

  /** @param memory undefined: there is none */
  constructor(memory: PublishedMemory | undefined, items: PublisherItems, index: Pick<VectorIndex, 'updateMemory'>) {
    this.#memory = memory
    this.#items = items
    this.#index = index
  }

  /** How users vote now. */
  get weight(): MemoryWeight | undefined {
    return this.#memory?.memory
  }

  listOf(itemId: ItemId): Neighbours | undefined {
    return this.#memory?.neighboursOf(itemId)
  }

  /**
   * Up to `max` lists of items whose points stay as they are. @returns lists written
   * @throws UnavailableError if the index does not accept them; they then continue to wait
   */
  async writeLists(version: string, step: number, max: number): Promise<number> {
    const taken = this.#items.takeLists(max)
    if (taken.length === 0) return 0
    try {
      const lists = taken.map((id) => ({ id, memory: this.listOf(id) ?? noNeighbours }))
      return await this.#index.updateMemory(version, step, lists)
    } catch (error) {
      for (const itemId of taken) this.#items.noteList(itemId)
      throw error
    }
  }

  /**
   * The point of a user of whose items the model knows none: only the memory finds something, or the point holds what
   * the user does not want. undefined: neither
   */
  pointOf(
    userId: UserId,
    window: readonly EncoderStep[],
    updatedAtMs: number,
    marks: UserMarks = {}
  ): UserPoint | undefined {
    const { weight } = this
    const isKnown = (weight?.weight ?? 0) > 0 && window.some(({ itemId }) => this.listOf(itemId) !== undefined)
    if (!isKnown && marks.unwanted === undefined) return undefined
    return userPoint(userId, undefined, window, updatedAtMs, weight, marks)
  }
}
