// Which rows changed since they were last copied, and a copy of many of them that is made while they go on changing.
//
// A copy says which rows it wants and takes them one by one: each when its turn comes, or just before it changes,
// whichever is first. So it shows all of them as they were when it began, at the price of one extra copy for each row
// that changes meanwhile.

import type { NamedArrays } from '../../core/namedArrays.ts'

/** All rows, or those that changed since the last copy began. */
export type Extent = 'whole' | 'changed'

/** Where a copy puts rows. */
export interface RowBlock {
  /** Copies the row as it is now. */
  add(row: number): void
  readonly isFull: boolean
  /** What was added; nothing is added afterwards. */
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
  /** Full ones that nobody has fetched. */
  readonly full: RowBlock[]
  isEmpty: boolean
}

export class ChangedRows {
  readonly #marks: Uint8Array[] = []
  #copy: Copy | undefined

  /** Call it before a row changes, or comes to be. */
  willChange(row: number): void {
    let marks = this.#marks[row >>> chunkShift]
    if (marks === undefined) marks = this.#grow(row)
    const at = row & chunkMask
    if (marks[at]! >= wanted) this.#take(row)
    marks[at] = changed
  }

  /** What is remembered of a row: of no meaning to others, but read ahead it is near when the row changes. */
  markOf(row: number): number {
    return this.#marks[row >>> chunkShift]?.[row & chunkMask] ?? 0
  }

  /** As if every row had changed. */
  allWillChange(rows: number): void {
    for (let row = 0; row < rows; row++) this.willChange(row)
  }

  /** Blocks of a copy that wait to be fetched: what it costs in memory. */
  get waitingBlocks(): number {
    return this.#copy?.full.length ?? 0
  }

  /**
   * Begins a copy of the rows `0 … rows − 1` as they are now. Its blocks come by and by, each row in one of them, in
   * any order; until all have been fetched no other copy may begin. To give it up, call `forget` or the iterator's
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

  /** Nothing has changed, and no copy is being made: after all rows were replaced by those of a checkpoint. */
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
    // A copy that was given up has left its marks.
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
