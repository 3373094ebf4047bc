import assert from 'node:assert/strict'
import test from 'node:test'
import { recovery } from '../../../src/lab/evaluation/recovery.ts'

const curveOf = (...values: number[]) => values.map((value, i) => ({ at: (i + 1) * 100, value }))

test('level before, lowest after, and when it was back', () => {
  // The drift at 650 lies in the seventh period. Before: the mean of the five that ended by 600, .4. Back: at least
  // .38.
  const told = recovery(curveOf(0.1, 0.38, 0.4, 0.4, 0.4, 0.42, 0.39, 0.3, 0.25, 0.33, 0.39, 0.4, 0.36), 650)!
  assert(Math.abs(told.before - 0.4) < 1e-12)
  assert.equal(told.fell, true)
  assert.equal(told.lowest, 0.25)
  assert.equal(told.recoveredAt, 1100)
  assert.equal(told.recoveredValue, 0.39)
  assert.equal(told.recoveredAfter, 450)
})

test('a single lucky period is no recovery', () => {
  const told = recovery(curveOf(0.4, 0.4, 0.2, 0.41, 0.2, 0.39, 0.4), 200)!
  assert.equal(told.recoveredAt, 600)
})

test('not back by the end', () => {
  const told = recovery(curveOf(0.4, 0.4, 0.2, 0.3), 200)!
  assert.equal(told.fell, true)
  assert.equal(told.lowest, 0.2)
  assert.equal(told.recoveredAt, undefined)
  assert.equal(told.recoveredAfter, undefined)
})

test('a fall long after the drift has another cause', () => {
  const told = recovery(curveOf(0.4, 0.4, 0.39, 0.41, 0.4, 0.4, 0.4, 0.1), 200)!
  assert.equal(told.fell, false)
  assert.equal(told.lowest, 0.39)
})

test('a curve on one side of the drift tells nothing', () => {
  assert.equal(recovery([], 10), undefined)
  assert.equal(recovery(curveOf(0.4, 0.4), 200), undefined)
  assert.equal(recovery(curveOf(0.4, 0.4), 50), undefined)
})
