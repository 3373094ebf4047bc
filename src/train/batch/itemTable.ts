// The embedding table: one row of D numbers per item. A second, smaller instance holds the rows of features, whose ids
// are `field=value`.
//
// D dimensions, R rows in use (the high-water mark). Row 0 is padding and always zeros.
//
// Storage comes in chunks of 65,536 rows, so that growth copies nothing. An item costs 4·D bytes, 25 for its other
// columns, about 22 for its id's index, and the bytes of its id.

import { CorruptError } from '../../core/errors.ts'
import { IdDictionary } from '../../core/idDictionary.ts'
import {
  type NamedArray,
  type NamedArrays,
  namedArray,
  packTexts,
  unpackTexts,
  withoutPrefix
} from '../../core/namedArrays.ts'
import { Rng } from '../../core/rng.ts'
import type { Extent } from './changedRows.ts'
import { EmbeddingRows } from './embeddingRows.ts'
import { columnKinds, columnNames, ItemRowBlock } from './itemRowBlock.ts'
import { PendingCounts } from './pendingCounts.ts'

/** Items sampled to evict one: the oldest of 16 is among the oldest eighth with probability 1 − (7/8)^16 = .88. */
const evictionSample = 16

interface ItemTableOptions {
  readonly dimensions: number
  /** Items that have a row at most; beyond, the least recently seen are evicted. */
  readonly itemsMax: number
  /** Interactions before an item gets a row; ≥ 1. */
  readonly admissionMin: number
  /** Owned by the table. */
  readonly rng: Rng
  /** Standard deviation of a new row's numbers. Default 1/√D: the mean square length of a row is then 1. */
  readonly initialScale?: number
}

export class ItemTable extends EmbeddingRows {
  readonly #itemsMax: number
  readonly #admissionMin: number
  readonly #initialScale: number
  #rng: Rng
  /** Makes initial embeddings differ between runs with another seed. */
  #seed: number
  #ids = new IdDictionary()
  readonly #pending = new PendingCounts()
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
  /** No admitted item was last seen before this: `expire` returns at once where no item is older. */
  #oldestMs = Number.POSITIVE_INFINITY
  #removals = 0

  constructor(options: ItemTableOptions) {
    super(options.dimensions)
    this.#itemsMax = options.itemsMax
    this.#admissionMin = options.admissionMin
    this.#initialScale = options.initialScale ?? 1 / Math.sqrt(options.dimensions)
    this.#rng = options.rng
    this.#seed = this.#rng.uint32()
  }

  /** Admitted items. */
  get size(): number {
    return this.#size
  }

  /** R: every row in use is below it. May exceed `itemsMax` by the rows freed within one step. */
  get rows(): number {
    return this.#rows
  }

  /** How many items lost their row since the table was created or restored. */
  get removals(): number {
    return this.#removals
  }

  /** The item's row, or 0. */
  rowOf(itemId: string): number {
    return this.#ids.find(itemId)
  }

  /** The row of each item, or 0: several times faster than one by one. @param out [itemIds.length], overwritten */
  rowsOf(itemIds: readonly string[], out: Int32Array): void {
    this.#ids.findAll(itemIds, out)
  }

  /** The row's item, or '' for a free row. */
  idOf(row: number): string {
    return this.#ids.idOf(row)
  }

  isAdmitted(row: number): boolean {
    return row > 0 && row < this.#rows && this.columns(row).places[this.indexOf(row)]! >= 0
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
   * Counts an interaction and admits the item at the `admissionMin`-th. A full table first evicts the least recently
   * seen of 16 admitted items drawn at random (an approximation: exact order would cost 8 bytes per item and a write
   * per interaction).
   *
   * @returns the item's row, or 0 while it has none; 0 for the empty id
   */
  observe(itemId: string, eventTimeMs: number): number {
    const row = this.#ids.find(itemId)
    if (row !== 0) {
      this.changed.willChange(row)
      const { counts, lastSeenMs } = this.columns(row)
      const at = this.indexOf(row)
      if (counts[at]! < 0x7fffffff) counts[at]!++
      if (eventTimeMs > lastSeenMs[at]!) lastSeenMs[at] = eventTimeMs
      return row
    }
    if (itemId === '') return 0
    let count = 1
    if (this.#admissionMin > 1) {
      count = this.#pending.add(itemId)
      if (count < this.#admissionMin) return 0
      this.#pending.delete(itemId)
    }
    return this.#admit(itemId, eventTimeMs, count)
  }

  markDirty(row: number): void {
    if (row === 0) return
    const { dirty } = this.chunk(row)
    if (dirty[this.indexOf(row)] === 1) return
    dirty[this.indexOf(row)] = 1
    this.#dirty.push(row)
  }

  /** Rows of admitted items that changed since the last call, new ones included, in order of their first change. */
  takeDirty(): Int32Array {
    const rows = this.#dirty
    this.#dirty = []
    for (const row of rows) this.chunk(row).dirty[this.indexOf(row)] = 0
    return Int32Array.from(rows.filter((row) => this.isAdmitted(row)))
  }

  /** Items that lost their row since the last call and have none now. */
  takeExpired(): string[] {
    const expired = [...this.#expired]
    this.#expired.clear()
    return expired
  }

  /** Frees the rows of items last seen before `olderThanMs` (event time). @returns how many */
  expire(olderThanMs: number): number {
    if (this.#oldestMs >= olderThanMs) return 0
    let oldestMs = Number.POSITIVE_INFINITY
    let expired = 0
    for (let i = this.#size - 1; i >= 0; i--) {
      const row = this.#admitted[i]!
      const lastSeenMs = this.lastSeenMs(row)
      if (lastSeenMs < olderThanMs) {
        // The last row of the list takes this one's place; it was checked before.
        this.#remove(row)
        expired++
      } else if (lastSeenMs < oldestMs) oldestMs = lastSeenMs
    }
    this.#oldestMs = oldestMs
    return expired
  }

  /**
   * Rows freed since the last call may be reused. To be called between steps, when no unfinished batch holds rows:
   * until then a freed row keeps its values, and writing to it is harmless.
   */
  releaseFreed(): void {
    for (const row of this.#freed) this.#free.push(row)
    this.#freed = []
  }

  /** Calls `listener` for each row just before it is freed; `idOf` and `count` still answer. */
  onFreed(listener: (row: number) => void): void {
    this.#freedListeners.push(listener)
  }

  /** Blocks of the current copy that wait to be fetched. */
  get waitingBlocks(): number {
    return this.changed.waitingBlocks
  }

  /**
   * The table as it is now, part by part, while it keeps changing: first the small state, then blocks of rows. To be
   * read to the end before the next copy begins.
   *
   * @param extent `changed`: only rows that changed since the last copy began, or since the table was restored
   */
  copy(extent: Extent): IterableIterator<NamedArrays> {
    const state = new Map<string, NamedArray>([
      ['meta', Float64Array.of(this.dimensions, this.#rows, this.#size, this.#seed, this.#oldestMs)],
      ['rng', Int32Array.from(this.#rng.state())],
      ['freed', Int32Array.from(this.#freed)],
      ['free', Int32Array.from(this.#free)],
      ['dirty', Int32Array.from(this.#dirty)]
    ])
    const expired = [...this.#expired]
    const pending = this.#pending.copy()
    const blocks = this.changed.copy(extent, this.#rows, () => new ItemRowBlock(this, this.#ids))
    return (function* () {
      const { bytes, lengths } = packTexts(expired)
      state.set('expired', bytes).set('expiredLengths', lengths)
      for (const [name, array] of pending()) state.set(`pending.${name}`, array)
      yield state
      yield* blocks
    })()
  }

  /**
   * Restores from copies: a whole one, then those of what changed since. `beginRestore`, every part in its order,
   * `endRestore`. A smaller `itemsMax` takes effect with the next admission. Freed listeners are not called: restore
   * what listens to this table as well.
   */
  beginRestore(): void {
    this.#rows = 0
    this.#size = 0
    this.#ids = new IdDictionary()
    this.clear()
    this.#expired.clear()
  }

  /** @throws CorruptError if an array is missing or does not fit; the table must not be used then */
  restorePart(arrays: NamedArrays): void {
    if (arrays.has('rows')) this.#restoreRows(arrays)
    else this.#restoreState(arrays)
  }

  #restoreState(arrays: NamedArrays): void {
    const [dimensions, rows, size, seed, oldestMs] = namedArray(arrays, 'meta', Float64Array, 5)
    if (dimensions !== this.dimensions)
      throw new CorruptError(
        `state: an item table of ${dimensions} dimensions cannot be restored into one of ${this.dimensions}`
      )
    if (!(rows! >= 1 && size! < rows!))
      throw new CorruptError(`state: an item table of ${rows} rows cannot have ${size} items`)
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
    const expiredLengths = namedArray(arrays, 'expiredLengths', Int32Array)
    for (const id of unpackTexts(namedArray(arrays, 'expired', Uint8Array), expiredLengths)) this.#expired.add(id)
    this.#pending.restore(withoutPrefix('pending.', arrays))
    this.reserve(this.#rows)
  }

  #restoreRows(arrays: NamedArrays): void {
    const rows = namedArray(arrays, 'rows', Int32Array)
    const n = rows.length
    const d = this.dimensions
    const values = namedArray(arrays, 'values', Float32Array, n * d)
    const ids = namedArray(arrays, 'ids', Uint8Array)
    const idLengths = namedArray(arrays, 'idLengths', Int32Array, n)
    let idStart = 0
    for (const [i, row] of rows.entries()) {
      if (!(row >= 0 && row < this.#rows))
        throw new CorruptError(`state: row ${row} of an item table of ${this.#rows} rows`)
      const out = this.chunk(row).values
      for (let from = i * d, to = this.start(row), end = from + d; from < end; ) out[to++] = values[from++]!
      this.#ids.assign(row, ids, idStart, idLengths[i]!)
      idStart += idLengths[i]!
    }
    if (idStart !== ids.length) throw new CorruptError(`state: ids of ${idStart} bytes in a blob of ${ids.length}`)
    for (const name of columnNames) {
      const column = namedArray<NamedArray>(arrays, name, columnKinds[name], n)
      for (let i = 0; i < n; i++) this.columns(rows[i]!)[name][this.indexOf(rows[i]!)] = column[i]!
    }
  }

  /** @throws CorruptError if the parts do not make a table */
  endRestore(): void {
    if (this.#rows === 0) throw new CorruptError('state: no part of an item table')
    this.#admitted = new Int32Array(Math.max(1024, this.#size))
    let admitted = 0
    for (let row = 1; row < this.#rows; row++) {
      const place = this.columns(row).places[this.indexOf(row)]!
      if (place < 0) continue
      if (place >= this.#size || this.#admitted[place] !== 0 || this.#ids.lengthOf(row) === 0)
        throw new CorruptError(`state: row ${row} of ${this.#rows} cannot be at place ${place} of ${this.#size} items`)
      this.#admitted[place] = row
      admitted++
    }
    if (admitted !== this.#size || this.#ids.size !== this.#size)
      throw new CorruptError(`state: ${this.#ids.size} ids and ${admitted} rows for ${this.#size} items`)
    for (const row of this.#dirty) this.chunk(row).dirty[this.indexOf(row)] = 1
    this.#removals++ // caches that compare it notice the change
  }

  #admit(itemId: string, eventTimeMs: number, count: number): number {
    while (this.#size >= this.#itemsMax) this.#evict()
    const row = this.#free.pop() ?? this.#rows++
    this.reserve(row + 1)
    this.changed.willChange(row)
    this.#ids.set(row, itemId)
    this.#expired.delete(itemId)
    const columns = this.columns(row)
    const at = this.indexOf(row)
    columns.accumulators[at] = 0
    columns.counts[at] = count
    columns.lastSeenMs[at] = eventTimeMs
    if (eventTimeMs < this.#oldestMs) this.#oldestMs = eventTimeMs
    columns.places[at] = this.#size
    if (this.#size === this.#admitted.length) {
      const longer = new Int32Array(Math.ceil(1.25 * this.#size))
      longer.set(this.#admitted)
      this.#admitted = longer
    }
    this.#admitted[this.#size++] = row
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
    this.changed.willChange(row)
    for (const listener of this.#freedListeners) listener(row)
    this.#expired.add(this.#ids.idOf(row))
    this.#ids.delete(row)
    const columns = this.columns(row)
    const at = this.indexOf(row)
    const place = columns.places[at]!
    const last = this.#admitted[--this.#size]!
    this.changed.willChange(last)
    this.#admitted[place] = last
    this.columns(last).places[this.indexOf(last)] = place
    columns.places[at] = -1
    columns.counts[at] = 0
    columns.generations[at]!++
    this.#freed.push(row)
    this.#removals++
  }
}

/** Seeded by the id alone (64 bits of it) and the table: initial embeddings do not depend on the order of arrival. */
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
  // As the constructor of Rng does: near states must not give near streams.
  for (let i = 0; i < 12; i++) rng.uint32()
  return rng
}
