import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { Rng } from '../../../src/core/rng.ts'
import { ksCritical, ksDistance, ksDistanceOfCounts, ksPValue } from '../../../src/monitor/drift/kolmogorovSmirnov.ts'

const near = (actual: number, expected: number, within = 1e-9) =>
  assert(Math.abs(actual - expected) <= within, `${actual} is not ${expected}`)

test('by hand', () => {
  // F steps by 1/4 at 1, 2, 3, 4; G by 1/2 at 3, 5. Just after 2: F = .5, G = 0.
  near(ksDistance([1, 2, 3, 4], [3, 5]), 0.5)
  near(ksDistance([1, 2], [3, 4]), 1)
  // Ties: both step at 1 together, then F = 1 and G = 1/2.
  near(ksDistance([1, 1], [1, 2]), 0.5)
  assert.equal(ksDistance([], [1]), 0)
})

test('over bins it is the same as over whole numbers', () => {
  const numbers = fc.array(fc.nat(9), { minLength: 1, maxLength: 40 })
  fc.assert(
    fc.property(numbers, numbers, (a, b) => {
      const ascending = (list: number[]) => [...list].sort((x, y) => x - y)
      const counts = (list: number[]) => Array.from({ length: 10 }, (_, bin) => list.filter((value) => value === bin).length)
      near(ksDistance(ascending(a), ascending(b)), ksDistanceOfCounts(counts(a), counts(b)))
    })
  )
})

test('critical distance and p-value', () => {
  // c(.05) = √(−ln(.025)/2) = 1.35810; 100 and 100: × √(200/10,000) = .141421
  near(ksCritical(0.05, 100, 100), 0.192064, 1e-6)
  // The same distance has p near .05: Stephens's correction makes it a little stricter.
  const p = ksPValue(ksCritical(0.05, 100, 100), 100, 100)
  assert(p > 0.035 && p < 0.055, String(p))
  assert.equal(ksPValue(0, 10, 10), 1)
  assert(ksPValue(1, 50, 50) < 1e-9)
  near(ksPValue(0.01, 100, 100), 1)
})

test('planted: a shift by half a standard deviation is seen, none is not', () => {
  let alarms = 0
  for (let seed = 1; seed <= 20; seed++) {
    const rng = new Rng(seed)
    const draw = (mean: number) => Float64Array.from({ length: 500 }, () => mean + rng.normal()).sort()
    const reference = draw(0)
    // The largest gap of two normals half a deviation apart is 2Φ(.25) − 1 = .197.
    assert(ksDistance(reference, draw(0.5)) > ksCritical(0.01, 500, 500), `seed ${seed}`)
    if (ksDistance(reference, draw(0)) > ksCritical(0.01, 500, 500)) alarms++
  }
  assert(alarms <= 2, `${alarms} of 20 false alarms at a level of .01`)
})
