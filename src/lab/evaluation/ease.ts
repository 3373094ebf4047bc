// EASE^R: the linear item-to-item model in closed form (Steck, WWW 2019).
//
//     G = Xᵀ X + l₂ I,  P = G⁻¹,  B = −P / diag(P) with diag(B) = 0,  scores = x B      X: users × items, 0 or 1
//
// N items. Two N × N matrices of float64, some N³ operations: a second for 1,000 items, an hour for 11,000.

import { ConfigError } from '../../core/errors.ts'

/** Of both matrices: 2 GiB. */
const bytesMax = 2 ** 31

/**
 * B, row by row. @param baskets distinct items of each user, numbered from 0
 *
 * @throws ConfigError where the matrices do not fit into memory
 */
export function easeWeights(baskets: readonly (readonly number[])[], items: number, l2: number): Float64Array {
  const bytes = 2 * 8 * items * items
  if (bytes > bytesMax) {
    const most = Math.floor(Math.sqrt(bytesMax / 16))
    throw new ConfigError([
      `ease: ${items} items need ${(bytes / 2 ** 30).toFixed(1)} GiB for two matrices, and ${bytesMax / 2 ** 30} GiB are allowed (${most} items). ` +
        'Raise evaluate.interactionsMin, or leave the method out'
    ])
  }
  const gram = new Float64Array(items * items)
  for (const basket of baskets) for (const i of basket) for (const j of basket) gram[i * items + j]! += 1
  for (let i = 0; i < items; i++) gram[i * items + i]! += l2
  const weights = inverse(gram, items)
  for (let j = 0; j < items; j++) {
    const own = weights[j * items + j]!
    for (let i = 0; i < items; i++) weights[i * items + j] = i === j ? 0 : -weights[i * items + j]! / own
  }
  return weights
}

/** Of a symmetric positive definite matrix, which is overwritten. @param a [n, n] */
export function inverse(a: Float64Array, n: number): Float64Array {
  // A = L Lᵀ, L in the lower half of a.
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * n + j]!
      for (let k = 0, p = i * n, q = j * n; k < j; k++) sum -= a[p + k]! * a[q + k]!
      a[i * n + j] = i === j ? Math.sqrt(sum) : sum / a[j * n + j]!
    }
  }
  // M = L⁻¹, row by row over L: row i of it needs row i of L and the rows of M before.
  const row = new Float64Array(n)
  for (let i = 0; i < n; i++) {
    row.fill(0, 0, i + 1)
    row[i] = 1
    for (let k = 0; k < i; k++) {
      const factor = a[i * n + k]!
      if (factor !== 0) for (let j = 0, p = k * n; j <= k; j++) row[j]! -= factor * a[p + j]!
    }
    const own = a[i * n + i]!
    for (let j = 0; j <= i; j++) a[i * n + j] = row[j]! / own
  }
  // A⁻¹ = Mᵀ M
  const result = new Float64Array(n * n)
  for (let k = 0; k < n; k++)
    for (let i = 0; i <= k; i++) {
      const factor = a[k * n + i]!
      if (factor !== 0) for (let j = 0, p = k * n, q = i * n; j <= i; j++) result[q + j]! += factor * a[p + j]!
    }
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) result[j * n + i] = result[i * n + j]!
  return result
}
