import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { Rng } from '../../../src/core/rng.ts'
import { equalParts, joinBins, populationStability } from '../../../src/monitor/drift/populationStability.ts'

const near = (actual: number, expected: number) =>
  assert(Math.abs(actual - expected) < 1e-9, `${actual} is not ${expected}`)

test('by hand: two bins', () => {
  // With half a count more in each bin: q = (79.5 + .5)/100 = .8 and .2, p = (59.5 + .5)/100 = .6 and .4.
  // PSI = (.6 − .8) ln(.6/.8) + (.4 − .2) ln(.4/.2) = .0575364 + .1386294
  near(populationStability([79.5, 19.5], [59.5, 39.5]), 0.2 * Math.log(4 / 3) + 0.2 * Math.log(2))
})

test('an empty bin makes it large, not infinite; a bin that nobody uses makes no difference', () => {
  const value = populationStability([100, 0], [50, 50])
  assert(Number.isFinite(value) && value > 0.25)
  near(populationStability([30, 70, 0], [40, 60, 0]), populationStability([30, 70], [40, 60]))
  assert.equal(populationStability([0, 0], [3, 4]), 0)
  assert.throws(() => populationStability([1], [1, 2]), /1 bins against 2/)
})

test('never negative, the same both ways, and 0 for the same counts', () => {
  const counts = fc.array(fc.nat(1000), { minLength: 5, maxLength: 5 })
  fc.assert(
    fc.property(counts, counts, (a, b) => {
      const value = populationStability(a, b)
      assert(value >= -1e-12)
      assert(Math.abs(value - populationStability(b, a)) < 1e-9)
      assert(Math.abs(populationStability(a, a)) < 1e-12)
    })
  )
})

test('drawn from one distribution it is (bins − 1)(1/n + 1/m) on average, not 0', () => {
  const rng = new Rng(1)
  const draw = (values: number) => {
    const counts = new Float64Array(10)
    for (let i = 0; i < values; i++) counts[rng.integer(10)]!++
    return counts
  }
  let sum = 0
  for (let i = 0; i < 400; i++) sum += populationStability(draw(4000), draw(1000))
  const expected = 9 * (1 / 4000 + 1 / 1000)
  // A χ² of 9 degrees has a spread of √18/9 = .47 of its mean; of 400 draws the mean spreads by .024.
  assert(Math.abs(sum / 400 / expected - 1) < 0.1, `${sum / 400} is not about ${expected}`)
})

test('parts of equal share keep order, and a bin that is more than a part stays whole', () => {
  // 12 in all, 3 parts of 4: {1, 3}, {4}, {2, 2}
  assert.deepEqual([...equalParts([1, 3, 4, 2, 2], 3)], [0, 0, 1, 2, 2])
  assert.deepEqual([...joinBins([1, 3, 4, 2, 2], Uint8Array.of(0, 0, 1, 2, 2))], [4, 4, 4])
  // The first bin alone is more than two parts of 4: its neighbours make one.
  assert.deepEqual(
    [...joinBins([10, 1, 1], equalParts([10, 1, 1], 3))].reduce((a, b) => a + b),
    12
  )
})
