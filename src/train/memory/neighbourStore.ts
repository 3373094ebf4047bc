// Lists of neighbours by row: a bounded number of them for each item, the heavy ones, in arrays that grow with the list.
//
// A slot takes 18 bytes, a list 8, 16, 32, 64 or 128 slots, and a row without a list 12: 150 bytes for an item with up
// to 8 neighbours, 2.3 KB for one with 128.

import { chunkRows } from '../../core/idDictionary.ts'

const rowShift = Math.log2(chunkRows)
const rowMask = chunkRows - 1

/** Lists of a pool's chunk: growth copies nothing. */
const poolShift = 10
const poolMask = (1 << poolShift) - 1

/** Bits of a list's number in its pool; the pool's number is above them. */
const indexBits = 27
const indexMask = (1 << indexBits) - 1

/** Slots of the shortest lists; each pool has twice as many as the one before. */
const firstSlots = 8
export const slotsMax = 128

interface NeighbourSlots {
  /** Row of the neighbour; −1: free, and so are the slots behind it. */
  readonly ids: Int32Array
  /** The low 16 bits of the row's generation: another item may have got the row since. */
  readonly generations: Uint16Array
  /** c[neighbour, item] and c[item, neighbour], in the unit of the memory. */
  readonly into: Float32Array
  readonly from: Float32Array
  /** S[neighbour, item] as last sent; 0: not sent. */
  readonly sent: Float32Array
}

/** A pool's chunk, and the first and the last slot + 1 of a list in it. */
export type NeighbourList = { -readonly [F in keyof NeighbourSlots]: NeighbourSlots[F] } & {
  start: number
  end: number
}

interface RowChunk {
  /** Pool and number of the row's list; −1: none. */
  readonly lists: Int32Array
  /** Interactions, in the unit of the memory. */
  readonly seen: Float64Array
}

class Pool {
  readonly slots: number
  readonly #chunks: NeighbourSlots[] = []
  readonly #free: number[] = []
  #used = 0

  constructor(slots: number) {
    this.slots = slots
  }

  take(): number {
    const index = this.#free.pop() ?? this.#used++
    if (index >>> poolShift === this.#chunks.length) {
      const numbers = this.slots << poolShift
      this.#chunks.push({
        ids: new Int32Array(numbers).fill(-1),
        generations: new Uint16Array(numbers),
        into: new Float32Array(numbers),
        from: new Float32Array(numbers),
        sent: new Float32Array(numbers)
      })
    }
    return index
  }

  release(index: number): void {
    const start = this.start(index)
    this.chunk(index).ids.fill(-1, start, start + this.slots)
    this.#free.push(index)
  }

  chunk(index: number): NeighbourSlots {
    return this.#chunks[index >>> poolShift]!
  }

  start(index: number): number {
    return (index & poolMask) * this.slots
  }

  /** Every number that counts something. */
  *counts(): Iterable<Float32Array> {
    for (const { into, from } of this.#chunks) yield* [into, from]
  }

  get bytes(): number {
    return this.#chunks.length * ((18 * this.slots) << poolShift)
  }
}

export class NeighbourStore {
  /** Neighbours of an item at most: a power of two from 8 on. */
  readonly slots: number
  #pools: readonly Pool[]
  readonly #rows: RowChunk[] = []
  readonly #list: NeighbourList = {
    ...{ ids: new Int32Array(0), generations: new Uint16Array(0) },
    ...{ into: new Float32Array(0), from: new Float32Array(0), sent: new Float32Array(0), start: 0, end: 0 }
  }

  constructor(slots = slotsMax) {
    this.slots = slots
    this.#pools = poolsOf(slots)
  }

  get bytes(): number {
    return this.#pools.reduce((sum, { bytes }) => sum + bytes, this.#rows.length * 12 * chunkRows)
  }

  /** Room for rows below `rows`. */
  reserve(rows: number): void {
    while (this.#rows.length << rowShift < rows)
      this.#rows.push({ lists: new Int32Array(chunkRows).fill(-1), seen: new Float64Array(chunkRows) })
  }

  /** Interactions of the row's item, in the unit of the memory. */
  seen(row: number): number {
    return this.#rows[row >>> rowShift]?.seen[row & rowMask] ?? 0
  }

  setSeen(row: number, seen: number): void {
    this.reserve(row + 1)
    this.#rows[row >>> rowShift]!.seen[row & rowMask] = seen
  }

  /** The row's list, in one object that the next call changes; undefined: it has none. */
  list(row: number): NeighbourList | undefined {
    const place = this.#rows[row >>> rowShift]?.lists[row & rowMask] ?? -1
    return place < 0 ? undefined : this.#view(place)
  }

  /** Slots of the row's list that are in use. */
  used(row: number): number {
    const list = this.list(row)
    if (list === undefined) return 0
    let at = list.start
    while (at < list.end && list.ids[at]! >= 0) at++
    return at - list.start
  }

  /** As `list`, with room for so many neighbours, at most `slots`: what it held moves with it. */
  grow(row: number, neighbours: number): NeighbourList {
    this.reserve(row + 1)
    const { lists } = this.#rows[row >>> rowShift]!
    const place = lists[row & rowMask]!
    const before = place < 0 ? -1 : place >>> indexBits
    let pool = Math.max(0, before)
    while (this.#pools[pool]!.slots < neighbours) pool++
    if (pool === before) return this.#view(place)
    const index = this.#pools[pool]!.take()
    const moved = (pool << indexBits) | index
    if (before >= 0) this.#move(place, moved)
    lists[row & rowMask] = moved
    return this.#view(moved)
  }

  /** The row has no list and no count any more. */
  clear(row: number): void {
    const chunk = this.#rows[row >>> rowShift]
    if (chunk === undefined) return
    const place = chunk.lists[row & rowMask]!
    if (place >= 0) this.#pools[place >>> indexBits]!.release(place & indexMask)
    chunk.lists[row & rowMask] = -1
    chunk.seen[row & rowMask] = 0
  }

  /** As it was when it was made. */
  clearAll(): void {
    this.#rows.length = 0
    this.#pools = poolsOf(this.slots)
  }

  /** Divides every count. */
  divide(by: number): void {
    for (const pool of this.#pools)
      for (const counts of pool.counts()) for (let i = 0; i < counts.length; i++) counts[i] = counts[i]! / by
    for (const { seen } of this.#rows) for (let i = 0; i < seen.length; i++) seen[i] = seen[i]! / by
  }

  #view(place: number): NeighbourList {
    const pool = this.#pools[place >>> indexBits]!
    const index = place & indexMask
    const chunk = pool.chunk(index)
    const list = this.#list
    list.ids = chunk.ids
    list.generations = chunk.generations
    list.into = chunk.into
    list.from = chunk.from
    list.sent = chunk.sent
    list.start = pool.start(index)
    list.end = list.start + pool.slots
    return list
  }

  #move(from: number, to: number): void {
    const [source, target] = [this.#pools[from >>> indexBits]!, this.#pools[to >>> indexBits]!]
    const [a, b] = [source.chunk(from & indexMask), target.chunk(to & indexMask)]
    const [start, into] = [source.start(from & indexMask), target.start(to & indexMask)]
    for (const name of ['ids', 'generations', 'into', 'from', 'sent'] as const)
      b[name].set(a[name].subarray(start, start + source.slots), into)
    source.release(from & indexMask)
  }
}

function poolsOf(slots: number): Pool[] {
  const pools: Pool[] = []
  for (let size = firstSlots; size <= slots; size *= 2) pools.push(new Pool(size))
  return pools
}
