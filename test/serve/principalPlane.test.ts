import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { principalPlane as planeOf } from '../../src/serve/principalPlane.ts'

const rows = (flat: Float32Array, dimensions: number) =>
  Array.from({ length: flat.length / dimensions }, (_, n) => flat.subarray(n * dimensions, (n + 1) * dimensions))

function principalPlane(points: Float32Array, dimensions: number, others = new Float32Array(0)) {
  const plane = planeOf(rows(points, dimensions), rows(others, dimensions))
  const [coordinates, otherCoordinates] = [plane.points, plane.others].map((places) => Float64Array.from(places.flat()))
  return { coordinates: coordinates!, others: otherCoordinates!, varianceShare: plane.varianceShare }
}

const close = (a: number, b: number, tolerance = 1e-5) => assert(Math.abs(a - b) <= tolerance, `${a} is not ${b}`)
const distance = (c: Float64Array, a: number, b: number) =>
  Math.hypot(c[2 * a]! - c[2 * b]!, c[2 * a + 1]! - c[2 * b + 1]!)

test('points on a line lie on the first axis, in their own distances', () => {
  // Along (3, 4, 0) / 5 at −2, 0, 2 from the middle: coordinates ±2, all of the variance.
  const { coordinates, varianceShare } = principalPlane(Float32Array.of(-1.2, -1.6, 7, 0, 0, 7, 1.2, 1.6, 7), 3)
  for (const [n, x] of [-2, 0, 2].entries()) {
    close(Math.abs(coordinates[2 * n]!), Math.abs(x))
    close(coordinates[2 * n + 1]!, 0)
  }
  assert(coordinates[0]! * coordinates[4]! < 0)
  close(varianceShare, 1)
})

test('of three orthogonal spreads the two widest are seen', () => {
  // ±3, ±2, ±1 along the axes: sums of squares 18, 8, 2; the plane shows 26 of 28.
  const points = Float32Array.of(3, 0, 0, -3, 0, 0, 0, 2, 0, 0, -2, 0, 0, 0, 1, 0, 0, -1)
  const { coordinates, varianceShare } = principalPlane(points, 3)
  close(varianceShare, 26 / 28)
  close(Math.abs(coordinates[0]!), 3)
  close(Math.abs(coordinates[5]!), 2)
  close(Math.hypot(coordinates[8]!, coordinates[9]!), 0)
})

test('few points of many dimensions, and many of few, by either matrix', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 12 }),
      fc.infiniteStream(fc.integer({ min: -50, max: 50 })),
      (count, dimensions, stream) => {
        const points = Float32Array.from({ length: count * dimensions }, () => stream.next().value! / 10)
        const { coordinates, varianceShare } = principalPlane(points, dimensions)
        assert(varianceShare >= 0 && varianceShare <= 1)
        let shown = 0
        let all = 0
        for (let d = 0; d < dimensions; d++) {
          let mean = 0
          for (let n = 0; n < count; n++) mean += points[n * dimensions + d]! / count
          for (let n = 0; n < count; n++) all += (points[n * dimensions + d]! - mean) ** 2
        }
        for (const value of coordinates) shown += value * value
        close(shown, all * varianceShare, 1e-4 * Math.max(1, all))
        // A projection brings nothing further apart, and where there is nothing but a plane it changes no distance.
        for (let a = 0; a < count; a++) {
          for (let b = 0; b < a; b++) {
            let squares = 0
            for (let d = 0; d < dimensions; d++)
              squares += (points[a * dimensions + d]! - points[b * dimensions + d]!) ** 2
            assert(distance(coordinates, a, b) <= Math.sqrt(squares) + 1e-3)
            if (dimensions <= 2 || count <= 3) close(distance(coordinates, a, b), Math.sqrt(squares), 1e-3)
          }
        }
      }
    ),
    { numRuns: 100 }
  )
})

test('the same points give the same picture, whatever their order', () => {
  const points = Float32Array.from({ length: 20 * 8 }, (_, i) => Math.sin(i * i))
  const order = Array.from({ length: 20 }, (_, i) => (i * 7) % 20)
  const shuffled = Float32Array.from(order.flatMap((n) => [...points.subarray(n * 8, n * 8 + 8)]))
  const a = principalPlane(points, 8).coordinates
  const b = principalPlane(shuffled, 8).coordinates
  assert.deepEqual(principalPlane(points, 8).coordinates, a)
  for (const [i, n] of order.entries()) for (const axis of [0, 1]) close(b[2 * i + axis]!, a[2 * n + axis]!)
})

test('no points, one point, and equal points all lie in the middle', () => {
  assert.deepEqual([...principalPlane(new Float32Array(0), 4).coordinates], [])
  for (const count of [1, 9]) {
    const { coordinates, varianceShare } = principalPlane(new Float32Array(count * 4).fill(0.5), 4)
    assert(coordinates.every((value) => value === 0))
    assert.equal(varianceShare, 1)
  }
})

test('others lie on the plane of the points, about their own mean; where the points leave an axis free, they choose it', () => {
  const points = Float32Array.of(-2, 0, 0, 2, 0, 0)
  // About their mean (6, 7, 8): ±1 along the first axis, ±3 along the third, ±1 along the second.
  const others = Float32Array.of(7, 7, 11, 5, 7, 5, 6, 8, 8, 6, 6, 8)
  const plane = principalPlane(points, 3, others)
  assert.equal(plane.varianceShare, 1)
  close(Math.abs(plane.coordinates[0]!), 2)
  close(plane.coordinates[1]!, 0)
  close(Math.abs(plane.others[0]!), 1)
  close(Math.abs(plane.others[1]!), 3)
  close(plane.others[4]!, 0)
  close(plane.others[5]!, 0)
})
