import assert from 'node:assert/strict'
import test from 'node:test'
import { Rng } from '../../../src/core/rng.ts'
import { PageHinkley } from '../../../src/monitor/drift/pageHinkley.ts'

test('by hand', () => {
  // 0, 0 then 1s; mean after them 0, 0, 1/3, 1/2. δ = 0: the sum is 0, 0, 2/3, 2/3 + 1/2 = 7/6 > λ = 1: fires at the fourth.
  const test = new PageHinkley({ worse: 'higher', tolerance: 0, threshold: 1, memory: 1000, warmup: 0 })
  assert.deepEqual(
    [0, 0, 1, 1].map((value) => test.add(value)),
    [false, false, false, true]
  )
  // It has begun anew.
  assert(Number.isNaN(test.mean))
  assert.equal(test.nearness, 0)
})

test('lower is worse: the same turned round; better is no drift', () => {
  const test = new PageHinkley({ worse: 'lower', tolerance: 0, threshold: 1, memory: 1000, warmup: 0 })
  assert.deepEqual(
    [1, 1, 0, 0].map((value) => test.add(value)),
    [false, false, false, true]
  )
  for (let i = 0; i < 1000; i++) assert.equal(test.add(i < 500 ? 0 : 1), false)
})

test('planted: a fall from .3 to .2 is seen within 2,000 clicks, and nothing in 20,000 without one', () => {
  for (let seed = 1; seed <= 10; seed++) {
    const rng = new Rng(seed)
    const test = new PageHinkley({ worse: 'lower', tolerance: 0.03, threshold: 60, memory: 10_000, warmup: 1000 })
    for (let i = 0; i < 20_000; i++) assert.equal(test.add(rng.uniform() < 0.3 ? 1 : 0), false, `seed ${seed}, value ${i}`)
    let seen = false
    for (let i = 0; i < 2000 && !seen; i++) seen = test.add(rng.uniform() < 0.2 ? 1 : 0)
    assert(seen, `seed ${seed}`)
  }
})

test('it goes on from its state', () => {
  const options = { worse: 'higher', tolerance: 0.01, threshold: 5, memory: 100, warmup: 0 } as const
  const one = new PageHinkley(options)
  const other = new PageHinkley(options)
  for (let i = 0; i < 50; i++) one.add(i / 1000)
  other.restore(JSON.parse(JSON.stringify(one.state())))
  for (let i = 0; i < 50; i++) assert.equal(one.add(0.3), other.add(0.3))
  assert.equal(one.add(Number.NaN), false)
  assert.throws(() => new PageHinkley({ ...options, threshold: 0 }), /threshold must be above 0/)
})
