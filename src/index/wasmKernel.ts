// The scan of dotKernel.ts in WebAssembly SIMD, assembled here instruction by instruction: no build step, no binary in
// the repository.
//
// Two rows at a time against four interests: 8 sums in registers; for each 4 dimensions 6 loads, 8 multiplications, 8
// additions. The vectors live in the module's own linear memory (at most 4 GiB: 16 million items at D 64), so nothing
// is copied for a search, and growing the memory moves nothing.

import { blockRows, groupSize, type ItemTable, queryInterestsMax } from './dotKernel.ts'

// The part of the engine's JavaScript interface that is used here; the compiler's own types for it come only with the
// whole of a browser's.
interface WasmMemory {
  readonly buffer: ArrayBuffer
  grow(pages: number): number
}
interface WasmEngine {
  validate(bytes: Uint8Array): boolean
  Module: new (bytes: Uint8Array) => object
  Instance: new (
    module: object,
    imports: Record<string, Record<string, unknown>>
  ) => { readonly exports: { readonly scan: unknown } }
  Memory: new (pages: { initial: number; maximum: number }) => WasmMemory
}
const engine = (globalThis as unknown as { WebAssembly: WasmEngine }).WebAssembly

// Opcodes as in the WebAssembly core specification, § 5.4; SIMD ones follow the prefix 0xfd.
const op = {
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  i32Store: 0x36,
  i32Const: 0x41,
  i32Eqz: 0x45,
  i32Ne: 0x47,
  i32LtU: 0x49,
  i32Add: 0x6a,
  i32Shl: 0x74
} as const
const simd = {
  load: 0x00,
  store: 0x0b,
  shuffle: 0x0d,
  gt: 0x44,
  anyTrue: 0x53,
  add: 0xe4,
  mul: 0xe6,
  zero: 0x0c
} as const
const noResult = 0x40
const i32 = 0x7f
const v128 = 0x7b

/** Unsigned LEB128: how WebAssembly writes every number. */
function leb(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  do {
    const low = rest % 128
    rest = Math.floor(rest / 128)
    bytes.push(rest > 0 ? low | 0x80 : low)
  } while (rest > 0)
  return bytes
}

/** Signed LEB128 of a small number ≥ 0: one more byte where the sign bit would be set. */
function signedLeb(value: number): number[] {
  const bytes = leb(value)
  const last = bytes.at(-1)!
  return last & 0x40 ? [...bytes.slice(0, -1), last | 0x80, 0] : bytes
}

const vector = (code: number, ...immediates: number[]) => [0xfd, ...leb(code), ...immediates]
const get = (local: number) => [op.localGet, ...leb(local)]
const set = (local: number) => [op.localSet, ...leb(local)]
const constant = (value: number) => [op.i32Const, ...signedLeb(value)]
/** Alignment hint 0: the addresses are aligned anyway, and the hint changes nothing. */
const load = (offset: number) => vector(simd.load, 0, ...leb(offset))
const advance = (local: number, by: number) => [...get(local), ...constant(by), op.i32Add, ...set(local)]
/** 32-bit lanes of two registers: 0 … 3 are the first's, 4 … 7 the second's. */
const lanes = (...picked: number[]) =>
  vector(simd.shuffle, ...picked.flatMap((lane) => [0, 1, 2, 3].map((byte) => lane * 4 + byte)))
const section = (id: number, body: number[]) => [id, ...leb(body.length), ...body]
const list = (entries: number[][]) => [...leb(entries.length), ...entries.flat()]
const name = (text: string) => [...leb(text.length), ...new TextEncoder().encode(text)]

// Parameters and locals of the one function, by number.
const [items, rowBytes, count, query, thresholds, foundRows, foundScores, firstRow] = [0, 1, 2, 3, 4, 5, 6, 7]
const [index, found, p, p2, q, stop] = [8, 9, 10, 11, 12, 13]
const [sumA, sumB, x, y, t, limits, scores] = [14, 18, 22, 23, 24, 25, 26] // sumA and sumB: four registers each

/** 4 dimensions of two rows against four interests. */
const quad = (step: number) => [
  ...[...get(p), ...load(step * 16), ...set(x), ...get(p2), ...load(step * 16), ...set(y)],
  ...[0, 1, 2, 3].flatMap((k) => [
    ...[...get(q), ...load(step * 64 + k * 16), ...set(t)],
    ...[...get(x), ...get(t), ...vector(simd.mul), ...get(sumA + k), ...vector(simd.add), ...set(sumA + k)],
    ...[...get(y), ...get(t), ...vector(simd.mul), ...get(sumB + k), ...vector(simd.add), ...set(sumB + k)]
  ])
]

/**
 * Four registers of four partial sums each → one register of four scores (a 4 × 4 transposition, added up on the way).
 */
const reduce = (sum: number) => [
  ...[
    ...get(sum),
    ...get(sum + 1),
    ...lanes(0, 4, 1, 5),
    ...get(sum),
    ...get(sum + 1),
    ...lanes(2, 6, 3, 7),
    ...vector(simd.add),
    ...set(x)
  ],
  ...[
    ...get(sum + 2),
    ...get(sum + 3),
    ...lanes(0, 4, 1, 5),
    ...get(sum + 2),
    ...get(sum + 3),
    ...lanes(2, 6, 3, 7),
    ...vector(simd.add)
  ],
  ...set(y),
  ...[
    ...get(x),
    ...get(y),
    ...lanes(0, 1, 4, 5),
    ...get(x),
    ...get(y),
    ...lanes(2, 3, 6, 7),
    ...vector(simd.add),
    ...set(scores)
  ]
]

/** Notes row `index + ahead` if it beats a threshold. */
const note = (ahead: number) => [
  ...[...get(scores), ...get(limits), ...vector(simd.gt), ...vector(simd.anyTrue), op.if, noResult],
  ...[...get(foundRows), ...get(found), ...constant(2), op.i32Shl, op.i32Add],
  ...[...get(firstRow), ...get(index), op.i32Add, ...constant(ahead), op.i32Add, op.i32Store, 2, 0],
  ...[
    ...get(foundScores),
    ...get(found),
    ...constant(4),
    op.i32Shl,
    op.i32Add,
    ...get(scores),
    ...vector(simd.store, 0, 0)
  ],
  ...advance(found, 1),
  op.end
]

/**
 * scan(items, rowBytes, count, query, thresholds, foundRows, foundScores, firstRow) → found. All arguments but the
 * counts are addresses; `count` > 0; the row after the last may be read, but never counts.
 */
function assemble(): Uint8Array<ArrayBuffer> {
  const zero = vector(simd.zero, ...new Array<number>(16).fill(0))
  const code = [
    ...[...get(thresholds), ...load(0), ...set(limits)],
    ...[op.loop, noResult],
    ...[
      ...get(items),
      ...set(p),
      ...get(items),
      ...get(rowBytes),
      op.i32Add,
      op.localTee,
      p2,
      ...set(stop),
      ...get(query),
      ...set(q)
    ],
    ...[0, 1, 2, 3, 4, 5, 6, 7].flatMap((k) => [...zero, ...set(sumA + k)]),
    ...[op.loop, noResult, ...quad(0), ...quad(1), ...advance(q, 128), ...advance(p2, 32)],
    ...[...get(p), ...constant(32), op.i32Add, op.localTee, p, ...get(stop), op.i32Ne, op.brIf, 0, op.end],
    ...[...reduce(sumA), ...note(0)],
    ...[
      ...get(index),
      ...constant(1),
      op.i32Add,
      ...get(count),
      op.i32LtU,
      op.if,
      noResult,
      ...reduce(sumB),
      ...note(1),
      op.end
    ],
    ...[...get(items), ...get(rowBytes), op.i32Add, ...get(rowBytes), op.i32Add, ...set(items)],
    ...[...advance(index, 2), ...get(index), ...get(count), op.i32LtU, op.brIf, 0, op.end],
    ...get(found),
    op.end
  ]
  const locals = list([
    [...leb(6), i32],
    [...leb(13), v128]
  ])
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, list([[0x60, ...list(new Array<number[]>(8).fill([i32])), ...list([[i32]])]])),
    ...section(2, list([[...name('m'), ...name('memory'), 0x02, 0x01, ...leb(1), ...leb(pagesMax)]])),
    ...section(3, list([[0]])),
    ...section(7, list([[...name('scan'), 0x00, 0]])),
    ...section(10, list([[...leb(locals.length + code.length), ...locals, ...code]]))
  ])
}

const pageBytes = 65_536
const pagesMax = 65_536
// The memory begins with what a scan reads and writes; the vectors follow.
const thresholdsAt = 0
const foundRowsAt = 1024
const foundScoresAt = foundRowsAt + blockRows * 4
const queryAt = foundScoresAt + blockRows * groupSize * 4

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

let compiled: object | null | undefined

/** @returns undefined where the engine has no SIMD, or there is no address space for the memory */
export function wasmTable(dimensions: number): ItemTable | undefined {
  if (compiled === undefined) {
    const bytes = assemble()
    compiled = engine.validate(bytes) ? new engine.Module(bytes) : null
  }
  if (compiled === null) return undefined
  try {
    return new WasmTable(compiled, dimensions)
  } catch (error) {
    if (error instanceof RangeError) return undefined // the reservation of address space was refused
    throw error
  }
}

class WasmTable implements ItemTable {
  readonly kind = 'wasm-simd'
  foundRows!: Int32Array
  foundScores!: Float32Array
  readonly #memory: WasmMemory
  readonly #scan: Scan
  readonly #dimensions: number
  /** Floats a row takes: D rounded up to 8, the rest zero. */
  readonly #stride: number
  /** Where the vectors begin, in floats. */
  readonly #start: number
  #floats!: Float32Array

  constructor(module: object, dimensions: number) {
    this.#dimensions = dimensions
    this.#stride = Math.ceil(dimensions / 8) * 8
    const startPages = Math.ceil((queryAt + queryInterestsMax * this.#stride * 4) / pageBytes)
    this.#start = (startPages * pageBytes) / 4
    this.#memory = new engine.Memory({ initial: startPages + 1, maximum: pagesMax })
    this.#scan = new engine.Instance(module, { m: { memory: this.#memory } }).exports.scan as Scan
    this.#view()
  }

  get bytes(): number {
    return this.#memory.buffer.byteLength
  }

  write(row: number, vector: Float32Array): void {
    const at = this.#start + row * this.#stride
    this.#reserve(at + 2 * this.#stride)
    this.#floats.set(vector, at)
  }

  read(row: number): Float32Array {
    const at = this.#start + row * this.#stride
    return this.#floats.slice(at, at + this.#dimensions)
  }

  move(from: number, to: number): void {
    const at = this.#start + from * this.#stride
    this.#floats.copyWithin(this.#start + to * this.#stride, at, at + this.#stride)
  }

  setQuery(vectors: Float32Array, count: number): void {
    const D = this.#dimensions
    const groupFloats = groupSize * this.#stride
    this.#floats.fill(0, queryAt / 4, queryAt / 4 + Math.ceil(count / groupSize) * groupFloats)
    for (let k = 0; k < count; k++) {
      const base = queryAt / 4 + Math.floor(k / groupSize) * groupFloats + (k % groupSize) * 4
      for (let d = 0; d < D; d++) this.#floats[base + (d >> 2) * 16 + (d & 3)] = vectors[k * D + d]!
    }
  }

  scan(from: number, to: number, group: number, thresholds: Float32Array): number {
    if (from >= to) return 0
    this.#floats.set(thresholds, thresholdsAt / 4)
    const rowBytes = this.#stride * 4
    const query = queryAt + group * groupSize * rowBytes
    return this.#scan(
      this.#start * 4 + from * rowBytes,
      rowBytes,
      to - from,
      query,
      thresholdsAt,
      foundRowsAt,
      foundScoresAt,
      from
    )
  }

  /** Room for `floats` of memory in all: one row more than the last, which a scan of an odd number of rows reads. */
  #reserve(floats: number): void {
    if (floats <= this.#floats.length) return
    const needed = Math.ceil((floats * 4) / pageBytes)
    const pages = this.#memory.buffer.byteLength / pageBytes
    if (needed > pagesMax) {
      throw new RangeError(
        `an item vector would be number ${Math.floor((floats - this.#start) / this.#stride)}: one index version holds 4 GiB of vectors; use Qdrant`
      )
    }
    // An eighth more at once, so that few views are made anew; pages that nobody touched cost no memory.
    this.#memory.grow(Math.min(pagesMax, Math.max(needed, pages + Math.ceil(pages / 8))) - pages)
    this.#view()
  }

  #view(): void {
    const buffer = this.#memory.buffer
    this.#floats = new Float32Array(buffer)
    this.foundRows = new Int32Array(buffer, foundRowsAt, blockRows)
    this.foundScores = new Float32Array(buffer, foundScoresAt, blockRows * groupSize)
  }
}
