import assert from 'node:assert/strict'
import test from 'node:test'
import { signTest } from '../../src/publish/gateStatistics.ts'

test('small cases by counting', () => {
  assert.equal(signTest(0, 5), 1)
  assert.ok(Math.abs(signTest(1, 0) - 1 / 2) < 1e-12)
  assert.ok(Math.abs(signTest(3, 0) - 1 / 8) < 1e-12)
  // At least 2 of 3: (3 + 1) / 8. At least 3 of 4: (4 + 1) / 16.
  assert.ok(Math.abs(signTest(2, 1) - 4 / 8) < 1e-12)
  assert.ok(Math.abs(signTest(3, 1) - 5 / 16) < 1e-12)
})

test('the number that the default is explained with: of 200 that differ, 134 lost are too many and 133 are not', () => {
  // Mean 100, standard deviation √50 = 7.07: 133.5 is 4.74 of them up, and P(z > 4.74) = 1.1e-6.
  assert.ok(signTest(134, 66) < 1e-6)
  assert.ok(signTest(133, 67) > 1e-6)
})

test('thousands of pairs neither overflow nor vanish', () => {
  // √500,000 = 707 is the standard deviation of 2,000,000 fair tosses: half of them lost is no loss.
  assert.ok(Math.abs(signTest(1_000_000, 1_000_000) - 0.5) < 1e-3)
  const tail = signTest(1500, 500) // 22 standard deviations
  assert.ok(tail > 0 && tail < 1e-100)
})
