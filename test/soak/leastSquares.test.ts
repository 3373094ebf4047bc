import assert from 'node:assert/strict'
import test from 'node:test'
import { leastSquares } from './leastSquares.ts'

test('a straight line, and what scatter leaves open', () => {
  const exact = leastSquares([
    [0, 1],
    [1, 3],
    [2, 5]
  ])
  assert.deepEqual(exact, { slope: 2, standardError: 0 })
  // Means 1.5 and 1; Σ(x−x̄)² = 5, Σ(x−x̄)(y−ȳ) = (−1.5)(−1) + (−.5)(1) + (.5)(−1) + (1.5)(1) = 2: slope .4.
  // Residuals −.4, 1.2, −1.2, .4: squares add up to 3.2; error √(3.2 / 2 / 5) = √.32.
  const scattered = leastSquares([
    [0, 0],
    [1, 2],
    [2, 0],
    [3, 2]
  ])
  assert.ok(Math.abs(scattered.slope - 0.4) < 1e-12)
  assert.ok(Math.abs(scattered.standardError - Math.sqrt(0.32)) < 1e-12)
  assert.throws(() => leastSquares([[0, 0]]), RangeError)
  assert.throws(() => leastSquares([[1, 0], [1, 1], [1, 2]]), RangeError) // biome-ignore format: three points
})
