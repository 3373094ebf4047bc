// Eigenvalues and eigenvectors of a symmetric matrix: Householder's reduction to three diagonals, then QL with implicit
// shifts (EISPACK tred2 and tql2).
//
// N rows and columns. About 6 N³ multiplications: 64 rows take 2 ms, 160 rows 25 ms.

/** Turns of one eigenvalue: two or three are the rule, and thirty have never been met by those who wrote the method. */
const turnsMax = 60

/**
 * @param matrix [N, N] symmetric; becomes the eigenvectors, of length 1, eigenvector k in column k
 * @returns the eigenvalues, in no order
 */
export function symmetricEigen(matrix: Float64Array, size: number): Float64Array {
  const diagonal = new Float64Array(size)
  const beside = new Float64Array(size)
  if (size === 0) return diagonal
  // What is far below the rounding of the greatest entry changes nothing but, squared, would be lost and leave vectors
  // without a length.
  let greatest = 0
  for (const entry of matrix) greatest = Math.max(greatest, Math.abs(entry))
  const least = Math.max(1e-140, greatest * 1e-30)
  for (let at = 0; at < matrix.length; at++) if (Math.abs(matrix[at]!) < least) matrix[at] = 0
  reduce(matrix, diagonal, beside, size)
  shiftedQl(matrix, diagonal, beside, size)
  return diagonal
}

/** v becomes the orthogonal transformation, d the diagonal, e what is beside it (from 1 on). */
function reduce(v: Float64Array, d: Float64Array, e: Float64Array, n: number): void {
  for (let j = 0; j < n; j++) d[j] = v[(n - 1) * n + j]!
  for (let i = n - 1; i > 0; i--) {
    let scale = 0
    let h = 0
    for (let k = 0; k < i; k++) scale += Math.abs(d[k]!)
    if (scale === 0) {
      e[i] = d[i - 1]!
      for (let j = 0; j < i; j++) {
        d[j] = v[(i - 1) * n + j]!
        v[i * n + j] = 0
        v[j * n + i] = 0
      }
    } else {
      for (let k = 0; k < i; k++) {
        d[k] = d[k]! / scale
        h += d[k]! * d[k]!
      }
      const f = d[i - 1]!
      const g = f > 0 ? -Math.sqrt(h) : Math.sqrt(h)
      e[i] = scale * g
      h -= f * g
      d[i - 1] = f - g
      e.fill(0, 0, i)
      for (let j = 0; j < i; j++) {
        const dj = d[j]!
        v[j * n + i] = dj
        let sum = e[j]! + v[j * n + j]! * dj
        for (let k = j + 1; k < i; k++) {
          sum += v[k * n + j]! * d[k]!
          e[k]! += v[k * n + j]! * dj
        }
        e[j] = sum
      }
      let product = 0
      for (let j = 0; j < i; j++) {
        e[j]! /= h
        product += e[j]! * d[j]!
      }
      const half = product / (h + h)
      for (let j = 0; j < i; j++) e[j]! -= half * d[j]!
      for (let j = 0; j < i; j++) {
        const dj = d[j]!
        const ej = e[j]!
        for (let k = j; k < i; k++) v[k * n + j]! -= dj * e[k]! + ej * d[k]!
        d[j] = v[(i - 1) * n + j]!
        v[i * n + j] = 0
      }
    }
    d[i] = h
  }
  // The transformations, one after the other.
  for (let i = 0; i < n - 1; i++) {
    v[(n - 1) * n + i] = v[i * n + i]!
    v[i * n + i] = 1
    const h = d[i + 1]!
    if (h !== 0) {
      for (let k = 0; k <= i; k++) d[k] = v[k * n + i + 1]! / h
      for (let j = 0; j <= i; j++) {
        let g = 0
        for (let k = 0; k <= i; k++) g += v[k * n + i + 1]! * v[k * n + j]!
        for (let k = 0; k <= i; k++) v[k * n + j]! -= g * d[k]!
      }
    }
    for (let k = 0; k <= i; k++) v[k * n + i + 1] = 0
  }
  for (let j = 0; j < n; j++) {
    d[j] = v[(n - 1) * n + j]!
    v[(n - 1) * n + j] = 0
  }
  v[n * n - 1] = 1
  e[0] = 0
}

function shiftedQl(v: Float64Array, d: Float64Array, e: Float64Array, n: number): void {
  e.copyWithin(0, 1)
  e[n - 1] = 0
  let shift = 0
  let size = 0
  for (let l = 0; l < n; l++) {
    size = Math.max(size, Math.abs(d[l]!) + Math.abs(e[l]!))
    let m = l
    while (m < n - 1 && Math.abs(e[m]!) > Number.EPSILON * size) m++
    if (m > l) {
      for (let turn = 0; turn < turnsMax; turn++) {
        const g = d[l]!
        let p = (d[l + 1]! - g) / (2 * e[l]!)
        const r = p < 0 ? -Math.hypot(p, 1) : Math.hypot(p, 1)
        d[l] = e[l]! / (p + r)
        d[l + 1] = e[l]! * (p + r)
        const next = d[l + 1]!
        const h = g - d[l]!
        for (let i = l + 2; i < n; i++) d[i]! -= h
        shift += h
        p = d[m]!
        let [c, c2, c3, s, s2] = [1, 1, 1, 0, 0]
        const beside = e[l + 1]!
        for (let i = m - 1; i >= l; i--) {
          c3 = c2
          c2 = c
          s2 = s
          const ce = c * e[i]!
          const cp = c * p
          const root = Math.hypot(p, e[i]!)
          e[i + 1] = s * root
          s = e[i]! / root
          c = p / root
          p = c * d[i]! - s * ce
          d[i + 1] = cp + s * (c * ce + s * d[i]!)
          for (let k = 0; k < n; k++) {
            const at = k * n + i
            const right = v[at + 1]!
            v[at + 1] = s * v[at]! + c * right
            v[at] = c * v[at]! - s * right
          }
        }
        p = (-s * s2 * c3 * beside * e[l]!) / next
        e[l] = s * p
        d[l] = c * p
        if (Math.abs(e[l]!) <= Number.EPSILON * size) break
      }
    }
    d[l]! += shift
    e[l] = 0
  }
}
