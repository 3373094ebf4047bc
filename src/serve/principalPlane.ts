// Points of many dimensions on the plane along which they differ most, so that clusters can be seen.
//
// N points, M others, D dimensions.

export type Place = readonly [x: number, y: number]

interface PrincipalPlane {
  /** N places. The same points give the same signs: the largest coordinate of each axis is positive. */
  readonly points: readonly Place[]
  /** M places on the same plane. */
  readonly others: readonly Place[]
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
 * @param points N × [D]
 * @param others M × [D]
 */
export function principalPlane(points: readonly Float32Array[], others: readonly Float32Array[] = []): PrincipalPlane {
  const kinds = [points, others].map((vectors) => {
    const rest = centered(vectors) // without the axes found so far
    return { rest, variance: squares(rest), places: vectors.map((): [number, number] => [0, 0]) }
  })
  const [{ rest, variance, places }, { places: otherPlaces }] = kinds as [(typeof kinds)[0], (typeof kinds)[0]]
  for (const axis of [0, 1] as const) {
    const chooser = kinds.find((kind) => squares(kind.rest) > kind.variance * negligible)
    if (chooser === undefined) break
    const direction = principalDirection(chooser.rest)
    for (const kind of kinds) {
      for (const [n, point] of kind.rest.entries()) {
        const coordinate = dot(point, direction)
        kind.places[n]![axis] = coordinate
        addMultiple(point, -coordinate, direction)
      }
    }
  }
  const varianceShare = variance > 0 ? Math.min(1, Math.max(0, 1 - squares(rest) / variance)) : 1
  return { points: places, others: otherPlaces, varianceShare }
}

/** [D], of length 1: the eigenvector of XᵀX with the largest eigenvalue. */
function principalDirection(points: readonly Float64Array[]): Float64Array {
  // Fixed, so that the order of the points does not matter; irregular, so that it is orthogonal to no usual axis.
  let direction = Float64Array.from(points[0]!, (_, d) => Math.sin(d * d + 1))
  for (let iteration = 0; iteration < iterationsMax; iteration++) {
    const next = new Float64Array(direction.length)
    for (const point of points) addMultiple(next, dot(point, direction), point)
    addMultiple(next, 1 / Math.sqrt(dot(next, next)) - 1, next)
    const isSame = iteration > 0 && 1 - dot(next, direction) < 1e-15
    direction = next
    if (isSame) break
  }
  // An axis has no direction. The factor keeps two points equally far out from flipping the picture by rounding.
  let extreme = 0
  for (const point of points) {
    const coordinate = dot(point, direction)
    if (Math.abs(coordinate) > Math.abs(extreme) * 1.1) extreme = coordinate
  }
  return extreme < 0 ? direction.map((value) => -value) : direction
}

function centered(vectors: readonly Float32Array[]): Float64Array[] {
  const sum = new Float64Array(vectors[0]?.length ?? 0)
  for (const vector of vectors) addMultiple(sum, 1, vector)
  return vectors.map((vector) => Float64Array.from(vector, (value, d) => value - sum[d]! / vectors.length))
}

function squares(points: readonly Float64Array[]): number {
  return points.reduce((sum, point) => sum + dot(point, point), 0)
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let d = 0; d < a.length; d++) sum += a[d]! * b[d]!
  return sum
}

/** to += factor · vector */
function addMultiple(to: Float64Array, factor: number, vector: Float64Array | Float32Array): void {
  for (let d = 0; d < to.length; d++) to[d]! += factor * vector[d]!
}
