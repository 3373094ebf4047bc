// Points of many dimensions on the plane along which they differ most, so that clusters can be seen.
//
// N points, M others, D dimensions.

export interface PrincipalPlane {
  /** [N, 2]. The same points give the same signs: the largest coordinate of each axis is positive. */
  readonly coordinates: Float64Array
  /** [M, 2]: the others, projected on the same plane. */
  readonly others: Float64Array
  /** Share of the variance of the points that the plane shows, 0 … 1; 1 where all points are equal. */
  readonly varianceShare: number
}

/** Iterations per axis. Axes of nearly equal variance converge slowly, and then either one is as good to look at. */
const iterationsMax = 100
/** Variance left below this share of the whole is rounding error. */
const negligible = 1e-12

/**
 * The first two principal components of the points, by power iteration with deflation. The others follow, about their
 * own mean, and choose an axis only where the points leave it free.
 *
 * @param points [N, D]
 * @param others [M, D]
 */
export function principalPlane(points: Float32Array, dimensions: number, others = new Float32Array(0)): PrincipalPlane {
  for (const { length } of [points, others])
    if (length % dimensions !== 0) throw new RangeError(`${length} numbers are not points of ${dimensions} dimensions`)
  const kinds = [points, others].map((values) => ({
    rest: centered(values, dimensions), // without the axes found so far
    coordinates: new Float64Array((2 * values.length) / dimensions)
  }))
  const variances = kinds.map(({ rest }) => squares(rest))
  for (const axis of [0, 1]) {
    const chooser = kinds.find(({ rest }, kind) => squares(rest) > variances[kind]! * negligible)
    if (chooser === undefined) break
    const direction = principalDirection(chooser.rest, dimensions)
    orient(direction, project(chooser.rest, direction))
    for (const { rest, coordinates } of kinds) {
      for (const [n, coordinate] of project(rest, direction).entries()) coordinates[n * 2 + axis] = coordinate
      subtractAxis(rest, direction)
    }
  }
  const [shown, shownOthers] = kinds.map(({ coordinates }) => coordinates) as [Float64Array, Float64Array]
  const [variance] = variances as [number, number]
  const varianceShare = variance > 0 ? Math.min(1, squares(shown) / variance) : 1
  return { coordinates: shown, others: shownOthers, varianceShare }
}

/** [D], of length 1: the eigenvector of XᵀX with the largest eigenvalue. */
function principalDirection(points: Float64Array, dimensions: number): Float64Array {
  // Fixed, so that the order of the points does not matter; irregular, so that it is orthogonal to no usual axis.
  let direction = Float64Array.from({ length: dimensions }, (_, d) => Math.sin(d * d + 1))
  for (let iteration = 0; iteration < iterationsMax; iteration++) {
    const next = new Float64Array(dimensions)
    addMultiples(next, points, project(points, direction))
    const length = Math.sqrt(squares(next))
    let change = 0
    for (let d = 0; d < dimensions; d++) {
      next[d]! /= length
      change += (next[d]! - direction[d]!) ** 2
    }
    direction = next
    if (change < 1e-18) break
  }
  return direction
}

/** ⟨point, direction⟩ for each point. [N] */
function project(points: Float64Array, direction: Float64Array): Float64Array {
  const projected = new Float64Array(points.length / direction.length)
  for (let n = 0, i = 0; n < projected.length; n++) {
    let sum = 0
    for (let d = 0; d < direction.length; d++, i++) sum += points[i]! * direction[d]!
    projected[n] = sum
  }
  return projected
}

/** sum += Σ weight(n) · point(n) */
function addMultiples(sum: Float64Array, points: Float64Array, weights: Float64Array): void {
  for (let n = 0, i = 0; n < weights.length; n++) {
    const weight = weights[n]!
    for (let d = 0; d < sum.length; d++, i++) sum[d]! += points[i]! * weight
  }
}

function subtractAxis(points: Float64Array, direction: Float64Array): void {
  const projected = project(points, direction)
  for (let n = 0, i = 0; n < projected.length; n++)
    for (let d = 0; d < direction.length; d++, i++) points[i]! -= projected[n]! * direction[d]!
}

function centered(points: Float32Array, dimensions: number): Float64Array {
  const mean = new Float64Array(dimensions)
  for (let i = 0; i < points.length; i++) mean[i % dimensions]! += points[i]!
  return Float64Array.from(points, (value, i) => value - mean[i % dimensions]! / (points.length / dimensions))
}

function squares(values: Float64Array): number {
  let sum = 0
  for (const value of values) sum += value * value
  return sum
}

/** An axis has no direction. The factor keeps two points equally far out from flipping the picture by rounding. */
function orient(direction: Float64Array, projected: Float64Array): void {
  let extreme = 0
  for (const value of projected) if (Math.abs(value) > Math.abs(extreme) * 1.1) extreme = value
  if (extreme < 0) for (let d = 0; d < direction.length; d++) direction[d]! *= -1
}
