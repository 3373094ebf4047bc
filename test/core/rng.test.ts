import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../src/core/rng.ts'

test('the same seed gives the same stream, another seed another', () => {
  const draw = (seed: number) =>
    Array.from(
      { length: 8 },
      (
        (rng) => () =>
          rng.uint32()
      )(new Rng(seed))
    )
  assert.deepEqual(draw(7), draw(7))
  assert.notDeepEqual(draw(7), draw(8))
})

test('a stream goes on from its state', () => {
  const rng = new Rng(3)
  rng.uint32()
  const copy = Rng.from(rng.state())
  assert.deepEqual([rng.uint32(), rng.normal()], [copy.uint32(), copy.normal()])
})

test('integers are uniform: 60,000 throws of a die', () => {
  const rng = new Rng(1)
  const counts = new Array<number>(6).fill(0)
  for (let i = 0; i < 60_000; i++) counts[rng.integer(6)]!++
  // χ² with 5 degrees of freedom is above 20.5 once in a thousand seeds.
  const chiSquare = counts.reduce((sum, n) => sum + (n - 10_000) ** 2 / 10_000, 0)
  assert(chiSquare < 20.5, `χ² = ${chiSquare}`)
})

test('normal numbers have mean 0 and variance 1', () => {
  const rng = new Rng(2)
  let sum = 0
  let squares = 0
  const n = 100_000
  for (let i = 0; i < n; i++) {
    const x = rng.normal()
    sum += x
    squares += x * x
  }
  assert(Math.abs(sum / n) < 0.015) // 4.7 standard errors
  assert(Math.abs(squares / n - 1) < 0.025)
})

test('streams forked for two purposes differ', () => {
  const [a, b] = [new Rng(1).fork('dropout'), new Rng(1).fork('negatives')]
  assert.notEqual(a.uint32(), b.uint32())
})
