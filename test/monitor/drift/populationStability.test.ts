import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { equalParts, joinBins, populationStability, psiBand, psiByChance } from '../../../src/monitor/drift/populationStability.ts'

const near = (actual: number, expected: number) => assert(Math.abs(actual - expected) < 1e-9, `${actual} is not ${expected}`)

test('by hand: two bins', () => {
  // With half a count more in each bin: q = (79.5 + .5)/100 = .8 and .2, p = (59.5 + .5)/100 = .6 and .4.
  // PSI = (.6 − .8) ln(.6/.8) + (.4 − .2) ln(.4/.2) = .0575364 + .1386294
  near(populationStability([79.5, 19.5], [59.5, 39.5]), 0.2 * Math.log(4 / 3) + 0.2 * Math.log(2))
  assert.equal(psiBand(0.0999), 'stable')
  assert.equal(psiBand(0.1961658), 'shifted')
  assert.equal(psiBand(0.25), 'different')
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

test('by chance: 10 bins, 1,000 against 500 values', () => {
  near(psiByChance(10, 1000, 500), 9 * 0.003) // 9 · (1/1000 + 1/500)
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
