// The memory: which items are taken near which, counted from each new example once.
//
//     c[h, x] += 1/δ   for h at distance δ ≤ 10 before x,  and ½/δ for x before h
//     S[h, x]  = c[h, x] / (√(n_h · n_x) + 3),  S[h, h] = 0
//
// n: interactions of an item. Both c and n fade with a half-life, counted in examples. An item's list has the neighbours
// of the greatest counts, each with c in both directions: c[·, x] makes x's list as it is sent, c[h, ·] ranks from h.
//
// An item is a row of the embedding table: the memory forgets it when the table does.

import type { NamedArrays } from '../../core/namedArrays.ts'
import type { Example } from '../../records/example.ts'
import type { ItemId } from '../../records/interaction.ts'
import type { ModelUpdate } from '../../records/modelUpdate.ts'
import { ChangedRows, type Extent } from '../batch/changedRows.ts'
import type { ItemTable } from '../batch/itemTable.ts'
import { MemoryBlock, memoryState, restoreMemoryRows, restoreMemoryState } from './memoryBlock.ts'
import { type NeighbourList, NeighbourStore, slotsMax } from './neighbourStore.ts'

const memoryLimits = {
  /** Neighbours of an item, a power of two. */
  slots: slotsMax,
  /** Steps before the target that are counted with it: δ at most. */
  window: 10,
  /** Examples after which a count is worth half: this many, and so many more for each item of the table. */
  halfLife: 200_000,
  halfLifePerItem: 50,
  /** A list is sent again when an entry has moved by more than this; entries below half of it are not sent. */
  moveMin: 0.01,
  /** Lists compared, and lists sent, with one commit at most; the others wait for the next. */
  comparedMax: 2000,
  sentMax: 1000,
  /** Rows looked at with each commit because of what changed around them: counts of their neighbours, items gone. */
  sweptRows: 256
}
export type MemoryLimits = typeof memoryLimits

/** Added to √(n_h · n_x): two items seen once, and together, are no certainty. */
const shrinkage = 3
/** Single-precision counts stay well inside their range. */
const unitMax = 2 ** 60

type MemoryItems = Pick<ItemTable, 'rows' | 'size' | 'rowsOf' | 'rowOf' | 'idOf' | 'generation' | 'onFreed'>

export class ItemMemory {
  readonly limits: MemoryLimits
  readonly #items: MemoryItems
  readonly #store: NeighbourStore
  readonly #changed = new ChangedRows()
  /** What one interaction counts now. */
  #unit = 1
  /** Rows whose list may differ from what was sent by more than `moveMin`; 2: it must be sent. In order of change. */
  #waiting = new Map<number, 1 | 2>()
  /** Items without a row whose list was sent. */
  #gone = new Set<ItemId>()
  #sweep = 0
  /** Since a restore the log may hold lists of a later moment: what changes until then is sent even if it moved little. */
  #isRestored = false
  readonly #rows: Int32Array
  /** By row, of one call of `scores`; zeros between calls. */
  #sums = new Float64Array(0)

  constructor(items: MemoryItems, limits: Partial<MemoryLimits> = {}) {
    this.limits = { ...memoryLimits, ...limits }
    this.#items = items
    this.#store = new NeighbourStore(this.limits.slots)
    this.#rows = new Int32Array(this.limits.window + 1)
    items.onFreed((row) => this.forget(row))
  }

  /** Of lists and counts, allocated. */
  get bytes(): number {
    return this.#store.bytes
  }

  /** Counts new examples: each once, in the order of the stream. The targets' rows were admitted before. */
  learn(examples: readonly Pick<Example, 'history' | 'target'>[]): void {
    const { window, halfLife, halfLifePerItem } = this.limits
    this.#store.reserve(this.#items.rows)
    const growth = 2 ** (1 / (halfLife + halfLifePerItem * this.#items.size))
    const rows = this.#rows
    for (const { history, target } of examples) {
      const from = Math.max(0, history.length - window)
      const ids = [target.itemId]
      for (let i = history.length - 1; i >= from; i--) ids.push(history[i]!.itemId)
      this.#items.rowsOf(ids, rows)
      // A user's first step is never a target.
      if (history.length === 1) this.#see(rows[1]!)
      this.#see(rows[0]!)
      for (let distance = 1; distance < ids.length; distance++) this.#pair(rows[distance]!, rows[0]!, 1 / distance)
      this.#age(growth)
    }
  }

  /** S[h, x] of the list of `x` in a slot. */
  #weight(count: number, h: number, x: number): number {
    return count / (Math.sqrt(this.#store.seen(h) * this.#store.seen(x)) + shrinkage * this.#unit)
  }

  /**
   * Σ over the history of weight · S[h, x] > 0, for every x in the lists of the h.
   *
   * @param history distinct rows @param weights of each, above 0
   */
  scores(history: readonly number[], weights: readonly number[]): { rows: Int32Array; scores: Float64Array } {
    if (this.#sums.length < this.#items.rows) this.#sums = new Float64Array(2 * this.#items.rows)
    const sums = this.#sums
    const found: number[] = []
    for (const [i, h] of history.entries()) {
      const list = this.#store.list(h)
      if (list === undefined) continue
      const { ids, from, start, end } = list
      for (let at = start; at < end && ids[at]! >= 0; at++) {
        const x = ids[at]!
        if (from[at]! <= 0 || !this.#isSame(list, at)) continue
        if (sums[x] === 0) found.push(x)
        sums[x]! += weights[i]! * this.#weight(from[at]!, h, x)
      }
    }
    const scores = Float64Array.from(found, (x) => sums[x]!)
    for (const x of found) sums[x] = 0
    return { rows: Int32Array.from(found), scores }
  }

  /** The item leaves: its own list at once, lists that name it when they are next sent. */
  forget(row: number): void {
    const list = this.#store.list(row)
    if (list === undefined && this.#store.seen(row) === 0) return
    this.#changed.willChange(row)
    if (
      list?.sent.subarray(list.start, list.end).some((sent, i) => sent > 0 && list.ids[list.start + i]! >= 0) === true
    )
      this.#gone.add(this.#items.idOf(row))
    this.#store.clear(row)
    this.#waiting.delete(row)
  }

  /**
   * Lists that moved by more than `moveMin` since they were sent, at most `sentMax`, oldest change first: of the rows
   * that examples touched, and of some others in turn. So once nothing waits, a list as sent is within `moveMin` of the
   * counts: at each commit where its item was in an example, within one round of all rows where only the counts of its
   * neighbours changed.
   */
  takeUpdates(): ModelUpdate[] {
    const updates: ModelUpdate[] = []
    const { comparedMax, sentMax, sweptRows } = this.limits
    for (const itemId of this.#gone)
      if (this.#items.rowOf(itemId) === 0) updates.push(listUpdate(itemId, [], []))
      else this.#wait(this.#items.rowOf(itemId), 2)
    this.#gone.clear()
    const rows = this.#items.rows
    for (let i = 0; i < Math.min(sweptRows, rows); i++) {
      this.#sweep = (this.#sweep + 1) % rows
      if (this.#store.list(this.#sweep) !== undefined) this.#wait(this.#sweep, 1)
    }
    let compared = 0
    for (const [row, how] of this.#waiting) {
      if (updates.length >= sentMax || compared++ >= comparedMax) break
      this.#waiting.delete(row)
      const update = this.#update(row, how === 2 || this.#isRestored)
      if (update !== undefined) updates.push(update)
    }
    if (this.#waiting.size === 0) this.#isRestored = false
    return updates
  }

  /** The next calls of `takeUpdates` send every list. */
  resendAll(): void {
    this.#gone.clear()
    for (let row = 1; row < this.#items.rows; row++) if (this.#store.list(row) !== undefined) this.#wait(row, 2)
  }

  /** Whether `takeUpdates` may have something to send. */
  get waiting(): number {
    return this.#waiting.size + this.#gone.size
  }

  /** As `ItemTable.copy`. */
  copy(extent: Extent): IterableIterator<NamedArrays> {
    const waiting = [...this.#waiting]
    const state = memoryState({ unit: this.#unit, sweep: this.#sweep, waiting, gone: [...this.#gone] })
    const blocks = this.#changed.copy(extent, this.#items.rows, () => new MemoryBlock(this.#store))
    return (function* () {
      yield state
      yield* blocks
    })()
  }

  get waitingBlocks(): number {
    return this.#changed.waitingBlocks
  }

  /** As `ItemTable.beginRestore`: a whole copy, then those of what changed since, after the items' own. */
  beginRestore(): void {
    this.#changed.forget()
    this.#store.clearAll()
    this.#waiting.clear()
    this.#gone.clear()
    this.#unit = 1
  }

  /** @throws CorruptError if an array is missing or does not fit */
  restorePart(arrays: NamedArrays): void {
    if (arrays.has('rows')) {
      restoreMemoryRows(this.#store, arrays)
      return
    }
    const { unit, sweep, waiting, gone } = restoreMemoryState(arrays)
    this.#unit = unit
    this.#sweep = sweep
    this.#waiting = new Map(waiting)
    this.#gone = new Set(gone)
  }

  endRestore(): void {
    this.#isRestored = true
  }

  #see(row: number): void {
    if (row === 0) return
    this.#changed.willChange(row)
    this.#store.setSeen(row, this.#store.seen(row) + this.#unit)
    this.#wait(row, 1)
  }

  /** @param h before @param x */
  #pair(h: number, x: number, amount: number): void {
    if (h === 0 || x === 0 || h === x) return
    this.#changed.willChange(h)
    this.#add(x, h, amount, amount / 2)
    this.#add(h, x, amount / 2, amount)
    this.#wait(h, 1)
  }

  /**
   * A newcomer to a full list takes the place of the weakest if it is at least as strong, and otherwise reduces it by
   * its own count: what keeps coming gets in, what came once is lost again.
   */
  #add(row: number, neighbour: number, into: number, from: number): void {
    const generation = this.#items.generation(neighbour) & 0xffff
    let list = this.#store.list(row) ?? this.#store.grow(row, 1)
    const { ids, generations, start, end } = list
    let at = start
    for (; at < end && ids[at]! >= 0; at++)
      if (ids[at] === neighbour && generations[at] === generation) {
        list.into[at]! += into * this.#unit
        list.from[at]! += from * this.#unit
        return
      }
    if (at === end && end - start < this.limits.slots) {
      list = this.#store.grow(row, end - start + 1)
      at = list.start + end - start
    } else if (at === end) {
      const weakest = weakestOf(list)
      const least = list.into[weakest]! + list.from[weakest]!
      const gained = (into + from) * this.#unit
      if (gained < least) {
        const left = (least - gained) / least
        list.into[weakest]! *= left
        list.from[weakest]! *= left
        return
      }
      at = weakest
      // What was sent of the one that goes is wrong from now on.
      if (list.sent[at]! > 0) this.#wait(row, 2)
    }
    list.ids[at] = neighbour
    list.generations[at] = generation
    list.into[at] = into * this.#unit
    list.from[at] = from * this.#unit
    list.sent[at] = 0
  }

  #age(growth: number): void {
    this.#unit *= growth
    if (this.#unit <= unitMax) return
    this.#changed.allWillChange(this.#items.rows)
    this.#store.divide(this.#unit)
    this.#unit = 1
  }

  #wait(row: number, how: 1 | 2): void {
    if (how === 2 || !this.#waiting.has(row)) this.#waiting.set(row, how)
  }

  /** Whether the slot's row is still its neighbour's. */
  #isSame(list: NeighbourList, at: number): boolean {
    const row = list.ids[at]!
    return (this.#items.generation(row) & 0xffff) === list.generations[at] && this.#store.seen(row) > 0
  }

  #update(row: number, always: boolean): ModelUpdate | undefined {
    const list = this.#store.list(row)
    const itemId = this.#items.idOf(row)
    if (list === undefined || itemId === '') return undefined
    const { moveMin } = this.limits
    const entries: { at: number; weight: number }[] = []
    let moved = always
    for (let at = list.start; at < list.end && list.ids[at]! >= 0; at++) {
      let weight = this.#isSame(list, at) ? this.#weight(list.into[at]!, list.ids[at]!, row) : 0
      if (weight < moveMin / 2) weight = 0
      if (Math.abs(weight - list.sent[at]!) > moveMin) moved = true
      if (weight > 0) entries.push({ at, weight: Math.fround(weight) })
    }
    if (!moved) return undefined
    this.#changed.willChange(row)
    list.sent.fill(0, list.start, list.end)
    entries.sort((a, b) => b.weight - a.weight || a.at - b.at)
    for (const { at, weight } of entries) list.sent[at] = weight
    const neighbours = entries.map(({ at }) => this.#items.idOf(list.ids[at]!))
    return listUpdate(
      itemId,
      neighbours,
      entries.map(({ weight }) => weight)
    )
  }
}

/** The first slot of the smallest count, of a full list. */
function weakestOf({ into, from, start, end }: NeighbourList): number {
  let weakest = start
  let least = Number.POSITIVE_INFINITY
  for (let at = start; at < end; at++) {
    const count = into[at]! + from[at]!
    if (count >= least) continue
    least = count
    weakest = at
  }
  return weakest
}

function listUpdate(itemId: ItemId, neighbours: readonly ItemId[], weights: readonly number[]): ModelUpdate {
  return { kind: 'item-neighbours', itemId, neighbours, weights: Float32Array.from(weights) }
}
