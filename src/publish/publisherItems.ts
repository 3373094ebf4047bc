// Every item that has, or may get, a vector in the index: what was last written, and which items to compare again.
//
// D dimensions. An item takes 4·D bytes for its last written vector, and some 30 to 130 more with the map and its id:
// about 0.3 KB at D = 64.

import { own } from '../core/own.ts'
import type { ItemPopularity } from '../index/popularity.ts'
import type { ItemPoint } from '../index/vectorIndex.ts'
import type { ItemId } from '../records/interaction.ts'

const chunkItems = 1024
/** Counts and popularity that moved less than this share are not written: they only order popular items. */
const countMoveMin = 0.1
const levelMoveMin = Math.log2(1 + countMoveMin)
/** Instead of a written count: the version may hold the item from before this process; the version does not hold it. */
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
  /** Interactions as the trainer last reported. */
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
  /** Slots whose list in the memory changed since their point was written. */
  readonly #lists = new Set<number>()
  /** The sweep in which the slot was last looked at: it is not looked at twice. */
  #lookedAt = new Int32Array(chunkItems).fill(-1)
  #sweep = 0
  #cursor = 0
  #sweepLeft = 0
  /** Greatest moves of vectors that were left as written: since the last complete sweep, and in the one before. */
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

  /** Items still to be compared, at most, and lists to be written: a sweep skips those compared since it began. */
  get pending(): number {
    return this.#changed.size + this.#sweepLeft + this.#lists.size
  }

  /** Another index version begins: nothing is written in it. Keeps the items and their counts. */
  beginVersion(dimensions: number): void {
    this.#dimensions = dimensions
    this.#chunks = []
    this.#writtenCount.fill(unknownCount)
    this.#writtenPopularity.length = 0
    this.#written = 0
    this.#lists.clear()
    this.sweep()
    this.#left = this.#leftBefore = 0
  }

  /** All items are to be compared, each once from here. A sweep in progress continues at its place, so none starves. */
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

  /** The item's list changed. Ignored for an item that has no point. */
  noteList(itemId: ItemId): void {
    const slot = this.#slots.get(itemId)
    if (slot !== undefined) this.#lists.add(slot)
  }

  noteCount(itemId: ItemId, count: number): void {
    const slot = this.#slot(itemId)
    this.#count[slot] = count
    if (this.countMoved(slot)) this.note(itemId, false)
  }

  /** Ignored for an item without a vector: its popularity is read when it gets one. */
  notePopularity(itemId: ItemId, popularity: ItemPopularity): void {
    const slot = this.#slots.get(itemId)
    if (slot !== undefined && this.popularityMoved(slot, popularity)) this.note(itemId, false)
  }

  /** @returns whether it was there */
  remove(itemId: ItemId): boolean {
    const slot = this.#slots.get(itemId)
    if (slot === undefined) return false
    this.#changed.delete(slot)
    this.#lists.delete(slot)
    this.unwrote(slot)
    this.#slots.delete(itemId)
    this.#ids[slot] = undefined
    this.#free.push(slot)
    return true
  }

  /** Up to `max` items to compare now: changed ones, then those of the sweep, which gets at least a quarter. */
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
      if (itemId === undefined || this.#lookedAt[slot] === this.#sweep || this.#changed.has(slot)) continue
      this.#lookedAt[slot] = this.#sweep
      taken.push({ slot, itemId, forced: false })
    }
    return taken
  }

  /** Up to `max` items whose list is to be written without their point. Of an item that is not written it comes with it. */
  takeLists(max: number): ItemId[] {
    const taken: ItemId[] = []
    for (const slot of this.#lists) {
      if (taken.length >= max) break
      this.#lists.delete(slot)
      if (this.#writtenCount[slot]! >= 0) taken.push(this.#ids[slot]!)
    }
    return taken
  }

  /** The item's list is about to be written with its point. @returns whether it was to be written alone */
  takeList(slot: number): boolean {
    return this.#lists.delete(slot)
  }

  /** The items could not be written. */
  putBack(taken: readonly TakenItem[]): void {
    for (const { slot, itemId, forced } of taken) {
      if (this.#ids[slot] === itemId) this.note(itemId, forced)
    }
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

  /** L2 distance to the last written vector; ∞ if there is none. */
  moveOf(slot: number, vector: Float32Array): number {
    if (this.#writtenCount[slot]! < 0) return Number.POSITIVE_INFINITY
    const chunk = this.#chunks[Math.floor(slot / chunkItems)]!
    const from = (slot % chunkItems) * this.#dimensions
    let sum = 0
    for (let d = 0; d < this.#dimensions; d++) sum += (vector[d]! - chunk[from + d]!) ** 2
    return Math.sqrt(sum)
  }

  /** The vector is not written, though it moved. */
  leave(move: number): void {
    this.#left = Math.max(this.#left, move)
  }

  /**
   * Greatest distance between an item's vector and its last written one, of the items that were left as written. Scores
   * are off by at most this: |⟨u, v⟩ − ⟨u, w⟩| ≤ ‖u‖ ‖v − w‖, and users have length 1.
   */
  get leftMax(): number {
    return Math.max(this.#left, this.#leftBefore)
  }

  wrote(slot: number, { vector, payload }: ItemPoint): void {
    const chunk = Math.floor(slot / chunkItems)
    while (this.#chunks.length <= chunk) this.#chunks.push(new Float32Array(chunkItems * this.#dimensions))
    this.#chunks[chunk]!.set(vector, (slot % chunkItems) * this.#dimensions)
    if (this.#writtenCount[slot]! < 0) this.#written++
    this.#writtenCount[slot] = payload.count
    const { popularity = 0, popularityIn } = payload
    this.#writtenPopularity[slot] = popularityIn === undefined ? { popularity } : { popularity, popularityIn }
  }

  /** It is unknown what the index holds: the next comparison writes the item. */
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
    this.#lists.delete(slot) // the next comparison writes the whole point
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
      const length = 2 * this.#count.length
      this.#count = grown(this.#count, new Float64Array(length))
      this.#writtenCount = grown(this.#writtenCount, new Float64Array(length).fill(unknownCount))
      this.#lookedAt = grown(this.#lookedAt, new Int32Array(length).fill(-1))
    }
    this.#count[slot] = 0
    this.#writtenCount[slot] = unknownCount
    this.#writtenPopularity[slot] = undefined
    this.#lookedAt[slot] = -1
    return slot
  }
}

function grown<T extends Float64Array | Int32Array>(from: T, into: T): T {
  into.set(from)
  return into
}
