// The embedding table: one row of D numbers an item, no two items in one row, on typed arrays.
//
// D dimensions, R rows in use (the high-water mark). Row 0 is padding and always zeros.
//
// Storage comes in chunks of 65,536 rows: growth copies nothing. An item costs 4·D bytes, 30 for its other columns,
// about 22 for finding it and its id's own bytes. A second, smaller instance holds the rows of features (ids are
// `field=value`).

import { CorruptError } from '../../core/errors.ts'
import { chunkRows, IdDictionary } from '../../core/idDictionary.ts'
import { type NamedArray, type NamedArrays, namedArray, packTexts, unpackTexts } from '../../core/namedArrays.ts'
import { Rng } from '../../core/rng.ts'
import { ChangedRows, type Extent } from './changedRows.ts'
import { type ItemColumns, ItemRowBlock } from './itemRowBlock.ts'
import { PendingCounts } from './pendingCounts.ts'

const chunkShift = Math.log2(chunkRows)
const chunkMask = chunkRows - 1

/** Rows whose memory is read at once: 64 rows of 64 numbers are a third of the smallest cache. */
export const readTogether = 64
/** Floats. */
const cacheLine = 16

/**
 * Items looked at to find one to make room: the oldest of 16 is among the oldest eighth with probability 1 − (7/8)^16 =
 * .88.
 */
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

export class ItemTable {
  readonly dimensions: number
  readonly itemsMax: number
  readonly admissionMin: number
  readonly #initialScale: number
  #rng: Rng
  /** Makes initial values differ between runs with another seed. */
  #seed: number
  readonly #chunks: ItemColumns[] = []
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
  readonly #changed = new ChangedRows()
  /** No admitted item was last seen before this: makes `expire` free where nothing is old. */
  #oldestMs = Number.POSITIVE_INFINITY
  #admissions = 0
  #removals = 0
  /** Kept, or nothing would have to be read. */
  readonly #read = new Float64Array(1)

  constructor(options: ItemTableOptions) {
    const { dimensions, itemsMax, admissionMin } = options
    if (!(Number.isInteger(dimensions) && dimensions > 0))
      throw new RangeError(`dimensions must be a whole number above 0, not ${dimensions}`)
    if (!(Number.isInteger(itemsMax) && itemsMax > 0))
      throw new RangeError(`itemsMax must be a whole number above 0, not ${itemsMax}`)
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

  /**
   * How many items were admitted since the table was made or restored: changes when an id without a row may have got
   * one.
   */
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

  /** The row of each item, or 0: several times as fast as one by one. @param out [itemIds.length], overwritten */
  rowsOf(itemIds: readonly string[], out: Int32Array): void {
    this.#ids.findAll(itemIds, out)
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

  /**
   * How many items have had this row before. A row kept somewhere is still its item's if the generation is the same.
   */
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
   * Counts an interaction; admits the item when it is the `admissionMin`-th. A full table makes room by expiring the
   * least recently seen of 16 admitted items drawn at random (an approximation; exact order would cost 8 bytes an item
   * and a write for every interaction).
   *
   * @returns the item's row, or 0 while it has none; 0 for the empty id
   */
  observe(itemId: string, eventTimeMs: number): number {
    const row = this.#ids.find(itemId)
    if (row !== 0) {
      this.#changed.willChange(row)
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
    if (out.length < rows.length * d)
      throw new RangeError(`gather: ${rows.length} rows of ${d} into ${out.length} numbers`)
    for (let i = 0; i < rows.length; i++) {
      if (i % readTogether === 0) this.readAhead(rows, i)
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

  /**
   * Reads what the next `readTogether` rows have in memory, so that the waits for it overlap: rows far apart are in no
   * cache, and a loop over one row's numbers ends before the next row's are asked for.
   */
  readAhead(rows: Int32Array, from: number): void {
    const d = this.dimensions
    const end = Math.min(rows.length, from + readTogether)
    let read = 0
    for (let i = from; i < end; i++) {
      const row = rows[i]!
      const { values, accumulators, dirty } = this.#chunk(row)
      const at = row & chunkMask
      read += accumulators[at]! + dirty[at]! + this.#changed.markOf(row)
      for (let to = at * d, last = to + d; to < last; to += cacheLine) read += values[to]!
    }
    this.#read[0] = read
  }

  /** Call it before writing into the row or its accumulator: a checkpoint may still want it as it is. */
  willChange(row: number): void {
    this.#changed.willChange(row)
  }

  /**
   * The row itself [D], not a copy: `willChange` before writing into it, `markDirty` after. For row 0 zeros that nobody
   * reads again.
   */
  values(row: number): Float32Array {
    const d = this.dimensions
    if (row === 0) return new Float32Array(d)
    const at = (row & chunkMask) * d
    return this.#chunk(row).values.subarray(at, at + d)
  }

  /**
   * The memory that the row is part of: its D numbers begin at `start(row)`. Without the view that `values` makes, for
   * loops over many rows.
   */
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
   * Rows freed since the last call may be given to other items from now on. Call it between steps, when no unfinished
   * batch holds rows: until then a freed row keeps its values, and writing into it does no harm.
   */
  releaseFreed(): void {
    for (const row of this.#freed) this.#free.push(row)
    this.#freed = []
  }

  /** Calls `listener` for each row at the moment when it stops being its item's; `idOf` and `count` still answer. */
  onFreed(listener: (row: number) => void): void {
    this.#freedListeners.push(listener)
  }

  /** Blocks of a copy that wait to be fetched. */
  get waitingBlocks(): number {
    return this.#changed.waitingBlocks
  }

  /**
   * The table as it is at this moment, part by part, while it goes on changing: what is small first, then blocks of
   * rows. To be fetched to the end before the next one begins.
   *
   * @param extent `changed`: only rows that changed since the last copy began, or since the table was restored
   */
  copy(extent: Extent): IterableIterator<NamedArrays> {
    const arrays = new Map<string, NamedArray>()
    arrays.set('meta', Float64Array.of(this.dimensions, this.#rows, this.#size, this.#seed, this.#oldestMs))
    arrays.set('rng', Int32Array.from(this.#rng.state()))
    arrays.set('freed', new Int32Array(this.#freed))
    arrays.set('free', new Int32Array(this.#free))
    arrays.set('dirty', new Int32Array(this.#dirty))
    const expired = [...this.#expired]
    const pending = this.#pending.copy()
    const columns = {
      dimensions: this.dimensions,
      ids: this.#ids,
      columnsOf: (row: number) => this.#chunk(row),
      indexOf: (row: number) => row & chunkMask
    }
    const blocks = this.#changed.copy(extent, this.#rows, () => new ItemRowBlock(columns))
    return (function* () {
      const texts = packTexts(expired)
      arrays.set('expired', texts.bytes)
      arrays.set('expiredLengths', texts.lengths)
      for (const [name, array] of pending()) arrays.set(`pending.${name}`, array)
      yield arrays
      yield* blocks
    })()
  }

  /**
   * Becomes what copies were taken of: a whole one, then those of what changed since. `beginRestore`, every part in its
   * order, `endRestore`. A smaller `itemsMax` than then takes effect with the next admission. Freed listeners are not
   * called: restore what listens to this table as well.
   */
  beginRestore(): void {
    this.#changed.forget()
    this.#rows = 0
    this.#size = 0
    this.#ids = new IdDictionary()
    this.#chunks.length = 0
    this.#chunks.push(this.#newChunk())
    this.#expired.clear()
  }

  /** @throws CorruptError if an array is missing or does not fit; the table is then not to be used */
  restorePart(arrays: NamedArrays): void {
    if (arrays.has('rows')) this.#restoreRows(arrays)
    else this.#restoreSmall(arrays)
  }

  #restoreSmall(arrays: NamedArrays): void {
    const [dimensions, rows, size, seed, oldestMs] = namedArray(arrays, 'meta', Float64Array, 5)
    if (dimensions !== this.dimensions) {
      throw new CorruptError(
        `state: an item table of ${dimensions} dimensions cannot be restored into one of ${this.dimensions}`
      )
    }
    if (!(rows! >= 1 && size! < rows!))
      throw new CorruptError(`state: an item table of ${rows} rows with ${size} items cannot be`)
    if (this.#rows === 0) this.#ids.reserve(size!)
    this.#rows = rows!
    this.#size = size!
    this.#seed = seed!
    this.#oldestMs = oldestMs!
    this.#rng = Rng.from([...namedArray(arrays, 'rng', Int32Array, 4)])
    this.#freed = [...namedArray(arrays, 'freed', Int32Array)]
    this.#free = [...namedArray(arrays, 'free', Int32Array)]
    this.#dirty = [...namedArray(arrays, 'dirty', Int32Array)]
    this.#expired.clear()
    for (const id of unpackTexts(
      namedArray(arrays, 'expired', Uint8Array),
      namedArray(arrays, 'expiredLengths', Int32Array)
    ))
      this.#expired.add(id)
    this.#pending.restore(
      new Map(
        [...arrays]
          .filter(([name]) => name.startsWith('pending.'))
          .map(([name, array]) => [name.slice('pending.'.length), array])
      )
    )
    while (this.#chunks.length < Math.ceil(this.#rows / chunkRows)) this.#chunks.push(this.#newChunk())
  }

  #restoreRows(arrays: NamedArrays): void {
    const rows = namedArray(arrays, 'rows', Int32Array)
    const n = rows.length
    const d = this.dimensions
    const values = namedArray(arrays, 'values', Float32Array, n * d)
    const accumulators = namedArray(arrays, 'accumulators', Float32Array, n)
    const counts = namedArray(arrays, 'counts', Int32Array, n)
    const lastSeenMs = namedArray(arrays, 'lastSeenMs', Float64Array, n)
    const generations = namedArray(arrays, 'generations', Int32Array, n)
    const places = namedArray(arrays, 'places', Int32Array, n)
    const ids = namedArray(arrays, 'ids', Uint8Array)
    const idLengths = namedArray(arrays, 'idLengths', Int32Array, n)
    let idStart = 0
    for (let i = 0; i < n; i++) {
      const row = rows[i]!
      if (!(row >= 0 && row < this.#rows))
        throw new CorruptError(`state: row ${row} of an item table of ${this.#rows} rows`)
      const chunk = this.#chunk(row)
      const at = row & chunkMask
      for (let from = i * d, to = at * d, end = from + d; from < end; ) chunk.values[to++] = values[from++]!
      chunk.accumulators[at] = accumulators[i]!
      chunk.counts[at] = counts[i]!
      chunk.lastSeenMs[at] = lastSeenMs[i]!
      chunk.generations[at] = generations[i]!
      chunk.places[at] = places[i]!
      this.#ids.assign(row, ids, idStart, idLengths[i]!)
      idStart += idLengths[i]!
    }
    if (idStart !== ids.length) throw new CorruptError(`state: ids of ${idStart} bytes in a blob of ${ids.length}`)
  }

  /** @throws CorruptError if the parts do not make a table */
  endRestore(): void {
    if (this.#rows === 0) throw new CorruptError('state: nothing of an item table')
    this.#admitted = new Int32Array(Math.max(1024, this.#size))
    let admitted = 0
    for (let row = 1; row < this.#rows; row++) {
      const place = this.#chunk(row).places[row & chunkMask]!
      if (place < 0) continue
      if (place >= this.#size || this.#admitted[place] !== 0 || this.#ids.lengthOf(row) === 0)
        throw new CorruptError(`state: row ${row} of ${this.#rows} cannot be at place ${place} of ${this.#size} items`)
      this.#admitted[place] = row
      admitted++
    }
    if (admitted !== this.#size || this.#ids.size !== this.#size)
      throw new CorruptError(`state: ${this.#ids.size} ids and ${admitted} rows for ${this.#size} items`)
    for (const row of this.#dirty) this.#chunk(row).dirty[row & chunkMask] = 1
    // Counters of change: whoever remembers an earlier value must notice.
    this.#admissions++
    this.#removals++
  }

  #chunk(row: number): ItemColumns {
    return this.#chunks[row >>> chunkShift]!
  }

  #newChunk(): ItemColumns {
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
    this.#changed.willChange(row)
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
    this.#changed.willChange(row)
    for (const listener of this.#freedListeners) listener(row)
    this.#expired.add(this.#ids.idOf(row))
    this.#ids.delete(row)
    const chunk = this.#chunk(row)
    const at = row & chunkMask
    const place = chunk.places[at]!
    const last = this.#admitted[--this.#size]!
    this.#changed.willChange(last)
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
