// The inner loop of exact search: inner products of item rows with the interests of one user.
//
// N rows, D dimensions, Q interests of a query, taken four at a time (a group): each row is read once per group, and a
// block of rows stays in the cache between groups.
//
// What should be possible: at D 64 a row is 256 bytes and, with four interests, 512 floating-point operations. A
// million rows are 256 MB and 0.5 GFLOP: one core at 10–20 GB/s needs 13–26 ms for the bytes, 128-bit SIMD without
// fused multiply-add at 3 GHz 10–20 ms for the arithmetic, scalar JavaScript (about 2 GFLOP/s) 250 ms. So: SIMD where
// there is any (wasmKernel.ts), this file's JavaScript elsewhere.

/** Rows looked at between two looks at the thresholds; D 64: 256 KiB, within a second-level cache. */
export const blockRows = 1024
/** Interests scored together. */
export const groupSize = 4
/** Most interests of one query. */
export const queryInterestsMax = 64

/** Vectors by row, and the scan over them. Rows are numbered from 0; a row is written before it is read. */
export interface ItemTable {
  readonly kind: 'wasm-simd' | 'javascript'
  /** Rows `scan` found, and their four scores each. Overwritten by the next `scan`. */
  readonly foundRows: Int32Array // [blockRows]
  readonly foundScores: Float32Array // [blockRows, 4]
  /** Bytes held for vectors. */
  readonly bytes: number
  write(row: number, vector: Float32Array): void
  /** @returns [D], owned by the caller */
  read(row: number): Float32Array
  move(from: number, to: number): void
  /** @param vectors [Q, D] @param count Q, at most `queryInterestsMax` */
  setQuery(vectors: Float32Array, count: number): void
  /**
   * Scores rows `from` … `to` − 1 (within one block) with interests 4·group … 4·group + 3.
   *
   * @param thresholds [4]
   * @returns how many rows scored above the threshold of at least one interest; they are in `foundRows` and
   *   `foundScores`
   */
  scan(from: number, to: number, group: number, thresholds: Float32Array): number
}

/** Rows in chunks, so that growing never copies. A multiple of `blockRows`. */
const chunkRows = 8 * blockRows

export class JavaScriptTable implements ItemTable {
  readonly kind = 'javascript'
  readonly foundRows = new Int32Array(blockRows)
  readonly foundScores = new Float32Array(blockRows * groupSize)
  readonly #dimensions: number
  readonly #chunks: Float32Array[] = []
  #query = new Float32Array(0) // [groups, D, 4]: the four interests side by side, as the loop reads them

  constructor(dimensions: number) {
    this.#dimensions = dimensions
  }

  get bytes(): number {
    return this.#chunks.length * chunkRows * this.#dimensions * 4
  }

  write(row: number, vector: Float32Array): void {
    const chunk = Math.floor(row / chunkRows)
    while (this.#chunks.length <= chunk) this.#chunks.push(new Float32Array(chunkRows * this.#dimensions))
    this.#chunks[chunk]!.set(vector, (row % chunkRows) * this.#dimensions)
  }

  read(row: number): Float32Array {
    const at = (row % chunkRows) * this.#dimensions
    return this.#chunks[Math.floor(row / chunkRows)]!.slice(at, at + this.#dimensions)
  }

  move(from: number, to: number): void {
    this.write(to, this.read(from))
  }

  setQuery(vectors: Float32Array, count: number): void {
    const D = this.#dimensions
    this.#query = new Float32Array(Math.ceil(count / groupSize) * groupSize * D)
    for (let k = 0; k < count; k++) {
      const base = Math.floor(k / groupSize) * groupSize * D + (k % groupSize)
      for (let d = 0; d < D; d++) this.#query[base + d * groupSize] = vectors[k * D + d]!
    }
  }

  scan(from: number, to: number, group: number, thresholds: Float32Array): number {
    if (from >= to) return 0
    const D = this.#dimensions
    const rows = this.#chunks[Math.floor(from / chunkRows)]!
    const query = this.#query.subarray(group * groupSize * D, (group + 1) * groupSize * D)
    const [t0, t1, t2, t3] = [thresholds[0]!, thresholds[1]!, thresholds[2]!, thresholds[3]!]
    const { foundRows, foundScores } = this
    let found = 0
    let at = (from % chunkRows) * D
    for (let row = from; row < to; row++) {
      let s0 = 0
      let s1 = 0
      let s2 = 0
      let s3 = 0
      for (let q = 0; q < query.length; q += groupSize) {
        const x = rows[at++]!
        s0 += x * query[q]!
        s1 += x * query[q + 1]!
        s2 += x * query[q + 2]!
        s3 += x * query[q + 3]!
      }
      if (s0 > t0 || s1 > t1 || s2 > t2 || s3 > t3) {
        foundRows[found] = row
        foundScores[found * 4] = s0
        foundScores[found * 4 + 1] = s1
        foundScores[found * 4 + 2] = s2
        foundScores[found * 4 + 3] = s3
        found++
      }
    }
    return found
  }
}
