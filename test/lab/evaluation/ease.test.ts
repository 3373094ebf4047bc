// EASE against its definition, on a matrix small enough to invert by hand.
import assert from 'node:assert/strict'
import test from 'node:test'
import { ConfigError } from '../../../src/core/errors.ts'
import { Rng } from '../../../src/core/rng.ts'
import { easeWeights, inverse } from '../../../src/lab/evaluation/ease.ts'
import { simpleMethod } from '../../../src/lab/evaluation/simpleMethods.ts'
import { steps, user } from './offlineSteps.ts'

test('the inverse of a positive definite matrix times the matrix is the identity', () => {
  const n = 40
  const rng = new Rng(1)
  const x = Float64Array.from({ length: 60 * n }, () => rng.normal())
  const a = new Float64Array(n * n)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      for (let u = 0; u < 60; u++) a[i * n + j]! += x[u * n + i]! * x[u * n + j]!
      if (i === j) a[i * n + j]! += 5
    }
  const p = inverse(a.slice(), n)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0
      for (let k = 0; k < n; k++) sum += a[i * n + k]! * p[k * n + j]!
      assert(Math.abs(sum - (i === j ? 1 : 0)) < 1e-9, `${i}, ${j}: ${sum}`)
    }
})

test('two items: the weight of one for the other is G₁₂ / (G₁₁ + l₂), by the column', () => {
  // Three users have a, two have b, two have both; P ∝ [G22, −G12; −G12, G11], so B12 = G12 / G11 and B21 = G12 / G22.
  const weights = easeWeights([[0], [0, 1], [0, 1]], 2, 1)
  const expected = [0, 2 / (3 + 1), 2 / (2 + 1), 0]
  for (const [i, value] of expected.entries()) assert(Math.abs(weights[i]! - value) < 1e-12, `${i}: ${weights[i]}`)
})

test('as a method: what goes with the history first; without a known item the most popular', () => {
  const train = [user('u', 'a b'), user('v', 'a b'), user('w', 'c d'), user('x', 'c d'), user('y', 'c d')]
  const recommend = simpleMethod('ease', train)
  assert.equal(recommend(steps('a'), 1)[0], 'b')
  assert.equal(recommend(steps('d'), 1)[0], 'c')
  assert.equal(recommend(steps('new'), 1)[0], 'c')
})

test('too many items are refused with their number and what they would need', () => {
  assert.throws(
    () => easeWeights([], 20_000, 1),
    (error) => error instanceof ConfigError && /20000 items need 6\.0 GiB.*11585 items/.test(error.message)
  )
})
