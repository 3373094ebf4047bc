import assert from 'node:assert/strict'
import test from 'node:test'
import { entropyRatio } from '../../../src/monitor/drift/evenness.ts'
import { quantileOf, sortedNorms, vectorMovement } from '../../../src/monitor/drift/vectorMovement.ts'

const near = (actual: number, expected: number) =>
  assert(Math.abs(actual - expected) < 1e-6, `${actual} is not ${expected}`)

test('entropy as a share of the greatest', () => {
  near(entropyRatio([1, 1, 1, 1]), 1)
  near(entropyRatio([5, 0, 0]), 0)
  near(entropyRatio([0.5, 0.5, 0, 0]), 0.5) // ln 2 / ln 4
  assert(Number.isNaN(entropyRatio([0, 0])))
})

test('movement: one vector turned by a right angle, one that stayed', () => {
  const before = Float32Array.of(1, 0, 1, 0)
  const after = Float32Array.of(0, 1, 1, 0)
  const moved = vectorMovement(before, after, 2)!
  near(moved.meanDistance, Math.SQRT2 / 2) // √2 and 0
  near(moved.maxDistance, Math.SQRT2)
  near(moved.centroidCosine, Math.SQRT1_2) // (2, 0) and (1, 1)
  assert.equal(vectorMovement(new Float32Array(0), new Float32Array(0), 2), undefined)
  assert.throws(() => vectorMovement(before, Float32Array.of(1), 2), /give the same vectors twice/)
})

test('norms and their quantiles', () => {
  const norms = sortedNorms(Float32Array.of(3, 4, 0, 1), 2)
  assert.deepEqual([...norms], [1, 5])
  assert.equal(quantileOf([1, 2, 3, 4], 0.5), 2)
  assert.equal(quantileOf([1, 2, 3, 4], 0.95), 4)
  assert(Number.isNaN(quantileOf([], 0.5)))
})
