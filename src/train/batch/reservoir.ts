// Older examples, kept for replay in bounded memory: half of them the most recent, half a uniform sample of all before
// those.
//
// Against forgetting a mix of about 1 : 1 does best. An example first enters the ring of recent ones; when newer ones
// push it out, it is offered to algorithm R (Vitter 1985), which keeps each of all n offered so far with the same
// probability. After erasures the gaps are filled by whatever is offered next, a slight bias to the new.
//
// A step is kept as its row, the row's generation, its time and type: 17 bytes. 50,000 examples × 50 steps take 45 MB
// besides the user ids.

import { CorruptError } from '../../core/errors.ts'
import { type NamedArray, type NamedArrays, namedArray, packTexts, unpackTexts } from '../../core/namedArrays.ts'
import { Rng } from '../../core/rng.ts'
import type { Example } from '../../records/example.ts'
import type { UserId } from '../../records/interaction.ts'
import { ChangedRows, type Extent } from './changedRows.ts'
import { ExampleBlock, type ExampleColumns } from './exampleBlock.ts'
import type { ItemTable } from './itemTable.ts'
import { StoredExample } from './storedExample.ts'

export interface ReservoirOptions {
  /** Steps whose item has no row when an example is added are left out. */
  readonly items: ItemTable
  /** Examples kept; 0 switches replay off. */
  readonly examplesMax: number
  /** Newest steps kept of an example's history. */
  readonly historyMax: number
  /** The reservoir's own from now on. */
  readonly rng: Rng
}

/** Examples in one block of storage: memory is taken as the reservoir fills. */
const blockSlots = 1024

export class Reservoir {
  readonly #items: ItemTable
  readonly #stepsMax: number
  readonly #recentMax: number
  readonly #sampleMax: number
  #rng: Rng
  #blocks: ExampleColumns[] = []
  #users: (UserId | undefined)[] = []
  /** Event types by number; beyond 255 different ones the rest is called by the empty string. */
  #types: string[] = ['']
  #typeNumbers = new Map<string, number>([['', 0]])
  /** Slots of recent examples; `#oldest` is the index of the oldest once the ring is full. */
  #recent: number[] = []
  #oldest = 0
  #sample: number[] = []
  /** Slots without an example. */
  #free: number[] = []
  /** n of algorithm R. */
  #offered = 0
  readonly #changed = new ChangedRows()
  /** Of the examples that are being restored. */
  #restoredStepsMax = 0

  constructor(options: ReservoirOptions) {
    const { examplesMax, historyMax } = options
    if (!(Number.isInteger(examplesMax) && examplesMax >= 0))
      throw new RangeError(`examplesMax must be a whole number, not ${examplesMax}`)
    if (!(Number.isInteger(historyMax) && historyMax > 0))
      throw new RangeError(`historyMax must be a whole number above 0, not ${historyMax}`)
    this.#items = options.items
    this.#stepsMax = historyMax + 1
    this.#recentMax = Math.ceil(examplesMax / 2)
    this.#sampleMax = examplesMax - this.#recentMax
    this.#rng = options.rng
  }

  /** Examples kept. */
  get size(): number {
    let size = 0
    for (const user of this.#users) if (user !== undefined) size++
    return size
  }

  /** Keeps an example; nothing if its target, or every step of its history, has no row. */
  add(example: Example): void {
    if (this.#recentMax === 0) return
    const target = this.#items.rowOf(example.target.itemId)
    if (target === 0) return
    const slot = this.#takeSlot()
    this.#changed.willChange(slot)
    const block = this.#blocks[Math.floor(slot / blockSlots)]!
    const place = slot % blockSlots
    const start = place * this.#stepsMax
    // From the newest back, until the slot is full; then to its front.
    let at = start + this.#stepsMax - 1
    this.#write(block, at, target, example.target.eventTimeMs, example.target.type)
    for (let i = example.history.length - 1; i >= 0 && at > start; i--) {
      const step = example.history[i]!
      const row = this.#items.rowOf(step.itemId)
      if (row !== 0) this.#write(block, --at, row, step.eventTimeMs, step.type)
    }
    const length = start + this.#stepsMax - at
    if (length === 1) {
      this.#free.push(slot)
      return
    }
    for (const column of [block.rows, block.generations, block.timesMs, block.types])
      column.copyWithin(start, at, at + length)
    block.lengths[place] = length
    block.weights[place] = example.weight
    block.partitions[place] = example.source.partition
    block.offsets[place] = example.source.offset
    this.#users[slot] = example.userId
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
   * older ones. Fewer than `n` where erased ones or targets that lost their row are drawn too often. Steps whose item
   * lost its row are left out. Valid until `add` or `remove`.
   */
  draw(n: number): StoredExample[] {
    const drawn: StoredExample[] = []
    if (this.#recent.length === 0) return drawn
    for (let tries = 4 * n + 16; drawn.length < n && tries > 0; tries--) {
      const from = this.#sample.length > 0 && this.#rng.uniform() < 0.5 ? this.#sample : this.#recent
      // Counted from the oldest: where the ring begins is not part of the state, and must not decide what is drawn.
      const start = from === this.#recent ? this.#oldest : 0
      const slot = from[(start + this.#rng.integer(from.length)) % from.length]!
      const example = this.#read(slot)
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
      const block = this.#blocks[Math.floor(slot / blockSlots)]!
      const place = slot % blockSlots
      const start = place * this.#stepsMax
      for (const column of [block.rows, block.generations, block.timesMs, block.types])
        column.fill(0, start, start + this.#stepsMax)
      block.lengths[place] = 0
      block.offsets[place] = 0n
      this.#users[slot] = undefined
      removed++
    }
    if (removed > 0) {
      const gone = this.#sample.filter((slot) => this.#users[slot] === undefined)
      this.#sample = this.#sample.filter((slot) => this.#users[slot] !== undefined)
      this.#free.push(...gone)
      // Recent ones stay as gaps until newer ones push them out: their order is their age.
    }
    return removed
  }

  /** Blocks of a copy that wait to be fetched. */
  get waitingBlocks(): number {
    return this.#changed.waitingBlocks
  }

  /** What is kept at this moment, part by part, while it goes on changing: as `ItemTable.copy`. */
  copy(extent: Extent): IterableIterator<NamedArrays> {
    const names = packTexts(this.#types)
    const small = new Map<string, NamedArray>([
      ['meta', Float64Array.of(this.#users.length, this.#offered, this.#stepsMax)],
      ['rng', Int32Array.from(this.#rng.state())],
      ['recent', new Int32Array(this.#recentInOrder())],
      ['sample', new Int32Array(this.#sample)],
      ['free', new Int32Array(this.#free)],
      ['typeNames', names.bytes],
      ['typeNameLengths', names.lengths]
    ])
    const columns = {
      stepsMax: this.#stepsMax,
      columnsOf: (slot: number) => this.#blocks[Math.floor(slot / blockSlots)]!,
      indexOf: (slot: number) => slot % blockSlots,
      userOf: (slot: number) => this.#users[slot]
    }
    const blocks = this.#changed.copy(extent, this.#users.length, () => new ExampleBlock(columns))
    return (function* () {
      yield small
      yield* blocks
    })()
  }

  /** Becomes what copies were taken of: as `ItemTable.beginRestore` says. After the item table. */
  beginRestore(): void {
    this.#changed.forget()
    this.#blocks = []
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
    else this.#restoreSmall(arrays)
  }

  #restoreSmall(arrays: NamedArrays): void {
    const [slots, offered, stepsMax] = namedArray(arrays, 'meta', Float64Array, 3)
    this.#offered = offered!
    this.#restoredStepsMax = stepsMax!
    this.#rng = Rng.from([...namedArray(arrays, 'rng', Int32Array, 4)])
    const listOf = (name: string) => {
      const list = namedArray(arrays, name, Int32Array)
      for (const slot of list)
        if (!(slot >= 0 && slot < slots!))
          throw new CorruptError(`state: slot ${slot} of ${slots} in the list of ${name} examples`)
      return [...list]
    }
    this.#recent = listOf('recent')
    this.#sample = listOf('sample')
    this.#free = listOf('free')
    this.#types = unpackTexts(
      namedArray(arrays, 'typeNames', Uint8Array),
      namedArray(arrays, 'typeNameLengths', Int32Array)
    )
    this.#typeNumbers = new Map(this.#types.map((type, number) => [type, number]))
    while (this.#users.length < slots!) this.#newSlot()
  }

  #restoreExamples(arrays: NamedArrays): void {
    const slots = namedArray(arrays, 'slots', Int32Array)
    const n = slots.length
    const lengths = namedArray(arrays, 'lengths', Int32Array, n)
    const steps = lengths.reduce((sum, length) => sum + length, 0)
    const rows = namedArray(arrays, 'rows', Int32Array, steps)
    const generations = namedArray(arrays, 'generations', Int32Array, steps)
    const timesMs = namedArray(arrays, 'timesMs', Float64Array, steps)
    const types = namedArray(arrays, 'types', Uint8Array, steps)
    const weights = namedArray(arrays, 'weights', Float64Array, n)
    const partitions = namedArray(arrays, 'partitions', Int32Array, n)
    const offsets = new BigInt64Array(namedArray(arrays, 'offsets', Uint8Array, 8 * n).slice().buffer)
    const users = unpackTexts(namedArray(arrays, 'users', Uint8Array), namedArray(arrays, 'userLengths', Int32Array, n))
    let at = 0
    for (let i = 0; i < n; i++) {
      const slot = slots[i]!
      if (!(slot >= 0 && slot < this.#users.length))
        throw new CorruptError(`state: slot ${slot} of ${this.#users.length} for older examples`)
      const end = at + lengths[i]!
      // The newest steps, where shorter histories are kept now.
      const from = end - Math.min(lengths[i]!, this.#stepsMax)
      at = end
      for (let step = from; step < end; step++) {
        if (!(rows[step]! > 0 && rows[step]! < this.#items.rows && types[step]! < this.#types.length)) {
          throw new CorruptError(
            `state: an older example names row ${rows[step]!} of an item table of ${this.#items.rows} rows`
          )
        }
      }
      const block = this.#blocks[Math.floor(slot / blockSlots)]!
      const place = slot % blockSlots
      const start = place * this.#stepsMax
      block.rows.set(rows.subarray(from, end), start)
      block.generations.set(generations.subarray(from, end), start)
      block.timesMs.set(timesMs.subarray(from, end), start)
      block.types.set(types.subarray(from, end), start)
      block.lengths[place] = end - from
      block.weights[place] = weights[i]!
      block.partitions[place] = partitions[i]!
      block.offsets[place] = offsets[i]!
      this.#users[slot] = lengths[i] === 0 ? undefined : users[i]!
    }
  }

  /**
   * Where fewer examples are kept now, the newest of each half are. A user who was erased from the parts has left gaps:
   * as `remove` does.
   */
  endRestore(): void {
    const gone = this.#sample.filter((slot) => this.#users[slot] === undefined)
    if (gone.length > 0) {
      this.#sample = this.#sample.filter((slot) => this.#users[slot] !== undefined)
      this.#free.push(...gone)
    }
    const isSmaller = this.#recent.length > this.#recentMax || this.#sample.length > this.#sampleMax
    for (const slot of this.#recent.splice(0, this.#recent.length - this.#recentMax)) this.#release(slot)
    for (const slot of this.#sample.splice(this.#sampleMax)) this.#release(slot)
    // What a later checkpoint says of the changed ones would be added to examples of another shape.
    if (isSmaller || this.#restoredStepsMax !== this.#stepsMax) this.#changed.allWillChange(this.#users.length)
  }

  /** Oldest first. */
  #recentInOrder(): number[] {
    return [...this.#recent.slice(this.#oldest), ...this.#recent.slice(0, this.#oldest)]
  }

  /** Algorithm R: the n-th offered stays with probability sampleMax / n, in the place of one drawn from those kept. */
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
    // 53 bits: n may pass 2³².
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

  #takeSlot(): number {
    const free = this.#free.pop()
    if (free !== undefined) return free
    return this.#newSlot()
  }

  #newSlot(): number {
    const slot = this.#users.length
    this.#users.push(undefined)
    if (slot === this.#blocks.length * blockSlots) {
      const steps = blockSlots * this.#stepsMax
      this.#blocks.push({
        rows: new Int32Array(steps),
        generations: new Int32Array(steps),
        timesMs: new Float64Array(steps),
        types: new Uint8Array(steps),
        lengths: new Int32Array(blockSlots),
        weights: new Float64Array(blockSlots),
        partitions: new Int32Array(blockSlots),
        offsets: new BigInt64Array(blockSlots)
      })
    }
    return slot
  }

  #write(block: ExampleColumns, at: number, row: number, timeMs: number, type: string): void {
    block.rows[at] = row
    block.generations[at] = this.#items.generation(row) | 0
    block.timesMs[at] = timeMs
    let number = this.#typeNumbers.get(type)
    if (number === undefined) {
      number = this.#types.length < 256 ? this.#types.push(type) - 1 : 0
      if (number > 0) this.#typeNumbers.set(type, number)
    }
    block.types[at] = number
  }

  /** undefined if the slot is empty, its target lost its row, or its whole history did. */
  #read(slot: number): StoredExample | undefined {
    const userId = this.#users[slot]
    if (userId === undefined) return undefined
    const block = this.#blocks[Math.floor(slot / blockSlots)]!
    const place = slot % blockSlots
    const start = place * this.#stepsMax
    const length = block.lengths[place]!
    const rows = new Int32Array(length)
    const timesMs = new Float64Array(length)
    const types: string[] = []
    let kept = 0
    for (let at = start; at < start + length; at++) {
      const row = block.rows[at]!
      if ((this.#items.generation(row) | 0) !== block.generations[at]) {
        if (at === start + length - 1) return undefined
        continue
      }
      rows[kept] = row
      timesMs[kept] = block.timesMs[at]!
      types.push(this.#types[block.types[at]!]!)
      kept++
    }
    if (kept < 2) return undefined
    return new StoredExample({
      items: this.#items,
      userId,
      rows: rows.subarray(0, kept),
      timesMs: timesMs.subarray(0, kept),
      types,
      weight: block.weights[place]!,
      source: { partition: block.partitions[place]!, offset: block.offsets[place]! }
    })
  }
}
