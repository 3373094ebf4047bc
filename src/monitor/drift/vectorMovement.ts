// How vectors moved between two versions of a model, or differ between two places.
//
// N vectors of D dimensions. Distances are Euclidean: for unit vectors √(2 − 2 cos), 0 … 2.
//
// Distances between two versions of the same vector as the measure of embedding drift: Hamilton, Leskovec & Jurafsky,
// Diachronic Word Embeddings (ACL 2016). Vectors of the serving path against those computed again, as the test for
// training-serving skew: Breck et al., The ML Test Score (IEEE Big Data 2017), Monitor 3; Zinkevich, Rules of Machine
// Learning, rule 37.

interface VectorMovement {
  /** Mean distance between the two versions of a vector. */
  readonly meanDistance: number
  /** The farthest one moved. */
  readonly maxDistance: number
  /**
   * Between the means of all vectors: all may move while their middle stays, and the other way round. NaN where a
   * middle is 0.
   */
  readonly centroidCosine: number
}

/**
 * @param before [N, D]
 * @param after [N, D], in the same order
 * @returns undefined without vectors
 */
export function vectorMovement(
  before: Float32Array,
  after: Float32Array,
  dimensions: number
): VectorMovement | undefined {
  if (before.length !== after.length || before.length % dimensions !== 0) {
    throw new RangeError(
      `${before.length} numbers against ${after.length}, of ${dimensions} dimensions: give the same vectors twice`
    )
  }
  const N = before.length / dimensions
  if (N === 0) return undefined
  const middleBefore = new Float64Array(dimensions)
  const middleAfter = new Float64Array(dimensions)
  let sum = 0
  let maxDistance = 0
  for (let i = 0; i < N; i++) {
    let squared = 0
    for (let d = 0; d < dimensions; d++) {
      const from = before[i * dimensions + d]!
      const to = after[i * dimensions + d]!
      squared += (to - from) ** 2
      middleBefore[d]! += from
      middleAfter[d]! += to
    }
    const distance = Math.sqrt(squared)
    sum += distance
    if (distance > maxDistance) maxDistance = distance
  }
  return { meanDistance: sum / N, maxDistance, centroidCosine: cosine(middleBefore, middleAfter) }
}

/** @param rows [N, D] @returns their lengths, ascending [N] */
export function sortedNorms(rows: Float32Array, dimensions: number): Float64Array {
  const norms = new Float64Array(Math.floor(rows.length / dimensions))
  for (let i = 0; i < norms.length; i++) {
    let squared = 0
    for (let d = 0; d < dimensions; d++) squared += rows[i * dimensions + d]! ** 2
    norms[i] = Math.sqrt(squared)
  }
  return norms.sort()
}

/** The value that a share `p` of the others is at most (nearest rank). @param ascending NaN where it is empty */
export function quantileOf(ascending: ArrayLike<number>, p: number): number {
  if (ascending.length === 0) return Number.NaN
  return ascending[Math.min(ascending.length - 1, Math.max(0, Math.ceil(p * ascending.length) - 1))]!
}

function cosine(a: Float64Array, b: Float64Array): number {
  let product = 0
  let aa = 0
  let bb = 0
  for (let d = 0; d < a.length; d++) {
    product += a[d]! * b[d]!
    aa += a[d]! ** 2
    bb += b[d]! ** 2
  }
  return aa > 0 && bb > 0 ? Math.max(-1, Math.min(1, product / Math.sqrt(aa * bb))) : Number.NaN
}
