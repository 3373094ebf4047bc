export interface Line {
  /** Change of y for each unit of x. */
  readonly slope: number
  /** Of the slope: what the scatter of the points around the line leaves open. */
  readonly standardError: number
}

/** The straight line through points by least squares. @param points at least three, not all at one x */
export function leastSquares(points: readonly (readonly [x: number, y: number])[]): Line {
  const n = points.length
  if (n < 3) throw new RangeError(`a line and its error need three points, not ${n}`)
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / n
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / n
  let xx = 0
  let xy = 0
  for (const [x, y] of points) {
    xx += (x - meanX) ** 2
    xy += (x - meanX) * (y - meanY)
  }
  if (xx === 0) throw new RangeError('a line needs points at two different x')
  const slope = xy / xx
  const residuals = points.reduce((sum, [x, y]) => sum + (y - meanY - slope * (x - meanX)) ** 2, 0)
  return { slope, standardError: Math.sqrt(residuals / (n - 2) / xx) }
}
