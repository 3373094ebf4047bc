// Older examples for replay, in bounded memory: half of them the most recent, half a uniform sample of all before
// those.
//
// Against forgetting, a mix of about 1 : 1 does best. An example first enters the ring of recent ones; when newer ones
// push it out, it is offered to algorithm R (Vitter 1985), which keeps each of all n offered so far with the same
// probability. After erasures the gaps are filled by whatever is offered next, a slight bias to the new.
//
// A step is stored as its row, the row's generation and its time: 16 bytes. 50,000 examples × 50 steps take 42 MB
// besides the user ids.

import { CorruptError } from '../../core/errors.ts'
import { type NamedArray, type NamedArrays, namedArray } from '../../core/namedArrays.ts'
import { Rng } from '../../core/rng.ts'
import type { Example } from '../../records/example.ts'
import type { UserId } from '../../records/interaction.ts'
import { ChangedRows, type Extent } from './changedRows.ts'
import { chunkSlots, ExampleBlock, type ExampleColumns, newExampleColumns, readExampleBlock } from './exampleBlock.ts'
import type { ItemTable } from './itemTable.ts'
import { examplesByRow, type StoredExample } from './storedExample.ts'

interface ReservoirOptions {
  /** Steps whose item has no row when an example is added are left out. */
  readonly items: ItemTable
  /** Examples kept; 0 switches replay off. */
  readonly examplesMax: number
  /** Newest steps kept of an example's history. */
  readonly historyMax: number
  /** Owned by the reservoir. */
  readonly rng: Rng
}

export class Reservoir {
  readonly #items: ItemTable
  readonly #stepsMax: number
  readonly #recentMax: number
  readonly #sampleMax: number
  #rng: Rng
  #chunks: ExampleColumns[] = []
  #users: (UserId | undefined)[] = []
  /** Slots of recent examples; `#oldest` is the index of the oldest once the ring is full. */
  #recent: number[] = []
  #oldest = 0
  #sample: number[] = []
  /** Slots without an example. */
  #free: number[] = []
  /** n of algorithm R. */
  #offered = 0
  readonly #changed = new ChangedRows()
  /** Of the state that is being restored. */
  #restoredStepsMax = 0

  constructor(options: ReservoirOptions) {
    this.#items = options.items
    this.#stepsMax = options.historyMax + 1
    this.#recentMax = Math.ceil(options.examplesMax / 2)
    this.#sampleMax = options.examplesMax - this.#recentMax
    this.#rng = options.rng
  }

  /** Examples kept. */
  get size(): number {
    let size = 0
    for (const user of this.#users) if (user !== undefined) size++
    return size
  }

  /** Stores an example; nothing if its target, or every step of its history, has no row. */
  add(example: Example | StoredExample): void {
    if (this.#recentMax === 0) return
    const { userId, rows, timesMs, weight } =
      'rows' in example ? example : examplesByRow(this.#items, [example], this.#stepsMax - 1)[0]!
    if (rows.length === 1 || rows.at(-1) === 0) return
    const slot = this.#free.pop() ?? this.#newSlot()
    this.#changed.willChange(slot)
    const chunk = this.#chunkOf(slot)
    const index = slot % chunkSlots
    const start = index * this.#stepsMax
    const length = Math.min(rows.length, this.#stepsMax)
    for (let from = rows.length - length, to = start; from < rows.length; from++, to++) {
      chunk.rows[to] = rows[from]!
      chunk.generations[to] = this.#items.generation(rows[from]!)
      chunk.timesMs[to] = timesMs[from]!
    }
    chunk.lengths[index] = length
    chunk.weights[index] = weight
    this.#users[slot] = userId
    if (this.#recent.length < this.#recentMax) this.#recent.push(slot)
    else {
      const leaving = this.#recent[this.#oldest]!
      this.#recent[this.#oldest] = slot
      this.#oldest = (this.#oldest + 1) % this.#recentMax
      this.#offer(leaving)
    }
  }

  /**
   * Up to `n` examples, drawn with replacement: each with even chances from the recent ones and from the sample of
   * older ones. Fewer where erased examples or targets without a row are drawn too often. Steps whose item lost its
   * row are left out. Valid until `add` or `remove`.
   */
  draw(n: number): StoredExample[] {
    const drawn: StoredExample[] = []
    if (this.#recent.length === 0) return drawn
    for (let tries = 4 * n + 16; drawn.length < n && tries > 0; tries--) {
      const from = this.#sample.length > 0 && this.#rng.uniform() < 0.5 ? this.#sample : this.#recent
      // Counted from the oldest: where the ring begins is not part of the state, and must not influence draws.
      const start = from === this.#recent ? this.#oldest : 0
      const example = this.#read(from[(start + this.#rng.integer(from.length)) % from.length]!)
      if (example !== undefined) drawn.push(example)
    }
    return drawn
  }

  /** Erases a user's examples. O(examples kept). @returns how many there were */
  remove(userId: UserId): number {
    let removed = 0
    for (const [slot, user] of this.#users.entries()) {
      if (user !== userId) continue
      this.#changed.willChange(slot)
      const chunk = this.#chunkOf(slot)
      const index = slot % chunkSlots
      const start = index * this.#stepsMax
      for (const column of [chunk.rows, chunk.generations, chunk.timesMs]) column.fill(0, start, start + this.#stepsMax)
      chunk.lengths[index] = 0
      this.#users[slot] = undefined
      removed++
    }
    if (removed > 0) this.#freeGaps()
    return removed
  }

  /** Blocks of the current copy that wait to be fetched. */
  get waitingBlocks(): number {
    return this.#changed.waitingBlocks
  }

  /** The state as it is now, part by part, while it keeps changing: as `ItemTable.copy`. */
  copy(extent: Extent): IterableIterator<NamedArrays> {
    const recent = [...this.#recent.slice(this.#oldest), ...this.#recent.slice(0, this.#oldest)]
    const state = new Map<string, NamedArray>([
      ['meta', Float64Array.of(this.#users.length, this.#offered, this.#stepsMax)],
      ['rng', Int32Array.from(this.#rng.state())],
      ['recent', Int32Array.from(recent)],
      ['sample', Int32Array.from(this.#sample)],
      ['free', Int32Array.from(this.#free)]
    ])
    const source = {
      stepsMax: this.#stepsMax,
      chunkOf: (slot: number) => this.#chunkOf(slot),
      userOf: (slot: number) => this.#users[slot]
    }
    const blocks = this.#changed.copy(extent, this.#users.length, () => new ExampleBlock(source))
    return (function* () {
      yield state
      yield* blocks
    })()
  }

  /** Restores from copies: as `ItemTable.beginRestore`. After the item table. */
  beginRestore(): void {
    this.#changed.forget()
    this.#chunks = []
    this.#users = []
    this.#recent = []
    this.#sample = []
    this.#free = []
    this.#oldest = 0
    this.#restoredStepsMax = 0
  }

  /** @throws CorruptError if an array is missing or does not fit */
  restorePart(arrays: NamedArrays): void {
    if (arrays.has('slots')) this.#restoreExamples(arrays)
    else this.#restoreState(arrays)
  }

  #restoreState(arrays: NamedArrays): void {
    const [slots, offered, stepsMax] = namedArray(arrays, 'meta', Float64Array, 3)
    this.#offered = offered!
    this.#restoredStepsMax = stepsMax!
    this.#rng = Rng.from([...namedArray(arrays, 'rng', Int32Array, 4)])
    const slotsOf = (name: string) => {
      const list = [...namedArray(arrays, name, Int32Array)]
      if (list.some((slot) => !(slot >= 0 && slot < slots!)))
        throw new CorruptError(`state: a slot beyond ${slots} in the list of ${name} examples`)
      return list
    }
    this.#recent = slotsOf('recent')
    this.#sample = slotsOf('sample')
    this.#free = slotsOf('free')
    while (this.#users.length < slots!) this.#newSlot()
  }

  #restoreExamples(arrays: NamedArrays): void {
    const from = readExampleBlock(arrays)
    let next = 0
    for (const [i, slot] of from.slots.entries()) {
      if (!(slot >= 0 && slot < this.#users.length))
        throw new CorruptError(`state: slot ${slot} of ${this.#users.length} for older examples`)
      const end = next + from.lengths[i]!
      // Only the newest steps, where the configured history is shorter than the stored one.
      const start = end - Math.min(from.lengths[i]!, this.#stepsMax)
      next = end
      const rows = from.rows.subarray(start, end)
      if (rows.some((row) => !(row > 0 && row < this.#items.rows)))
        throw new CorruptError(`state: an older example names a row beyond an item table of ${this.#items.rows} rows`)
      const chunk = this.#chunkOf(slot)
      const index = slot % chunkSlots
      chunk.rows.set(rows, index * this.#stepsMax)
      chunk.generations.set(from.generations.subarray(start, end), index * this.#stepsMax)
      chunk.timesMs.set(from.timesMs.subarray(start, end), index * this.#stepsMax)
      chunk.lengths[index] = end - start
      chunk.weights[index] = from.weights[i]!
      this.#users[slot] = end === start ? undefined : from.users[i]!
    }
  }

  /** Where fewer examples are kept now, the newest of each half are. */
  endRestore(): void {
    this.#freeGaps() // of users who were erased from the parts
    const isSmaller = this.#recent.length > this.#recentMax || this.#sample.length > this.#sampleMax
    for (const slot of this.#recent.splice(0, this.#recent.length - this.#recentMax)) this.#release(slot)
    for (const slot of this.#sample.splice(this.#sampleMax)) this.#release(slot)
    // A later checkpoint of changes would otherwise be added to examples of another shape.
    if (isSmaller || this.#restoredStepsMax !== this.#stepsMax) this.#changed.allWillChange(this.#users.length)
  }

  /**
   * Erased slots leave the sample. Recent ones stay as gaps until newer ones push them out: their order is their age.
   */
  #freeGaps(): void {
    const gone = this.#sample.filter((slot) => this.#users[slot] === undefined)
    if (gone.length === 0) return
    this.#sample = this.#sample.filter((slot) => this.#users[slot] !== undefined)
    this.#free.push(...gone)
  }

  /** Algorithm R: the n-th offered stays with probability sampleMax / n, in place of one drawn from those kept. */
  #offer(slot: number): void {
    if (this.#users[slot] === undefined) {
      this.#free.push(slot)
      return
    }
    this.#offered++
    if (this.#sample.length < this.#sampleMax) {
      this.#sample.push(slot)
      return
    }
    // 53 bits: n may exceed 2³².
    const place = Math.floor(
      (((this.#rng.uint32() >>> 5) * 67_108_864 + (this.#rng.uint32() >>> 6)) / 9_007_199_254_740_992) * this.#offered
    )
    if (place < this.#sampleMax) {
      this.#release(this.#sample[place]!)
      this.#sample[place] = slot
    } else this.#release(slot)
  }

  #release(slot: number): void {
    this.#changed.willChange(slot)
    this.#users[slot] = undefined
    this.#free.push(slot)
  }

  #newSlot(): number {
    const slot = this.#users.push(undefined) - 1
    if (slot === this.#chunks.length * chunkSlots) this.#chunks.push(newExampleColumns(this.#stepsMax))
    return slot
  }

  #chunkOf(slot: number): ExampleColumns {
    return this.#chunks[Math.floor(slot / chunkSlots)]!
  }

  /** undefined if the slot is empty, its target lost its row, or its whole history did. */
  #read(slot: number): StoredExample | undefined {
    const userId = this.#users[slot]
    if (userId === undefined) return undefined
    const chunk = this.#chunkOf(slot)
    const index = slot % chunkSlots
    const start = index * this.#stepsMax
    const length = chunk.lengths[index]!
    const rows = new Int32Array(length)
    const timesMs = new Float64Array(length)
    let kept = 0
    for (let at = start; at < start + length; at++) {
      const row = chunk.rows[at]!
      if (this.#items.generation(row) !== chunk.generations[at]) {
        if (at === start + length - 1) return undefined
        continue
      }
      rows[kept] = row
      timesMs[kept++] = chunk.timesMs[at]!
    }
    if (kept < 2) return undefined
    return { userId, rows: rows.subarray(0, kept), timesMs: timesMs.subarray(0, kept), weight: chunk.weights[index]! }
  }
}
