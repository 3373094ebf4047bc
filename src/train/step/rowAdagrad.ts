// Row-wise Adagrad for embeddings: one number of state per row, and only the rows of a step are read or written.
//
//     a ← a + mean over d of g_d²        row ← row − η g / √(a + ε)
//
// Source: Gupta et al. 2014; as in DLRM and FBGEMM. It costs a third of Adam on rows. A rare item keeps a high rate, a
// frequent one settles.

import { readTogether } from '../batch/embeddingRows.ts'
import type { ItemTable } from '../batch/itemTable.ts'

/** ε: a gradient smaller than 1e-8 in the root mean square moves its row by less than η. */
const floor = 1e-16

/**
 * Updates rows in place and marks them dirty. Rows whose gradient is all zeros are left alone.
 *
 * @param rows [U], unique; row 0 (padding) is left out
 * @param gradients [U, D]
 * @param scale the gradients are multiplied by this first (clipping)
 * @param learningRate η: about how far each number of a new row moves in its first step
 * @returns how many rows were written
 */
export function updateRows(
  table: ItemTable,
  rows: Int32Array,
  gradients: Float32Array,
  scale: number,
  learningRate: number
): number {
  const d = table.dimensions
  let written = 0
  for (let u = 0; u < rows.length; u++) {
    if (u % readTogether === 0) table.readAhead(rows, u)
    const row = rows[u]!
    if (row === 0) continue
    const from = u * d
    let squares = 0
    for (let i = from; i < from + d; i++) squares += gradients[i]! * gradients[i]!
    if (squares === 0) continue
    table.willChange(row)
    const accumulator = table.accumulator(row) + (squares * scale * scale) / d
    table.setAccumulator(row, accumulator)
    const rate = (learningRate * scale) / Math.sqrt(accumulator + floor)
    const values = table.block(row)
    for (let i = from, to = table.start(row), end = from + d; i < end; i++, to++) values[to]! -= rate * gradients[i]!
    table.markDirty(row)
    written++
  }
  return written
}
