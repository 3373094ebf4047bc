import assert from 'node:assert/strict'
import test from 'node:test'
import { pairedDifference, spread } from '../../../src/lab/evaluation/spread.ts'

test('mean and standard deviation by hand', () => {
  // Mean 4, squares 4 + 0 + 4, over n − 1 = 2.
  assert.deepEqual(spread([2, 4, 6]), { mean: 4, deviation: 2 })
  assert.deepEqual(spread([7]), { mean: 7, deviation: 0 })
})

test('ahead is more than two standard errors of the paired differences', () => {
  // Differences 1, 2, 3: mean 2, deviation 1, standard error 1/√3 = .58: 2 > 1.15.
  const ahead = pairedDifference([11, 22, 33], [10, 20, 30])
  assert.equal(ahead.verdict, 'ahead')
  assert(Math.abs(ahead.standardError - 1 / Math.sqrt(3)) < 1e-12)
  assert.equal(pairedDifference([10, 20, 30], [11, 22, 33]).verdict, 'behind')
  // Differences 3, −1, 1: mean 1, deviation 2, standard error 1.15.
  assert.equal(pairedDifference([3, 0, 1], [0, 1, 0]).verdict, 'tied')
  assert.equal(pairedDifference([5, 5], [5, 5]).verdict, 'tied')
  assert.equal(pairedDifference([9], [5]).verdict, 'unknown')
})
