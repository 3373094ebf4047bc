// Which rows changed since they were last copied, and consistent copies of rows while they keep changing.
//
// A copy marks the rows it needs and copies each when its turn comes, or just before it changes, whichever is first. So
// it has all of them as they were when it began, at the cost of one extra copy of each row that changes meanwhile.

import type { NamedArrays } from '../../core/namedArrays.ts'

/** All rows, or those that changed since the last copy began. */
export type Extent = 'whole' | 'changed'

/** Collects rows of a copy. */
export interface RowBlock {
  /** Copies the row as it is now. */
  add(row: number): void
  readonly isFull: boolean
  /** The collected rows; nothing is added afterwards. */
  finish(): NamedArrays
}

const chunkShift = 16
const chunkRows = 1 << chunkShift
const chunkMask = chunkRows - 1

/** Bits of a row's mark. */
const changed = 1
const wanted = 2

/** Four marks at once. */
const fourWanted = 0x02020202

interface Copy {
  readonly makeBlock: () => RowBlock
  block: RowBlock
  /** Full blocks that were not fetched yet. */
  readonly full: RowBlock[]
  isEmpty: boolean
}

export class ChangedRows {
  readonly #marks: Uint8Array[] = []
  #copy: Copy | undefined

  /** To be called before a row changes or is created. */
  willChange(row: number): void {
    let marks = this.#marks[row >>> chunkShift]
    if (marks === undefined) marks = this.#grow(row)
    const at = row & chunkMask
    if (marks[at]! >= wanted) this.#take(row)
    marks[at] = changed
  }

  /** The row's mark: for prefetching. */
  markOf(row: number): number {
    return this.#marks[row >>> chunkShift]?.[row & chunkMask] ?? 0
  }

  /** As if every row had changed. */
  allWillChange(rows: number): void {
    for (let row = 0; row < rows; row++) this.willChange(row)
  }

  /** Blocks of a copy that wait to be fetched. */
  get waitingBlocks(): number {
    return this.#copy?.full.length ?? 0
  }

  /**
   * Begins a copy of the rows `0 … rows − 1` as they are now. Its blocks are yielded one by one, each row in one of
   * them, in any order; until all were fetched no other copy may begin. To abandon it, call `forget` or the iterator's
   * `return`.
   */
  copy(extent: Extent, rows: number, makeBlock: () => RowBlock): IterableIterator<NamedArrays> {
    if (this.#copy !== undefined) throw new Error('ChangedRows.copy: the one before has not come to its end')
    if (rows > 0) this.#grow(rows - 1)
    for (const [index, marks] of this.#marks.entries()) {
      if (extent === 'changed') {
        const fours = new Uint32Array(marks.buffer)
        for (let i = 0; i < fours.length; i++) {
          const four = fours[i]!
          if (four !== 0) fours[i] = (four << 1) & fourWanted
        }
      } else marks.fill(wanted)
      const first = index << chunkShift
      if (first + chunkRows > rows) marks.fill(0, Math.max(0, rows - first))
    }
    this.#copy = { makeBlock, block: makeBlock(), full: [], isEmpty: true }
    return this.#blocks(this.#copy)
  }

  /** Nothing has changed, and no copy is in progress: after all rows were replaced by those of a checkpoint. */
  forget(): void {
    this.#copy = undefined
    for (const marks of this.#marks) marks.fill(0)
  }

  *#blocks(copy: Copy): IterableIterator<NamedArrays> {
    try {
      for (let index = 0; index < this.#marks.length && copy === this.#copy; index++) {
        const marks = this.#marks[index]!
        const fours = new Uint32Array(marks.buffer)
        for (let i = 0; i < fours.length && copy === this.#copy; i++) {
          if ((fours[i]! & fourWanted) === 0) continue
          for (let at = 4 * i; at < 4 * i + 4; at++) {
            if (marks[at]! < wanted) continue
            this.#take((index << chunkShift) | at)
            marks[at] = marks[at]! & changed
          }
          yield* finished(copy)
        }
      }
      if (copy === this.#copy && !copy.isEmpty) {
        yield* finished(copy)
        yield copy.block.finish()
      }
    } finally {
      if (copy === this.#copy) this.#copy = undefined
    }
  }

  #take(row: number): void {
    const copy = this.#copy
    // An abandoned copy has left its marks.
    if (copy === undefined) return
    copy.block.add(row)
    copy.isEmpty = false
    if (!copy.block.isFull) return
    copy.full.push(copy.block)
    copy.block = copy.makeBlock()
    copy.isEmpty = true
  }

  #grow(row: number): Uint8Array {
    while (this.#marks.length <= row >>> chunkShift) this.#marks.push(new Uint8Array(chunkRows))
    return this.#marks[row >>> chunkShift]!
  }
}

function* finished({ full }: Copy): IterableIterator<NamedArrays> {
  for (let block = full.shift(); block !== undefined; block = full.shift()) yield block.finish()
}
