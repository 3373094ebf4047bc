// What is known of every item that has, or may get, a vector in the index: what was last written, and what has to be
// looked at again.
//
// D dimensions. An item takes 4·D bytes for its last written vector, and some 30 to 130 more with the map and its id:
// about 0.3 KB at D = 64.

import { own } from '../core/own.ts'
import type { ItemPopularity } from '../index/popularity.ts'
import type { ItemId } from '../records/interaction.ts'

const chunkItems = 1024
/** Counts, faded or not, that moved less than this share are not worth a write: they only order what is popular. */
const countMoveMin = 0.1
const levelMoveMin = Math.log2(1 + countMoveMin)
/**
 * Instead of the count that was written: this process has not written the item, but the index version may hold it from before;
 * or the index version does not hold it.
 */
const unknownCount = -1
const absentCount = -2
const unpopular: ItemPopularity = { popularity: 0 }

export interface TakenItem {
  readonly slot: number
  readonly itemId: ItemId
  /** Written even if the vector has not moved: the rest of the point has. */
  readonly forced: boolean
}

export class PublisherItems {
  readonly #slots = new Map<ItemId, number>()
  readonly #ids: (ItemId | undefined)[] = []
  readonly #free: number[] = []
  /** Interactions as the trainer last said. */
  #count = new Float64Array(chunkItems)
  /** Interactions as last written in this index version, or one of the two below. */
  #writtenCount = new Float64Array(chunkItems).fill(unknownCount)
  /** As last written; undefined: not written in this index version, or not popular. */
  readonly #writtenPopularity: (ItemPopularity | undefined)[] = []
  #chunks: Float32Array[] = []
  #dimensions: number
  #written = 0

  /** Slots to look at, in the order they were noted → whether to write in any case. */
  readonly #changed = new Map<number, boolean>()
  /** The sweep in which the slot was last looked at: it is not looked at twice. */
  #lookedAt = new Int32Array(chunkItems).fill(-1)
  #sweep = 0
  #cursor = 0
  #sweepLeft = 0
  /**
   * Greatest moves of vectors that were left as written: since the last sweep that came to an end, and before. Every
   * item was looked at since the earlier began.
   */
  #left = 0
  #leftBefore = 0

  constructor(dimensions: number) {
    this.#dimensions = dimensions
  }

  get size(): number {
    return this.#slots.size
  }

  *ids(): Iterable<ItemId> {
    for (let slot = 0; slot < this.#ids.length; slot++) if (this.#ids[slot] !== undefined) yield this.#ids[slot]!
  }

  /** Items that are in the index. */
  get written(): number {
    return this.#written
  }

  /** Items still to be looked at, at most: a sweep may meet some that were looked at since it began. */
  get pending(): number {
    return this.#changed.size + this.#sweepLeft
  }

  /**
   * Forgets what was written, keeps the items and their counts: the next index version begins. All items are to be looked at.
   */
  beginVersion(dimensions: number): void {
    this.#dimensions = dimensions
    this.#chunks = []
    this.#writtenCount.fill(unknownCount)
    this.#writtenPopularity.length = 0
    this.#written = 0
    this.sweep()
    this.#left = this.#leftBefore = 0
  }

  /**
   * All items are to be looked at, each once from here; a sweep under way goes on from where it is, so that none
   * starves.
   */
  sweep(): void {
    this.#sweep++
    if (this.#sweepLeft === 0) {
      this.#leftBefore = this.#left
      this.#left = 0
    }
    this.#sweepLeft = this.#ids.length
  }

  note(itemId: ItemId, forced: boolean): void {
    const slot = this.#slot(itemId)
    this.#changed.set(slot, forced || (this.#changed.get(slot) ?? false))
  }

  noteCount(itemId: ItemId, count: number): void {
    const slot = this.#slot(itemId)
    this.#count[slot] = count
    if (this.countMoved(slot)) this.note(itemId, false)
  }

  /** Nothing for an item that may not have a vector: when it gets one, its popularity is asked for. */
  notePopularity(itemId: ItemId, popularity: ItemPopularity): void {
    const slot = this.#slots.get(itemId)
    if (slot !== undefined && this.popularityMoved(slot, popularity)) this.note(itemId, false)
  }

  /** @returns whether it was there */
  remove(itemId: ItemId): boolean {
    const slot = this.#slots.get(itemId)
    if (slot === undefined) return false
    this.#changed.delete(slot)
    this.unwrote(slot)
    this.#slots.delete(itemId)
    this.#ids[slot] = undefined
    this.#free.push(slot)
    return true
  }

  /**
   * Up to `max` items to look at now: those that changed, then those of the sweep, which gets at least a quarter so
   * that it comes to an end.
   */
  take(max: number): TakenItem[] {
    const taken: TakenItem[] = []
    const changedMax = this.#sweepLeft > 0 ? max - Math.floor(Math.min(max / 4, this.#sweepLeft)) : max
    for (const [slot, forced] of this.#changed) {
      if (taken.length >= changedMax) break
      this.#changed.delete(slot)
      this.#lookedAt[slot] = this.#sweep
      taken.push({ slot, itemId: this.#ids[slot]!, forced })
    }
    for (; this.#sweepLeft > 0 && taken.length < max; this.#sweepLeft--) {
      const slot = this.#cursor % this.#ids.length
      this.#cursor = (slot + 1) % this.#ids.length
      const itemId = this.#ids[slot]
      // One that is noted as changed too keeps its place there.
      if (itemId === undefined || this.#lookedAt[slot] === this.#sweep || this.#changed.has(slot)) continue
      this.#lookedAt[slot] = this.#sweep
      taken.push({ slot, itemId, forced: false })
    }
    return taken
  }

  /** What was taken is to be looked at again: it could not be written. */
  putBack(taken: readonly TakenItem[]): void {
    for (const { slot, itemId, forced } of taken) if (this.#ids[slot] === itemId) this.note(itemId, forced)
  }

  /** Whether the item is still what the slot was taken for. */
  holds({ slot, itemId }: TakenItem): boolean {
    return this.#ids[slot] === itemId
  }

  count(slot: number): number {
    return this.#count[slot]!
  }

  countMoved(slot: number): boolean {
    const written = this.#writtenCount[slot]!
    return written < 0 || Math.abs(this.#count[slot]! - written) > countMoveMin * written
  }

  popularityMoved(slot: number, now: ItemPopularity): boolean {
    const written = this.#writtenPopularity[slot] ?? unpopular
    if (Math.abs(now.popularity - written.popularity) > levelMoveMin) return true
    for (const [context, level] of Object.entries(now.popularityIn ?? {}))
      if (Math.abs(level - (own(written.popularityIn ?? {}, context) ?? 0)) > levelMoveMin) return true
    return false
  }

  /** Squared L2 distance to the last written vector; ∞ if there is none. */
  squaredMove(slot: number, vector: Float32Array): number {
    if (this.#writtenCount[slot]! < 0) return Number.POSITIVE_INFINITY
    const chunk = this.#chunks[Math.floor(slot / chunkItems)]!
    const from = (slot % chunkItems) * this.#dimensions
    let sum = 0
    for (let d = 0; d < this.#dimensions; d++) {
      const move = vector[d]! - chunk[from + d]!
      sum += move * move
    }
    return sum
  }

  /** The vector is not written, though it moved. */
  leave(squaredMove: number): void {
    this.#left = Math.max(this.#left, Math.sqrt(squaredMove))
  }

  /**
   * Greatest distance between an item's vector and what was last written of it, of all that were looked at since they
   * moved last. So much, at most, are their scores off:
   * |⟨u, v⟩ − ⟨u, w⟩| ≤ ‖u‖ ‖v − w‖, and users have length 1.
   */
  get leftMax(): number {
    return Math.max(this.#left, this.#leftBefore)
  }

  wrote(slot: number, vector: Float32Array, count: number, popularity: ItemPopularity): void {
    const chunk = Math.floor(slot / chunkItems)
    for (let c = this.#chunks.length; c <= chunk; c++)
      this.#chunks.push(new Float32Array(chunkItems * this.#dimensions))
    this.#chunks[chunk]!.set(vector, (slot % chunkItems) * this.#dimensions)
    if (this.#writtenCount[slot]! < 0) this.#written++
    this.#writtenCount[slot] = count
    this.#writtenPopularity[slot] = popularity
  }

  /** What the index holds of it is not known: the next look writes it in any case. */
  unwrote(slot: number): void {
    this.#unwrote(slot, unknownCount)
  }

  /** The index version no longer holds it. */
  removed(slot: number): void {
    this.#unwrote(slot, absentCount)
  }

  /** Whether the index version is known not to hold it. */
  isAbsent(slot: number): boolean {
    return this.#writtenCount[slot] === absentCount
  }

  #unwrote(slot: number, as: number): void {
    if (this.#writtenCount[slot]! >= 0) this.#written--
    this.#writtenCount[slot] = as
  }

  #slot(itemId: ItemId): number {
    const existing = this.#slots.get(itemId)
    if (existing !== undefined) return existing
    const slot = this.#free.pop() ?? this.#ids.length
    // A sweep that is under way passes a new slot too, and must not end one item too early for it.
    if (slot === this.#ids.length && this.#sweepLeft > 0) this.#sweepLeft++
    this.#ids[slot] = itemId
    this.#slots.set(itemId, slot)
    if (slot >= this.#count.length) {
      const count = new Float64Array(2 * this.#count.length)
      count.set(this.#count)
      this.#count = count
      const writtenCount = new Float64Array(2 * this.#writtenCount.length).fill(unknownCount)
      writtenCount.set(this.#writtenCount)
      this.#writtenCount = writtenCount
      const lookedAt = new Int32Array(2 * this.#lookedAt.length).fill(-1)
      lookedAt.set(this.#lookedAt)
      this.#lookedAt = lookedAt
    }
    this.#count[slot] = 0
    this.#writtenCount[slot] = unknownCount
    this.#writtenPopularity[slot] = undefined
    this.#lookedAt[slot] = -1
    return slot
  }
}
