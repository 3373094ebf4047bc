// Item vectors in the memory of a WebAssembly module, and the inner loop of exact search over them (itemScan.wat).
//
// N rows, D dimensions, Q interests of a query, taken four at a time (a group): each row is read once per group, and a
// block of rows stays in the cache between groups. A million rows of D 64 take 22 ms for four interests on one core;
// typed arrays in JavaScript take ten times as long (docs/decisions, "exact search in WebAssembly SIMD").

import { UnavailableError } from '../core/errors.ts'
import { itemScanWasm } from './itemScanWasm.ts'

/** Rows of one scan; at D 64 they take 256 KiB, within a second-level cache. */
export const blockRows = 1024
/** Interests scored together. */
export const groupSize = 4
/** Most interests of one query. */
export const queryInterestsMax = 64

// The part of the engine's interface that is used here: its types come only with those of a browser.
interface WasmMemory {
  readonly buffer: ArrayBuffer
  grow(pages: number): number
}
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object, imports: { m: { memory: WasmMemory } }) => { exports: { scan: Scan } }
  Memory: new (pages: { initial: number; maximum: number }) => WasmMemory
}
/** Counts are numbers of rows; the other arguments are addresses. */
type Scan = (
  items: number,
  rowBytes: number,
  count: number,
  query: number,
  thresholds: number,
  foundRows: number,
  foundScores: number,
  firstRow: number
) => number

let compiled: object | undefined

const pageBytes = 65_536
/** 4 GiB: 16 million rows at D 64. */
const pagesMax = 65_536
// The memory begins with what a scan reads and writes; the vectors follow.
const thresholdsAt = 0
const foundRowsAt = 1024
const foundScoresAt = foundRowsAt + blockRows * 4
const queryAt = foundScoresAt + blockRows * groupSize * 4

/** Rows are numbered from 0; a row is written before it is read. */
export class ItemTable {
  /** Rows that `scan` found, and their four scores each. Overwritten by the next `scan`. */
  foundRows!: Int32Array // [blockRows]
  foundScores!: Float32Array // [blockRows, 4]
  readonly #memory: WasmMemory
  readonly #scan: Scan
  readonly #dimensions: number
  /** Floats of a row: D rounded up to 8, the rest zero. */
  readonly #stride: number
  /** Where the vectors begin, in floats. */
  readonly #start: number
  #floats!: Float32Array

  /** @throws UnavailableError if the process has no address space left for the memory */
  constructor(dimensions: number) {
    this.#dimensions = dimensions
    this.#stride = Math.ceil(dimensions / 8) * 8
    const startPages = Math.ceil((queryAt + queryInterestsMax * this.#stride * 4) / pageBytes)
    this.#start = (startPages * pageBytes) / 4
    compiled ??= new WebAssembly.Module(Buffer.from(itemScanWasm, 'base64'))
    try {
      this.#memory = new WebAssembly.Memory({ initial: startPages + 1, maximum: pagesMax })
    } catch (cause) {
      throw new UnavailableError('no address space for item vectors (8 GiB are reserved): raise `ulimit -v`', { cause })
    }
    this.#scan = new WebAssembly.Instance(compiled, { m: { memory: this.#memory } }).exports.scan
    this.#view()
  }

  /** Bytes held for vectors. */
  get bytes(): number {
    return this.#memory.buffer.byteLength
  }

  /** @param vector [D] */
  write(row: number, vector: Float32Array): void {
    const at = this.#start + row * this.#stride
    this.#reserve(at + 2 * this.#stride)
    this.#floats.set(vector, at)
  }

  /** @returns [D], owned by the caller */
  read(row: number): Float32Array {
    const at = this.#start + row * this.#stride
    return this.#floats.slice(at, at + this.#dimensions)
  }

  move(from: number, to: number): void {
    const at = this.#start + from * this.#stride
    this.#floats.copyWithin(this.#start + to * this.#stride, at, at + this.#stride)
  }

  /** @param vectors [Q, D] @param count Q, at most `queryInterestsMax` */
  setQuery(vectors: Float32Array, count: number): void {
    const D = this.#dimensions
    const groupFloats = groupSize * this.#stride
    this.#floats.fill(0, queryAt / 4, queryAt / 4 + Math.ceil(count / groupSize) * groupFloats)
    for (let k = 0; k < count; k++) {
      const base = queryAt / 4 + Math.floor(k / groupSize) * groupFloats + (k % groupSize) * 4
      for (let d = 0; d < D; d++) this.#floats[base + (d >> 2) * 16 + (d & 3)] = vectors[k * D + d]!
    }
  }

  /**
   * Scores rows `from` … `to` − 1 (within one block) with interests 4·group … 4·group + 3.
   *
   * @param thresholds [4]
   * @returns how many rows score above the threshold of at least one interest; see `foundRows` and `foundScores`
   */
  scan(from: number, to: number, group: number, thresholds: Float32Array): number {
    if (from >= to) return 0
    this.#floats.set(thresholds, thresholdsAt / 4)
    const rowBytes = this.#stride * 4
    const items = this.#start * 4 + from * rowBytes
    const query = queryAt + group * groupSize * rowBytes
    return this.#scan(items, rowBytes, to - from, query, thresholdsAt, foundRowsAt, foundScoresAt, from)
  }

  /** Room for `floats` in all, one row after the last included: a scan of an odd number of rows reads it. */
  #reserve(floats: number): void {
    if (floats <= this.#floats.length) return
    const needed = Math.ceil((floats * 4) / pageBytes)
    const pages = this.#memory.buffer.byteLength / pageBytes
    if (needed > pagesMax) {
      const row = Math.floor((floats - this.#start) / this.#stride)
      throw new RangeError(`an index version holds 4 GiB of item vectors; vector ${row} does not fit: use Qdrant`)
    }
    // An eighth more at once: few views are made again, and pages that were never touched take no memory.
    this.#memory.grow(Math.min(pagesMax, Math.max(needed, pages + Math.ceil(pages / 8))) - pages)
    this.#view()
  }

  #view(): void {
    const { buffer } = this.#memory
    this.#floats = new Float32Array(buffer)
    this.foundRows = new Int32Array(buffer, foundRowsAt, blockRows)
    this.foundScores = new Float32Array(buffer, foundScoresAt, blockRows * groupSize)
  }
}
