// The embedding table: one row of D numbers an item, no two items in one row, on typed arrays.
//
// D dimensions, R rows in use (the high-water mark). Row 0 is padding and always zeros.
//
// Storage comes in chunks of 65,536 rows: growth copies nothing. An item costs 4·D bytes, 29 for its other columns, about 22 for finding it and
// its id's own bytes. A second, smaller instance holds the rows of features (ids are `field=value`).

import { CorruptError } from '../base/errors.ts'
import { Rng } from '../base/rng.ts'
import { chunkRows, IdDictionary } from './idDictionary.ts'
import { type NamedArray, type NamedArrays, namedArray, packTexts, unpackTexts } from './namedArrays.ts'
import { PendingCounts } from './pendingCounts.ts'

const chunkShift = Math.log2(chunkRows)
const chunkMask = chunkRows - 1

/** Items looked at to find one to make room: the oldest of 16 is among the oldest eighth with probability 1 − (7/8)^16 = .88. */
const evictionSample = 16

export interface ItemTableOptions {
  readonly dimensions: number
  /** Items that have a row at most; the least recently seen make room. */
  readonly itemsMax: number
  /** Interactions before an item gets a row; ≥ 1. */
  readonly admissionMin: number
  /** The table's own from now on. */
  readonly rng: Rng
  /** Standard deviation of a new row's numbers. Default 1/√D: a row then has length 1 in the mean square. */
  readonly initialScale?: number
}

/** Columns of 65,536 rows. */
interface Chunk {
  readonly values: Float32Array // [65,536, D]
  readonly accumulators: Float32Array
  readonly counts: Uint32Array
  readonly lastSeenMs: Float64Array
  readonly generations: Uint32Array
  /** Index in the list of admitted rows; −1 for a row that is nobody's. */
  readonly places: Int32Array
  readonly dirty: Uint8Array
}

export class ItemTable {
  readonly dimensions: number
  readonly itemsMax: number
  readonly admissionMin: number
  readonly #initialScale: number
  #rng: Rng
  /** Makes initial values differ between runs with another seed. */
  #seed: number
  readonly #chunks: Chunk[] = []
  #ids = new IdDictionary()
  readonly #pending: PendingCounts
  #rows = 1
  /** Admitted rows in no particular order: for uniform draws. */
  #admitted = new Int32Array(1024)
  #size = 0
  /** Rows freed since the last `releaseFreed`, and rows to use again. */
  #freed: number[] = []
  #free: number[] = []
  #dirty: number[] = []
  readonly #expired = new Set<string>()
  readonly #freedListeners: ((row: number) => void)[] = []
  /** No admitted item was last seen before this: makes `expire` free where nothing is old. */
  #oldestMs = Number.POSITIVE_INFINITY
  #admissions = 0
  #removals = 0

  constructor(options: ItemTableOptions) {
    const { dimensions, itemsMax, admissionMin } = options
    if (!(Number.isInteger(dimensions) && dimensions > 0))
      throw new RangeError(`dimensions must be a whole number above 0, not ${dimensions}`)
    if (!(Number.isInteger(itemsMax) && itemsMax > 0)) throw new RangeError(`itemsMax must be a whole number above 0, not ${itemsMax}`)
    if (!(admissionMin >= 1)) throw new RangeError(`admissionMin must be at least 1, not ${admissionMin}`)
    this.dimensions = dimensions
    this.itemsMax = itemsMax
    this.admissionMin = admissionMin
    this.#initialScale = options.initialScale ?? 1 / Math.sqrt(dimensions)
    this.#rng = options.rng
    this.#seed = this.#rng.uint32()
    this.#pending = new PendingCounts()
    this.#chunks.push(this.#newChunk())
    this.#chunk(0).places[0] = -1
  }

  /** Admitted items. */
  get size(): number {
    return this.#size
  }

  /** R: every row in use is below it. May pass `itemsMax` by the rows freed within one step. */
  get rows(): number {
    return this.#rows
  }

  /** How many items were admitted since the table was made or restored: changes when an id without a row may have got one. */
  get admissions(): number {
    return this.#admissions
  }

  /** How many items lost their row since the table was made or restored. */
  get removals(): number {
    return this.#removals
  }

  /** The item's row, or 0. */
  rowOf(itemId: string): number {
    return this.#ids.find(itemId)
  }

  /** The row's item, or '' for a row that is nobody's. */
  idOf(row: number): string {
    return this.#ids.idOf(row)
  }

  isAdmitted(row: number): boolean {
    return row > 0 && row < this.#rows && this.#chunk(row).places[row & chunkMask]! >= 0
  }

  /** @param index 0 … size − 1, in no particular order */
  admittedRow(index: number): number {
    return this.#admitted[index]!
  }

  /** Rows of admitted items, in no particular order; valid until an item is admitted or loses its row. */
  *admitted(): IterableIterator<number> {
    for (let i = 0; i < this.#size; i++) yield this.#admitted[i]!
  }

  /** How many items have had this row before. A row kept somewhere is still its item's if the generation is the same. */
  generation(row: number): number {
    return this.#chunk(row).generations[row & chunkMask]!
  }

  /** Interactions of the item since it was first counted. */
  count(row: number): number {
    return this.#chunk(row).counts[row & chunkMask]!
  }

  /** Event time of the item's newest interaction, milliseconds. */
  lastSeenMs(row: number): number {
    return this.#chunk(row).lastSeenMs[row & chunkMask]!
  }

  /**
   * Counts an interaction; admits the item when it is the `admissionMin`-th. A full table makes room by expiring the least recently seen of 16
   * admitted items drawn at random (an approximation; exact order would cost 8 bytes an item and a write for every interaction).
   *
   * @returns the item's row, or 0 while it has none; 0 for the empty id
   */
  observe(itemId: string, eventTimeMs: number): number {
    const row = this.#ids.find(itemId)
    if (row !== 0) {
      const chunk = this.#chunk(row)
      const at = row & chunkMask
      if (chunk.counts[at]! < 0xffffffff) chunk.counts[at]!++
      if (eventTimeMs > chunk.lastSeenMs[at]!) chunk.lastSeenMs[at] = eventTimeMs
      return row
    }
    if (itemId === '') return 0
    let count = 1
    if (this.admissionMin > 1) {
      count = this.#pending.add(itemId)
      if (count < this.admissionMin) return 0
      this.#pending.delete(itemId)
    }
    return this.#admit(itemId, eventTimeMs, count)
  }

  /** Copies rows. @param rows [n] @param out [n, D], overwritten; zeros for row 0 */
  gather(rows: Int32Array, out: Float32Array): void {
    const d = this.dimensions
    if (out.length < rows.length * d) throw new RangeError(`gather: ${rows.length} rows of ${d} into ${out.length} numbers`)
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!
      if (row === 0) {
        out.fill(0, i * d, i * d + d)
        continue
      }
      // A loop beats `set(subarray)` below some 100 numbers: no view is made.
      const values = this.#chunk(row).values
      let from = (row & chunkMask) * d
      for (let to = i * d, end = to + d; to < end; to++) out[to] = values[from++]!
    }
  }

  /** The row itself [D], not a copy: write into it, then `markDirty`. For row 0 zeros that nobody reads again. */
  values(row: number): Float32Array {
    const d = this.dimensions
    if (row === 0) return new Float32Array(d)
    const at = (row & chunkMask) * d
    return this.#chunk(row).values.subarray(at, at + d)
  }

  /** The memory that the row is part of: its D numbers begin at `start(row)`. Without the view that `values` makes, for loops over many rows. */
  block(row: number): Float32Array {
    return this.#chunk(row).values
  }

  start(row: number): number {
    return (row & chunkMask) * this.dimensions
  }

  /** Adagrad's sum of squares of the row; 0 for a new one. */
  accumulator(row: number): number {
    return this.#chunk(row).accumulators[row & chunkMask]!
  }

  setAccumulator(row: number, value: number): void {
    if (row !== 0) this.#chunk(row).accumulators[row & chunkMask] = value
  }

  /** Sets a new row from something better than chance: its features' rows, or those it is seen with. @param vector [D], copied */
  initialise(row: number, vector: Float32Array): void {
    if (row === 0) return
    if (vector.length !== this.dimensions) throw new RangeError(`initialise: ${vector.length} numbers for a row of ${this.dimensions}`)
    this.values(row).set(vector)
    this.markDirty(row)
  }

  markDirty(row: number): void {
    if (row === 0) return
    const chunk = this.#chunk(row)
    if (chunk.dirty[row & chunkMask] === 1) return
    chunk.dirty[row & chunkMask] = 1
    this.#dirty.push(row)
  }

  /** Rows of admitted items that changed since the last call, new ones included, in order of their first change. */
  takeDirty(): Int32Array {
    const rows = new Int32Array(this.#dirty.length)
    let n = 0
    for (const row of this.#dirty) {
      this.#chunk(row).dirty[row & chunkMask] = 0
      if (this.isAdmitted(row)) rows[n++] = row
    }
    this.#dirty = []
    return rows.subarray(0, n)
  }

  /** Items that lost their row since the last call and have none now. */
  takeExpired(): string[] {
    const expired = [...this.#expired]
    this.#expired.clear()
    return expired
  }

  /** Takes the rows of items last seen before `olderThanMs` (event time) away. @returns how many */
  expire(olderThanMs: number): number {
    if (this.#oldestMs >= olderThanMs) return 0
    let oldestMs = Number.POSITIVE_INFINITY
    let expired = 0
    for (let i = this.#size - 1; i >= 0; i--) {
      const row = this.#admitted[i]!
      const lastSeenMs = this.lastSeenMs(row)
      if (lastSeenMs < olderThanMs) {
        // The last row of the list takes this one's place; it was looked at before.
        this.#remove(row)
        expired++
      } else if (lastSeenMs < oldestMs) oldestMs = lastSeenMs
    }
    this.#oldestMs = oldestMs
    return expired
  }

  /**
   * Rows freed since the last call may be given to other items from now on. Call it between steps, when no unfinished batch holds rows: until
   * then a freed row keeps its values, and writing into it does no harm.
   */
  releaseFreed(): void {
    for (const row of this.#freed) this.#free.push(row)
    this.#freed = []
  }

  /** Calls `listener` for each row at the moment when it stops being its item's; `idOf` and `count` still answer. */
  onFreed(listener: (row: number) => void): void {
    this.#freedListeners.push(listener)
  }

  /**
   * Everything, exactly. Large columns come as one array a chunk (`values.0`, …).
   *
   * @param mode `copy`: the arrays are the receiver's. `view`: the columns are the table's own memory, valid until it changes; saves a second
   *   copy of a large table where the checkpoint is written before the next step.
   */
  state(mode: 'copy' | 'view' = 'copy'): NamedArrays {
    const arrays = new Map<string, NamedArray>()
    const keep = <T extends NamedArray>(array: T): T => (mode === 'view' ? array : (array.slice() as T))
    arrays.set('meta', Float64Array.of(this.dimensions, this.#rows, this.#size, this.#seed, this.#oldestMs, this.#chunks.length))
    arrays.set('rng', Int32Array.from(this.#rng.state()))
    arrays.set('admitted', keep(this.#admitted.subarray(0, this.#size)))
    arrays.set('freed', Int32Array.from(this.#freed))
    arrays.set('free', Int32Array.from(this.#free))
    arrays.set('dirty', Int32Array.from(this.#dirty))
    const expired = packTexts([...this.#expired])
    arrays.set('expired', expired.bytes)
    arrays.set('expiredLengths', expired.lengths)
    for (const [name, array] of this.#pending.state()) arrays.set(`pending.${name}`, array)
    for (const [index, chunk] of this.#chunks.entries()) {
      const used = Math.min(chunkRows, this.#rows - index * chunkRows)
      const ids = this.#ids.pack(index * chunkRows, index * chunkRows + used)
      arrays.set(`ids.${index}`, ids.bytes)
      arrays.set(`idLengths.${index}`, ids.lengths)
      arrays.set(`values.${index}`, keep(chunk.values.subarray(0, used * this.dimensions)))
      arrays.set(`accumulators.${index}`, keep(chunk.accumulators.subarray(0, used)))
      arrays.set(
        `counts.${index}`,
        Int32Array.from(chunk.counts.subarray(0, used), (count) => count | 0)
      )
      arrays.set(`lastSeenMs.${index}`, keep(chunk.lastSeenMs.subarray(0, used)))
      arrays.set(
        `generations.${index}`,
        Int32Array.from(chunk.generations.subarray(0, used), (generation) => generation | 0)
      )
    }
    return arrays
  }

  /**
   * Becomes what `state` was taken of; the arrays are copied. A smaller `itemsMax` than then takes effect with the next admission.
   * Freed listeners are not called: restore what listens to this table as well.
   *
   * @throws CorruptError if an array is missing or does not fit; the table is then not to be used
   */
  restore(arrays: NamedArrays): void {
    const [dimensions, rows, size, seed, oldestMs, chunks] = namedArray(arrays, 'meta', Float64Array, 6)
    if (dimensions !== this.dimensions) {
      throw new CorruptError(`state: an item table of ${dimensions} dimensions cannot be restored into one of ${this.dimensions}`)
    }
    if (!(rows! >= 1 && size! < rows! && chunks === Math.ceil(rows! / chunkRows))) {
      throw new CorruptError(`state: an item table of ${rows} rows in ${chunks} chunks with ${size} items cannot be`)
    }
    this.#rows = rows!
    this.#size = size!
    this.#seed = seed!
    this.#oldestMs = oldestMs!
    this.#rng = Rng.from([...namedArray(arrays, 'rng', Int32Array, 4)])
    this.#freed = [...namedArray(arrays, 'freed', Int32Array)]
    this.#free = [...namedArray(arrays, 'free', Int32Array)]
    this.#dirty = [...namedArray(arrays, 'dirty', Int32Array)]
    this.#expired.clear()
    for (const id of unpackTexts(namedArray(arrays, 'expired', Uint8Array), namedArray(arrays, 'expiredLengths', Int32Array)))
      this.#expired.add(id)
    this.#pending.restore(
      new Map([...arrays].filter(([name]) => name.startsWith('pending.')).map(([name, array]) => [name.slice('pending.'.length), array]))
    )
    this.#ids = new IdDictionary()
    this.#ids.reserve(size!)
    this.#chunks.length = 0
    for (let index = 0; index < chunks; index++) {
      const used = Math.min(chunkRows, rows! - index * chunkRows)
      const chunk = this.#newChunk()
      this.#chunks.push(chunk)
      chunk.values.set(namedArray(arrays, `values.${index}`, Float32Array, used * this.dimensions))
      chunk.accumulators.set(namedArray(arrays, `accumulators.${index}`, Float32Array, used))
      chunk.counts.set(namedArray(arrays, `counts.${index}`, Int32Array, used))
      chunk.lastSeenMs.set(namedArray(arrays, `lastSeenMs.${index}`, Float64Array, used))
      chunk.generations.set(namedArray(arrays, `generations.${index}`, Int32Array, used))
      this.#ids.unpack(
        index * chunkRows,
        namedArray(arrays, `ids.${index}`, Uint8Array),
        namedArray(arrays, `idLengths.${index}`, Int32Array, used)
      )
    }
    const admitted = namedArray(arrays, 'admitted', Int32Array, size)
    this.#admitted = new Int32Array(Math.max(1024, size!))
    this.#admitted.set(admitted)
    for (const [place, row] of admitted.entries()) {
      if (!(row > 0 && row < rows!) || this.#ids.idOf(row) === '') throw new CorruptError(`state: admitted row ${row} of ${rows} has no id`)
      this.#chunk(row).places[row & chunkMask] = place
    }
    if (this.#ids.size !== size) throw new CorruptError(`state: ${this.#ids.size} ids for ${size} items`)
    for (const row of this.#dirty) this.#chunk(row).dirty[row & chunkMask] = 1
    // Counters of change: whoever remembers an earlier value must notice.
    this.#admissions++
    this.#removals++
  }

  #chunk(row: number): Chunk {
    return this.#chunks[row >>> chunkShift]!
  }

  #newChunk(): Chunk {
    return {
      values: new Float32Array(chunkRows * this.dimensions),
      accumulators: new Float32Array(chunkRows),
      counts: new Uint32Array(chunkRows),
      lastSeenMs: new Float64Array(chunkRows),
      generations: new Uint32Array(chunkRows),
      places: new Int32Array(chunkRows).fill(-1),
      dirty: new Uint8Array(chunkRows)
    }
  }

  #admit(itemId: string, eventTimeMs: number, count: number): number {
    while (this.#size >= this.itemsMax) this.#evict()
    let row = this.#free.pop()
    if (row === undefined) {
      row = this.#rows++
      if (row >>> chunkShift === this.#chunks.length) this.#chunks.push(this.#newChunk())
    }
    this.#ids.set(row, itemId)
    this.#expired.delete(itemId)
    const chunk = this.#chunk(row)
    const at = row & chunkMask
    chunk.accumulators[at] = 0
    chunk.counts[at] = count
    chunk.lastSeenMs[at] = eventTimeMs
    if (eventTimeMs < this.#oldestMs) this.#oldestMs = eventTimeMs
    chunk.places[at] = this.#size
    if (this.#size === this.#admitted.length) {
      const longer = new Int32Array(Math.ceil(1.25 * this.#size))
      longer.set(this.#admitted)
      this.#admitted = longer
    }
    this.#admitted[this.#size++] = row
    this.#admissions++
    const rng = generatorOf(itemId, this.#seed)
    const values = this.values(row)
    for (let i = 0; i < values.length; i++) values[i] = rng.normal() * this.#initialScale
    this.markDirty(row)
    return row
  }

  #evict(): void {
    let oldest = 0
    let oldestMs = Number.POSITIVE_INFINITY
    for (let i = 0; i < evictionSample; i++) {
      const row = this.#admitted[this.#rng.integer(this.#size)]!
      const lastSeenMs = this.lastSeenMs(row)
      if (lastSeenMs < oldestMs) {
        oldest = row
        oldestMs = lastSeenMs
      }
    }
    this.#remove(oldest)
  }

  #remove(row: number): void {
    for (const listener of this.#freedListeners) listener(row)
    this.#expired.add(this.#ids.idOf(row))
    this.#ids.delete(row)
    const chunk = this.#chunk(row)
    const at = row & chunkMask
    const place = chunk.places[at]!
    const last = this.#admitted[--this.#size]!
    this.#admitted[place] = last
    this.#chunk(last).places[last & chunkMask] = place
    chunk.places[at] = -1
    chunk.counts[at] = 0
    chunk.generations[at]!++
    this.#freed.push(row)
    this.#removals++
  }
}

/** Seeded by the id alone (64 bits of it) and the table: an item's initial values do not depend on when it arrives. */
function generatorOf(itemId: string, seed: number): Rng {
  let a = 0x811c9dc5
  let b = seed | 0
  for (let i = 0; i < itemId.length; i++) {
    const c = itemId.charCodeAt(i)
    a = Math.imul(a ^ c, 0x01000193)
    b = Math.imul(b ^ c, 0x5bd1e995)
    b ^= b >>> 15
  }
  const rng = Rng.from([a, b, seed, 1])
  // As its constructor does: near states must not give near streams.
  for (let i = 0; i < 12; i++) rng.uint32()
  return rng
}
